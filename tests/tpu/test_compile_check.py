"""The command's report and table, on programs made up here: compilation itself is tests/tpu/test_roofline.py's."""

import os
import subprocess
import sys

import command
import pytest

from ganjax.tpu import hlo

COUNT = len([*command.ROOT.glob('configs/*.py')])
# Stands in for the compiler: a program whose memory grows with the batch, of two patterns.
STAND_IN = """
import sys
from ganjax import UserError
from ganjax.tpu import chips, hlo, roofline

def check(config, chip, devices):
  if config.name == 'gan_mnist':
    raise UserError('does not divide | at all')
  print('compiling', config.name)
  total = config.batch_size * 2**27
  if total > chip.memory:
    raise roofline.DoesNotFit(config, chip.memory, total)
  reduce = lambda size, scope: hlo.Collective('all-reduce', size, 'jit(update)/' + scope)
  found = [
    reduce(1_000_000, 'D/transpose(jvp(D))/Conv_0/dot'), reduce(500, 'D/jvp(G)/BatchNorm_0/sum'),
    reduce(2_000_000, 'G/transpose(jvp(G))/Conv_0/dot'), hlo.Collective('all-gather', 8, 'jit(update)/G/odd'),
  ]
  array = lambda space: hlo.Array('f32', (1000, 1000), (1, 0), (), space)
  program = roofline.Program(
    share=0.25, steps=1, phases=('D', 'D_penalty', 'G'), activations='bfloat16', seconds=9.0, flops=400e9, moved=10**9,
    cycles=6e6, arguments=2**30, temporary=2**30, aliased=2**30, total=total, collectives=found,
    copies=[array(0), array(1)], transfers=['send jit(update)/D/print'], images=(3e6, 4e6),
  )
  several = dict(steps=10, flops=2000e9, moved=10**10, cycles=60e6, collectives=10 * found[:2])
  several['copies'] = 10 * program.copies
  return [program, program._replace(share=0.75, phases=('D', 'G'), transfers=[], **several)]

roofline.check = check
chips.find = lambda topology: (chips.CHIPS['v5e'], [None] * 8)
import pathlib
from ganjax import commandline, config
from ganjax.tpu import compile_check
if pathlib.Path('configs').is_dir():  # a test's own
  commandline.configs_folder = lambda: pathlib.Path('configs')
sys.argv = ['compile_check', *sys.argv[1:]]

def version(name):
  if name == 'libtpu-nightly':
    return '1.2.3'
  raise compile_check.metadata.PackageNotFoundError(name)

compile_check.metadata.version = version
compile_check.COMMAND.parse()
config.run(compile_check.main)
"""


REPORTED = {
  'report': ('--config', 'configs/dcgan_cifar.py', '--config.batch_size=64'),
  'too large': ('--config', 'configs/dcgan_cifar.py', '--config.batch_size=256'),
}
# What the line of error must say -> the command line.
REFUSED = {
  'there is no compiler for GPUs here': ('--all', '--topology', 'gpu:8'),
  'gpu:N takes a number of GPUs': (
    '--config',
    'configs/dcgan_cifar.py',
    '--topology',
    'gpu:²',
  ),
  '--config is missing': ('--topology', 'v5e:2x4'),
  '--largest_batch is for one config on a slice of TPUs, not for --all': (
    '--all',
    '--largest_batch',
  ),
  'not for gpu:N, for which nothing is compiled': (
    '--config',
    'configs/dcgan_cifar.py',
    '--topology',
    'gpu:8',
    '--largest_batch',
  ),
}


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  """{name: the finished process} of REPORTED and REFUSED."""
  script = tmp_path_factory.mktemp('check') / 'stand_in.py'
  script.write_text(STAND_IN)
  lines = REPORTED | REFUSED
  return command.run_all({name: ([script, *words], {}) for name, words in lines.items()})


def check(*args, folder='.'):
  run = [sys.executable, '-c', STAND_IN, *map(str, args)]
  env = {**os.environ, 'PYTHONPATH': str(command.ROOT)}
  return subprocess.run(run, capture_output=True, text=True, timeout=120, cwd=folder, env=env)


