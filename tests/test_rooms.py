"""Imports run down the floors of the package, and the package that is installed has all its rooms."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import command
import pytest

from ganjax import commandline

PACKAGE = command.ROOT / 'ganjax'
# From the ground up. A file may import what lies below its floor, and what is in its own room.
FLOORS = (
  'wording dtypes',
  'component method',
  'overrides',
  'commandline',
  'devices',
  'workdir optim layers',
  'media views text degradations',
  'data',
  'sampling losses networks weights seeds',
  'features update config',
  'metrics run_record',
  'methods experiment',
  'run_state',
  'evaluation pretrained',
  'pages',
  'training',
  'tpu',
)


def room(module: str) -> str:
  """'ganjax.losses.penalties' -> 'losses'."""
  return module.split('.')[1]


def imports(path: Path):
  """Modules of ganjax that a file imports, by their whole names."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module == 'ganjax':
      names = [one.name for one in node.names]
      yield from (
        f'ganjax.{n}' for n in names if (PACKAGE / n).is_dir() or (PACKAGE / f'{n}.py').is_file()
      )
    elif isinstance(node, ast.ImportFrom) and (node.module or '').startswith('ganjax.'):
      yield node.module


def test_imports_run_down():
  floor_of = {name: i for i, names in enumerate(FLOORS) for name in names.split()}
  commands = {
    PACKAGE.joinpath(*name.split('.')).with_suffix('.py') for name in commandline.COMMANDS.values()
  }
  wrong = []
  for path in sorted({*PACKAGE.rglob('*.py')} - commands):
    here, *_ = path.relative_to(PACKAGE).with_suffix('').parts
    if here.startswith('__'):
      continue
    for module in imports(path):
      there = room(module)
      if there != here and floor_of[there] >= floor_of[here]:
        wrong.append(f'{path.relative_to(PACKAGE)} imports {module}')
  assert not wrong, wrong


def test_every_room_is_installed():
  setup = configparser.ConfigParser()
  setup.read(command.ROOT / 'setup.cfg')
  rooms = {
    f'ganjax.{path.parent.relative_to(PACKAGE)}'.replace('/', '.')
    for path in PACKAGE.rglob('__init__.py')
  }
  listed = setup['options']['packages'].split()
  assert listed == sorted({*rooms, 'ganjax.configs'} - {'ganjax..'} | {'ganjax'})


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder(tmp_path):
  """Commands and configurations come along; nothing is read from a checkout."""
  pip = [sys.executable, '-m', 'pip', '--quiet']
  subprocess.run([*pip, 'wheel', '--no-deps', '-w', tmp_path, command.ROOT], check=True)
  (wheel,) = tmp_path.glob('*.whl')
  subprocess.run([*pip, 'install', '--no-deps', '--target', tmp_path / 'site', wheel], check=True)
  (tmp_path / 'empty').mkdir()
  env = {
    'PYTHONPATH': str(tmp_path / 'site'),
    'PATH': '/usr/bin:/bin',
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    'HOME': str(tmp_path),
  }

  def run(*arguments):
    ganjax = [sys.executable, tmp_path / 'site/bin/ganjax', *arguments]
    return subprocess.run(ganjax, cwd=tmp_path / 'empty', env=env, capture_output=True, text=True)

  here = {path.name for path in command.ROOT.glob('configs/*.py')}
  assert {path.name for path in tmp_path.glob('site/ganjax/configs/*.py')} >= here
  fields = [
    'networks.width=4',
    'data.resolution=32',
    'batch_size=4',
    'steps=2',
    'log_every_steps=1',
  ]
  done = run('train', 'dcgan_emoji', '--workdir=run', *(f'--config.{field}' for field in fields))
  assert done.returncode == 0 and 'finished 2 steps' in done.stdout, done.stderr
  assert run('sample', '--workdir=run', '--seeds=0-3').returncode == 0
  assert [path.name for path in (tmp_path / 'empty').iterdir()] == ['run']
