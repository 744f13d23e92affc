"""Command lines: help, the nearest right name, homes, commands in one process, and output that nobody reads."""

import ast
import importlib
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import command
import jax
import pytest
from absl import flags

from ganjax import UserError, commandline, wording
from ganjax import config as configs
from ganjax.devices import processes
from ganjax.sampling import sample
from ganjax.workdir import checkpoint

EMOJI = ['--config', str(command.ROOT / 'configs/dcgan_emoji.py')]


def read(monkeypatch, *arguments) -> commandline.Command:
  """A command of a --config and a --workdir that was called so."""
  made = commandline.Command('About it.', buckets=['workdir'])
  made.config()
  made.string('workdir', None, 'Folder of the run.')
  monkeypatch.setattr(sys, 'argv', ['command', *arguments])
  made.read(sys.argv)
  return made


def test_commands_are_imported_together():
  """They define no flags that all share, and parse nothing."""
  for name in commandline.COMMANDS.values():
    importlib.import_module(f'ganjax.{name}')
  assert not {'workdir', 'config', 'out', 'seed'} & {*flags.FLAGS}


def test_a_command_may_be_called_again(monkeypatch):
  from ganjax.evaluation import compare

  monkeypatch.chdir(command.ROOT)
  for arguments in (['a', 'b', '--out=x.png'], ['~/c']):
    compare.COMMAND.read(['compare', *arguments])
  assert compare.COMMAND.arguments == [os.path.expanduser('~/c')]
  assert compare.OUT.value is None


@pytest.mark.parametrize('name', commandline.COMMANDS)
def test_help(name, tmp_path):
  """At once: before JAX is imported, which is a trap here."""
  (tmp_path / 'jax.py').write_text('raise SystemExit("slow")')
  done = command.run(name, '--workdir', tmp_path / 'new', '--help', env={'PYTHONPATH': tmp_path})
  assert (done.returncode, done.stderr) == (0, ''), done
  module = importlib.import_module(f'ganjax.{commandline.COMMANDS[name]}')
  assert done.stdout.startswith(module.__doc__.strip())
  assert (
    name in ('configs', 'verify', 'marked')
    or '\n  --out ' in done.stdout
    or '\n  --workdir ' in done.stdout
  )
  assert ('\n  batch_size ' in done.stdout) == ('\n  --config ' in done.stdout)
  assert max(map(len, done.stdout.splitlines())) <= 120 and not [*tmp_path.glob('new')]


def test_the_command_of_commands(monkeypatch, capsys):
  def called(*arguments):
    monkeypatch.setattr(sys, 'argv', ['ganjax', *arguments])
    with pytest.raises(SystemExit) as ended:
      commandline.main()
    return ended.value.code, capsys.readouterr()

  status, said = called('--help')
  assert status == 0
  assert all(re.search(f'^  {name} +[A-Z]', said.out, re.M) for name in commandline.COMMANDS)
  status, said = called('trian', '--workdir=x')
  assert (status, said.err.partition(';')[0]) == (
    2,
    'error: there is no command trian (did you mean train?)',
  )


@pytest.mark.parametrize(
  'arguments',
  [
    ['dcgan_emoji', '--workdir=x'],
    ['--config=dcgan_emoji'],
    ['--config', 'dcgan_emoji'],
    [str(command.ROOT / 'configs/dcgan_emoji.py')],
  ],
)
def test_a_configuration_is_found_by_its_name(monkeypatch, arguments, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'argv', ['ganjax train', *arguments, '--config.batch_size=3'])
  made = commandline.Command('About it.')
  flag = made.config()
  made.string('workdir', None, 'Folder of the run.')
  made.parse()
  config = commandline.config(flag)
  assert (config.name, config.batch_size) == ('dcgan_emoji', 3)


def test_the_nearest_configuration_is_named():
  with pytest.raises(
    UserError, match=r"no configuration 'dcgan_cifr' \(did you mean dcgan_cifar\?\)"
  ):
    commandline.find_config('dcgan_cifr')


def test_windows_is_told_of_wsl(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'platform', 'win32')
  for start in (commandline.main, commandline.Command('').parse):
    with pytest.raises(SystemExit):
      start()
    assert capsys.readouterr().err == (
      'error: ganjax runs on Linux and macOS; on Windows run it in WSL\n'
    )


def test_every_field_is_explained():
  fields = wording.fields()
  shared = {
    'optim.G' if name.startswith('optim.G') else 'optim.D' if name.startswith('optim.D') else name
    for name in configs.flatten(configs.base('').to_dict())
  }
  assert {*fields} == shared
  values = configs.flatten(configs.base('').to_dict())
  for name in shared & {*values} - {'name'}:
    default = ast.literal_eval(fields[name][0])
    assert values[name] == (list(default) if isinstance(default, tuple) else default), name
  assert all(text and default for default, text in fields.values()), fields
  assert fields['batch_size'] == ('64', 'real images of one D update, over all devices')
  default, text = fields['data.dataset']
  assert default == 'None' and text.startswith("a TFDS name, 'emoji'")


