"""benchmarks/scaling.py: its arithmetic and its table, with numbers in place of compilations."""

import math
import runpy
import sys
from pathlib import Path

import jax
import pytest

from configs import gan_mnist
from ganjax import UserError, experiment, update
from ganjax.tpu import chips, hlo

FILE = Path(__file__).resolve().parents[2] / 'benchmarks/scaling.py'
JOB = runpy.run_path(str(FILE), run_name='scaling')


@pytest.fixture
def table(monkeypatch, capsys):
  """Arguments of the script -> (the cells of its table by line, what it predicted).

  Compute takes 4 ms on up to 4 chips and 5 on more, by XLA's estimate of v5e 10 and 12; communication 1 us a chip.
  biggan_imagenet128 does
  not fit on 64.
  """

  def run(*arguments):
    asked = []

    def predict(config, topology, images):
      asked.append((config.name, topology, images))
      count = math.prod(map(int, topology.partition(':')[2].split('x')))
      if (config.name, count) == ('biggan_imagenet128', 64):
        raise UserError('config biggan_imagenet128 does not fit')
      times = {'compute': 4e-3 if count <= 4 else 5e-3, 'communication': count * 1e-6}
      times |= {'estimated': 10e-3 if count <= 4 else 12e-3} if topology.startswith('v5e') else {}
      return {**times, 'exchanges': count + 0.5, 'bytes': count * 1e6}

    monkeypatch.setitem(JOB['main'].__globals__, 'predict', predict)
    monkeypatch.setattr(sys, 'argv', ['scaling.py', *arguments])
    JOB['main']()
    about, source, empty, *lines = capsys.readouterr().out.splitlines()
    assert about.startswith('PREDICTED for') and not empty
    assert (
      'GB/s leave a chip over all links (docs.cloud.google.com' in source
      and '1 us a link (astra' in source
    )
    return [[cell.strip() for cell in line[1:-1].split('|')] for line in lines], asked

  return run


TIMES = ['ms at 8', 'ms at 64', 'ms at 256', 'efficiency at 8', 'efficiency at 64']
HEADS = [
  'config',
  'images a chip',
  'at best, ms',
  'estimated, ms',
  'exchanges',
  'MB',
  *TIMES,
  'efficiency at 256',
]
# Exchanges and MB on 8; communication.
MIDDLE = ['8.5', '8.0', '0.01', '0.06', '0.26']
# Compute on the smallest slice; 4 ms / (5 ms + communication), 10 ms / (12 ms + communication).
NUMBERS = ['4.00', '10.00', *MIDDLE, '0.80 / 0.83', '0.79 / 0.83', '0.76 / 0.82']


def test_a_config_that_does_not_fit_has_a_line_and_the_next_their_numbers(table):
  lines, asked = table('--configs', 'sngan_cifar,biggan_imagenet128,dcgan_cifar', '--images', '16')
  assert lines[0] == HEADS and lines[1] == ['---'] * len(HEADS)
  assert lines[2] == ['sngan_cifar', '16', *NUMBERS]
  assert lines[4] == ['dcgan_cifar', '16', *NUMBERS]
  refused = 'config biggan_imagenet128 does not fit'
  assert lines[3] == ['biggan_imagenet128', refused, *[''] * (len(HEADS) - 2)]
  slices = ['v5e:1x1', 'v5e:2x4', 'v5e:8x8', 'v5e:16x16']
  assert asked[:4] == [('sngan_cifar', one, 16) for one in slices] and len(asked) == 4 + 3 + 4


@pytest.mark.parametrize('chip', ['v4', 'v5p'])
def test_the_smallest_cube_has_four_chips(table, chip):
  lines, asked = table('--configs', 'dcgan_cifar', '--chip', chip)
  assert lines == [
    HEADS,
    ['---'] * len(HEADS),
    ['dcgan_cifar', '16', '4.00', '-', *MIDDLE, '0.80', '0.79', '0.76'],
  ]
  slices = ['2x2x1', '2x2x2', '4x4x4', '4x8x8']
  # A batch of 128: 16 on each of 8 chips.
  assert asked == [('dcgan_cifar', f'{chip}:{one}', 16) for one in slices]
  assert {*slices} <= {*chips.CHIPS[chip].slices}


def test_every_config_is_asked_for_with_the_images_that_it_has_on_eight_chips(table):
  lines, asked = table()
  names = sorted(path.stem for path in FILE.parents[1].glob('configs/*.py'))
  assert [line[0] for line in lines[2:]] == names and len(names) > 20
  images = {name: images for name, _, images in asked}
  assert images['gan_mnist'] == 12 and images['r3gan_cifar'] == 64


def test_an_exchange_takes_its_bytes_and_its_way():
  # 2x4: half of 200 GB/s, 4 links to the farthest; there and back.
  seconds, chip = JOB['seconds'], chips.CHIPS['v5e']
  once = 8e6 * 7 / 8 / 100e9 + 4e-6
  one = lambda kind: hlo.Collective(kind, 8e6, '')
  assert seconds(chip, 'v5e:2x4', 8, one('all-reduce')) == pytest.approx(2 * once)
  assert seconds(chip, 'v5e:2x4', 8, one('all-gather')) == pytest.approx(once)


@pytest.mark.slow
def test_predictions_are_of_programs_that_compile():
  """The MLP on one chip and on four: its parameters, which all chips exchange, in bfloat16, D's for reals and fakes."""
  pytest.importorskip('libtpu', reason="needs pip install '.[tpu-check]'")
  alone, four = (
    JOB['predict'](gan_mnist.get_config(), f'v5e:{shape}', 24) for shape in ('1x1', '2x2')
  )
  assert alone['communication'] == alone['exchanges'] == alone['bytes'] == 0
  run = experiment.build(gan_mnist.get_config())
  params = jax.eval_shape(run.init, jax.random.key(0)).params
  expected = 2 * (update.count(params['G']) + 2 * update.count(params['D']))
  assert four['bytes'] == pytest.approx(expected, rel=0.01) and 2 <= four['exchanges'] <= 3
  # Of a step, whose 24 images are few beside its parameters and Adam's moments: all are read and written in float32.
  least = 2 * 3 * 4 * update.count(params) / chips.CHIPS['v5e'].bandwidth
  for found in (alone, four):
    assert least < found['compute'] < 2 * least
    # The estimate is of the same kernels: slower than the roof, and not by far where little is computed.
    assert found['compute'] < found['estimated'] < 5 * found['compute']
  two_by_two = 2 * (
    expected * 3 / 4 / 100e9 + four['exchanges'] * 2e-6
  )  # 100 GB/s to two sides, two links
  assert four['communication'] == pytest.approx(two_by_two, rel=0.02)
