"""Whatever number or word stands behind a field of a configuration: --summary builds it, or refuses it in one line."""

import collections
import random
import runpy
import signal
import sys
import zlib

import command
import pytest
from ml_collections import ConfigDict
from ml_collections.config_flags import config_path

from ganjax import UserError, commandline, experiment

HUGE = ['2147483647', '2147483648', '1' + 20 * '0']
VALUES = {
  bool: ['true', 'false'],
  int: ['0', '-1', '1', '3', '100', '1000000', *HUGE],
  float: ['nan', 'inf', '-inf', '0.0', '-1.0', '1e308', '1e-308'],
  str: ['', 'x', '..', '0', 'nan'],
  tuple: ['()', "('G',)", '(0,)', '(1,1,1,1)', f'({HUGE[-1]},)', '(1e999,)'],
  object: ['-1', '1e999', '(1,2)', HUGE[-1], "'x'", 'None', '[]', '{}'],
}
TURNS = 12  # configurations after which a field that all have is tried again
SECONDS = 20  # the bound that a test allows for one


@pytest.fixture
def summary(monkeypatch):
  """Calls what --summary does, and stops it when its time is over."""

  def late(number, frame):
    raise TimeoutError

  train = commandline.Command('Trains.')
  config = train.config()

  def summary(file, *overrides):
    monkeypatch.setattr(sys, 'argv', ['train.py', f'--config={file}', *overrides])
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
      train.read(sys.argv)
      experiment.summary(experiment.build(commandline.config(config)))
    finally:
      signal.setitimer(signal.ITIMER_REAL, 0)

  before = signal.signal(signal.SIGALRM, late)
  yield summary
  signal.signal(signal.SIGALRM, before)


def fields(config, prefix=''):
  """(name, type) of all that may be overridden."""
  for key in config:
    kind = config_path.get_type(key, config)
    if isinstance(kind, type) and issubclass(kind, ConfigDict):
      yield from fields(config[key], f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', kind


def to_try() -> dict:
  """{configuration: its (name, type) to try}, of all that any configuration has.

  A field of networks or method is tried in the first configuration that has it of each pair of them, any other in one
  of TURNS that have it.
  """
  found, had, seen = {}, {}, collections.Counter()
  for path in sorted((command.ROOT / 'configs').glob('[!_]*.py')):
    config = runpy.run_path(str(path))['get_config']()
    pair = config.networks.name, config.method.name
    had[path] = [
      (pair if name.startswith(('networks.', 'method.')) else (), name, kind)
      for name, kind in fields(config)
    ]
  total = collections.Counter((pair, name) for all_of in had.values() for pair, name, _ in all_of)
  for path, all_of in had.items():
    for pair, name, kind in all_of:
      key = pair, name
      due = zlib.crc32(name.encode()) % min(TURNS, total[key])
      if seen[key] == 0 if pair else seen[key] % TURNS == due:
        found.setdefault(path, []).append((name, kind))
      seen[key] += 1
  return found


TRIES = to_try()


@pytest.mark.slow
@pytest.mark.parametrize('file', TRIES, ids=lambda file: file.stem)
def test_every_field_is_built_or_refused(summary, file):
  """One value is drawn for each."""
  chance = random.Random(file.stem)
  failed = []
  for name, kind in TRIES[file]:
    values = VALUES[kind if kind in VALUES else object]
    for value in chance.sample(values, 1):
      try:
        summary(file, f'--config.{name}={value}')
      except UserError as error:
        if '\n' in str(error):
          failed.append(f'{name}={value}: {error}')
      except Exception as error:
        failed.append(f'{name}={value}: {type(error).__name__} {error}')
  assert not failed, '\n'.join(failed)


@pytest.mark.parametrize(
  'recipe, field',
  [
    ('cyclegan_emoji', 'blocks'),
    ('cut_emoji', 'blocks'),
    ('srgan_emoji', 'blocks'),
    ('esrgan_div2k', 'blocks'),
    ('realesrgan_compact_div2k', 'layers'),
    ('vid2vid_emoji', 'blocks'),
    ('vid2vid_emoji', 'rates'),
    ('attngan_emoji', 'residuals'),
  ],
)
def test_depths_that_take_minutes_are_refused(summary, recipe, field):
  with pytest.raises(UserError, match=f'^networks.{field}=65 must be at most 64: '):
    summary(command.ROOT / f'configs/{recipe}.py', f'--config.networks.{field}=65')


@pytest.mark.parametrize(
  'recipe, dataset, lacks, has',
  [
    ('adain_style', 'x', 'source', 'image, label'),
    ('cyclegan_emoji', 'solids', 'source', 'solid, label'),
    ('gan_mnist', 'lines', 'image', 'line'),
  ],
)
def test_data_without_what_a_method_reads(summary, recipe, dataset, lacks, has):
  file = command.ROOT / f'configs/{recipe}.py'
  said = f'data.dataset={dataset} has no {lacks}, which method.name=[a-z]+ needs; it has {has}$'
  with pytest.raises(UserError, match=said):
    summary(file, f'--config.data.dataset={dataset}')


def test_networks_that_no_machine_holds(summary):
  file = command.ROOT / 'configs/gan_mnist.py'
  with pytest.raises(UserError, match='networks: the parameters would take [0-9,]+ GiB: take'):
    summary(file, '--config.data.resolution=16000', '--config.batch_size=1')
  with pytest.raises(UserError, match='config.batch_size=1000000000 would take [0-9,]+ GiB'):
    summary(file, '--config.batch_size=1000000000')