@pytest.mark.parametrize(
  'arguments, line',
  [
    (['--batch_size=32', *EMOJI], r'no --batch_size \(did you mean --config.batch_size or '),
    (['--batch_size=32'], r'no --batch_size \(did you mean --config.batch_size or '),
    (['--wrokdir=x'], r'no --wrokdir \(did you mean --workdir\?\)'),
    ([*EMOJI, '--config.lr=1'], r'no field lr \(did you mean --config.optim.G.lr or --config.opt'),
    ([*EMOJI, '--config.batch_sise=8'], r'no field batch_sise \(did you mean --config.batch_size '),
    ([*EMOJI, '--config.optim.G.rl=1'], r'optim.G.rl \(did you mean --config.optim.G.lr '),
    ([*EMOJI, '--config.network.width=1'], r'no field network.width .*--config.networks.width\?'),
    ([*EMOJI, '--config.steps.more=1'], r'no field steps.more \(did you mean --config.steps '),
    ([*EMOJI, '--noconfig.flip'], r'--config.data.flip'),
    (['--config.lr=1'], r'--config.lr: name the file first'),
    (['--config=configs/dcgan_cifer.py'], r'dcgan_cifer.py. \(did you mean configs/dcgan_cifar.py'),
    ([*EMOJI, '--config.batch_size=many'], r"batch_size=many: .* base 10: 'many'$"),
    ([*EMOJI, '--workdir'], r'--workdir'),
    ([*EMOJI, 'resume'], r'unexpected arguments: resume'),
  ],
)
def test_mistakes_name_what_is_right(monkeypatch, arguments, line):
  monkeypatch.chdir(command.ROOT)
  with pytest.raises(UserError, match=line) as error:
    made = read(monkeypatch, *arguments)
    commandline.config(made._config)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'typed, section, expected',
  [
    (['method.packing=2'], 'method', {'packing': 2}),
    (['method.most_right_D=1'], 'method', {'most_right_D': 1.0}),  # a number that has a fraction
    (['method.diffaugment=color,cutout'], 'method', {'diffaugment': 'color,cutout'}),
    (['method.penalties.r1=10', 'method.penalties.r2=0.5'], 'method', {'penalties': {'r1': 10, 'r2': 0.5}}),
    (['networks.name=resnet', 'networks.attention=16'], 'networks', {'attention': 16}),
    (['data.labels=style'], 'data', {'labels': 'style'}),
  ],
)  # fmt: skip
def test_what_a_file_leaves_at_its_default_can_be_set(monkeypatch, typed, section, expected):
  made = read(monkeypatch, *EMOJI, *(f'--config.{one}' for one in typed))
  config = commandline.config(made._flags['config'])
  part = config[section].to_dict()
  plain = commandline.config(read(monkeypatch, *EMOJI)._flags['config'])[section].to_dict()
  assert {name: part[name] for name in expected} == expected
  assert part.keys() - plain.keys() == {*expected}  # and nothing else
  (name, value), *_ = expected.items()
  assert type(part[name]) is type(value)


def test_a_quoted_home_is_one(monkeypatch):
  monkeypatch.setenv('HOME', '/home/somebody')
  assert read(monkeypatch, '--workdir', '~/run')._flags['workdir'].value == '/home/somebody/run'
  made = read(monkeypatch, *EMOJI, '--config.init_from=~/other')
  assert made._flags['config'].value.init_from == '~/other'  # expanded where it is read


ORDER = '--xla_cpu_enable_concurrency_optimized_scheduler'


@pytest.mark.parametrize(
  'devices, before, after',
  [
    (-1, '', ''),
    (1, '--a', '--a'),
    (2, '', f'{ORDER}=false'),
    (
      -1,
      '--xla_force_host_platform_device_count=4',
      f'--xla_force_host_platform_device_count=4 {ORDER}=false',
    ),
    (2, f'{ORDER}=true', f'{ORDER}=true'),  # as the user has it
  ],
)
def test_several_cpu_devices_begin_collectives_in_one_order(monkeypatch, devices, before, after):
  monkeypatch.setenv('XLA_FLAGS', before)
  monkeypatch.setattr(type(jax.config), 'jax_num_cpu_devices', devices)
  processes.start()
  assert os.environ['XLA_FLAGS'] == after


@pytest.mark.parametrize('asked, extra', [('cuda', 'cuda'), ('gpu', 'cuda'), ('tpu', 'tpu')])
def test_devices_that_are_not_there_name_the_extra(monkeypatch, asked, extra):
  def missing():
    raise AssertionError  # as JAX does

  monkeypatch.setattr(jax, 'local_devices', missing)
  monkeypatch.setattr(type(jax.config), 'jax_platforms', asked)
  line = rf"JAX_PLATFORMS={asked}: no such devices, or no plugin .* pip install '\.\[{extra}\]'$"
  with pytest.raises(UserError, match=line):
    processes.start()