def test_report(done):
  report = done['report']
  assert report.returncode == 0, report.stderr
  lines = [' '.join(line.split()) for line in report.stdout.splitlines()]
  for expected in (
    'dcgan_cifar on v5e:2x4: 8 chips, 8 images each, 2 program(s)',
    'phases D, D_penalty, G: 0.25 of the steps, dispatch of 1 step(s), compiled in 9 s',
    'phases D, G: 0.75 of the steps, dispatch of 10 step(s), compiled in 9 s',
    'memory, GiB a chip 8.000 of 15.75: arguments 1.000 (1.000 reused for results), temporary 1.000',
    'work of a step 400.00 GFLOP, 1000 MB a chip, 400.0 FLOP/byte',
    'roofline 2.030 ms, bound by compute',  # 400e9 / 197e12 s
    'roofline 1.221 ms, bound by memory',  # 1e9 / 819e9 s
    'estimated by XLA 3.992 ms: its kernels one after the other, without exchanges',  # 6e6 / 1.503e9 s
    '1 all-reduce 1.000 MB D: gradients',
    '1 all-reduce 0.001 MB D: batch statistics',
    '1 all-reduce 2.000 MB G: gradients',
    '1 all-gather 0.000 MB G: G/odd',
    'host transfers 1: send jit(update)/D/print',
    'host transfers none',
    'layout copies 2, 8.00 MB, 4.00 of it to HBM',
    '3-channel images 3.00 MB, padded to 4.00 MB (1.33 times)',
    'the largest global batch that fits: looked for with --largest_batch',
    # A quarter of the steps 2.030 ms, the others 1.221.
    'a step: 250.00 GFLOP and 1000 MB a chip (125.00 MB an image), at best 1.423 ms, 703 steps/s',
  ):
    assert expected in lines, report.stdout
  # Of both programs: six million cycles, and sixty in ten steps.
  assert sum(line.startswith('estimated by XLA 3.992 ms') for line in lines) == 2


def test_what_does_not_fit_fails_with_the_number(done):
  assert done['too large'].returncode == 2
  line = 'batch_size=256 takes 32.00 GiB a chip of 15.75; take a larger slice'
  assert line in done['too large'].stderr


@pytest.mark.slow
def test_table_goes_on_and_keeps_its_status(tmp_path):
  out = tmp_path / 'tpu.md'
  done = check('--all', '--out', out)
  text = out.read_text()
  rows = [line for line in text.splitlines() if line.startswith('| `')]
  heads = next(line for line in text.splitlines() if line.startswith('| config'))
  assert len(rows) == COUNT and {row.count('|') for row in rows} == {heads.count('|')}
  row = next(row for row in rows if '`acgan_cifar`' in row)  # batch 64
  first = '| `acgan_cifar` | 64 | 10, 1 | bfloat16 | 18 | 8.00 | 1.00 (1.00) + 1.00 | 250.0 | 1,000 | 250 '
  assert row == first + '| compute | 1.42 | 3.99 | 2.5 | 1.5 | 8.0 | 1.33 |'
  assert any(row.startswith('| `cgan_mnist` | 96 of 100 |') for row in rows), (
    'batch 100, cut for 8 chips'
  )
  assert any('gan_mnist' in row and 'does not divide / at all' in row for row in rows)
  assert done.returncode == 2 and done.stdout.count('compiling') == COUNT - 1

  # A row that is missing is made, the others stay, and what did not fit still counts.
  out.write_text(text.replace(row + '\n', ''))
  done = check('--all', '--out', out)
  assert done.returncode == 2 and done.stdout.count('compiling') == 1
  assert sorted(out.read_text()) == sorted(text)
  # Rows of another compiler are not kept.
  out.write_text(text.replace('libtpu 1.2.3', 'libtpu 1.2.2'))
  assert check('--all', '--out', out).stdout.count('compiling') == COUNT - 1


@pytest.mark.slow
def test_the_table_of_another_slice_is_replaced_by_name_alone(tmp_path):
  (tmp_path / 'docs').mkdir()
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs/acgan_cifar.py').symlink_to(command.ROOT / 'configs/acgan_cifar.py')
  table = tmp_path / 'docs/tpu.md'
  table.write_text('# Every configuration, compiled for v4:2x2x1\n\nBy ...\n')
  done = check('--all', folder=tmp_path)
  line = 'error: docs/tpu.md is not of v5e:2x4: name another file by --out, or it to replace it\n'
  assert (done.returncode, done.stderr) == (2, line) and 'v4:2x2x1' in table.read_text()
  for more in (['--out', 'docs/tpu.md'], []):
    assert check('--all', *more, folder=tmp_path).returncode == 0
    assert table.read_text().startswith('# Every configuration, compiled for v5e:2x4\n')


def test_bad_command_lines_are_one_line(done):
  for line in REFUSED:
    assert done[line].returncode == 2 and done[line].stderr.count('\n') == 1, done[line]
    assert line in done[line].stderr, done[line]


def test_exchanges_take_longer_far_apart():
  """Predicted seconds: twice the bytes over the links there are, and twice the way."""
  sys.path.insert(0, 'benchmarks')
  import scaling

  from ganjax.tpu import chips

  chip = chips.CHIPS['v5e']
  big, small = (hlo.Collective('all-reduce', n, '') for n in (200_000_000, 0))
  near = scaling.seconds(chip, 'v5e:2x4', 8, big)
  assert near == pytest.approx(2 * (0.2e9 * 7 / 8 / 100e9 + 4e-6))
  assert scaling.seconds(chip, 'v5e:16x16', 256, small) == pytest.approx(2 * 16e-6)
  gather = scaling.seconds(chip, 'v5e:2x4', 8, big._replace(kind='all-gather'))
  assert gather == pytest.approx(near / 2)