@pytest.mark.parametrize(
  'format, name, line',
  [
    ('grid', 'x.jpg', '--format grid writes .png files: name it x.png'),
    ('gif', 'x.png', '--format gif writes .gif files: name it x.gif'),
    ('npz', 'x.npy', '--format npz writes .npz files: name it x.npz'),
  ],
)
def test_a_file_is_not_called_what_it_is_not(format, name, line):
  for out in (name, name.upper()):
    sample.COMMAND.read(['ganjax sample', f'--format={format}', f'--out={out}', '--workdir=w'])
    with pytest.raises(UserError, match=line[:-6]):
      sample.main()
  for right in (name[:2], line[-5:], line[-5:].upper()):
    sample.COMMAND.read(['ganjax sample', f'--format={format}', f'--out={right}', '--workdir=w'])
    with pytest.raises(UserError, match='workdir w is not there'):
      sample.main()


@pytest.mark.parametrize('format', ['files', 'folders'])
def test_a_folder_is_not_called_as_a_file_is(format):
  sample.COMMAND.read(['ganjax sample', f'--format={format}', '--out=x.jpg', '--workdir=w'])
  with pytest.raises(UserError, match=f'--format {format} writes a folder: leave .jpg out'):
    sample.main()
  sample.COMMAND.read(['ganjax sample', f'--format={format}', '--out=v1.2', '--workdir=w'])
  with pytest.raises(UserError, match='workdir w is not there'):
    sample.main()


@pytest.mark.parametrize(
  'arguments', [[], ['G.stablehlo'], ['G', 'x.npz', 'n'], ['G', 'x.png', '3']]
)
def test_the_loader_of_generators_says_how_it_is_called(monkeypatch, arguments):
  monkeypatch.setattr(sys, 'argv', ['load_generator.py', *arguments])
  with pytest.raises(
    SystemExit, match=r'^usage: python load_generator.py G.stablehlo pictures.npz'
  ):
    runpy.run_path(str(command.ROOT / 'docs/load_generator.py'))


# Lost on the way out.

BLOCKED = """
import hashlib
import os
import time
from ganjax.training import signals

signals.listen(lambda number: signals.say(f'heard {number}'))
ends, pipe = os.pipe()
if not (child := os.fork()):
  os.write(pipe, b'.')  # its handlers are reset
  time.sleep(60)
os.read(ends, 1)
print(f'ready {child}', flush=True)
hashlib.pbkdf2_hmac('sha256', b'', b'', 10**8)  # a minute in C
"""


def test_a_signal_is_heard_while_the_main_thread_is_in_c():
  process = subprocess.Popen(
    [sys.executable, '-c', BLOCKED], cwd=command.ROOT, stdout=subprocess.PIPE
  )
  try:
    child = int(command.read_to(process, 'ready').split()[1])
    os.kill(child, signal.SIGTERM)  # is not the parent's, and ends the child
    until = time.monotonic() + 20
    while Path(f'/proc/{child}/stat').read_text().split()[2] != 'Z':
      assert time.monotonic() < until
      time.sleep(0.05)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
      process.send_signal(number)
      assert command.read_to(process, 'heard') == f'heard {number:d}\n'
  finally:
    os.kill(child, signal.SIGKILL)
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
  'numbers, status', [([signal.SIGHUP, signal.SIGHUP], 129), ([signal.SIGINT], 130)]
)
def test_a_run_whose_reader_and_terminal_are_gone_saves(tmp_path, numbers, status):
  """`| head`, then the terminal closes: nobody reads, and SIGHUP comes, twice; or `|& tee log` ends by Ctrl-C too."""
  arguments = [*command.tiny({'steps': 100_000}), '--workdir', tmp_path]
  process = command.start('train.py', *arguments)
  command.read_to(process, 'step ')
  process.stdout.close()
  process.stderr.close()
  lines = lambda: (tmp_path / 'metrics.jsonl').read_text().count('\n')
  before = lines()
  while lines() < before + 5 and process.poll() is None:
    time.sleep(0.1)
  for number in numbers:
    process.send_signal(number)
  assert process.wait(60) == status
  assert checkpoint.list_steps(tmp_path)[-1] == lines()


def test_ctrl_c_is_acknowledged_and_a_second_one_stops_at_once(tmp_path):
  arguments = [*command.tiny({'steps': 100_000}), '--workdir', tmp_path]
  process = command.start('train.py', *arguments)
  command.read_to(process, 'compiling')
  process.send_signal(signal.SIGINT)
  command.read_to(process, 'SIGINT: saving at the next step; again to stop at once')
  process.send_signal(signal.SIGINT)
  assert command.finish(process).returncode in (130, -signal.SIGINT)


def test_training_imports_nothing_slow_that_it_may_not_need():
  """Each of these takes as long as Flax or longer, and a run of pictures needs none before its first step."""
  slow = {'tensorflow', 'torch', 'tensorflow_datasets', 'scipy.signal', 'scipy.linalg', 'fsspec'}
  code = f'import sys, ganjax.training.train; print(sorted({slow!r} & sys.modules.keys()))'
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '[]'
