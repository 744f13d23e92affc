"""The command lines as users run them: processes of their own, on one CPU device, a tiny DCGAN on 40 pictures."""

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
_FILES = tempfile.TemporaryDirectory(prefix='ganjax-test-')  # goes when the test run ends


@functools.cache
def files() -> Path:
  """A folder for what the tests of one run share."""
  return Path(_FILES.name)


@functools.cache
def pictures() -> Path:
  """A folder of 40 pictures of 32 pixels: noise round a colour each."""
  folder, rng = files() / 'pictures', np.random.default_rng(0)
  folder.mkdir()
  for i in range(40):
    noise = rng.normal(rng.integers(50, 200, 3), 20, (32, 32, 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f'{i:02}.png')
  return folder


def tiny(fields=()) -> list:
  """Arguments of train.py: configs/dcgan_emoji.py shrunk, with `fields` {name: value} besides.

  The average of G and a decaying rate are on, so that a resume has them to get wrong; rates are high, so that a hundred
  steps make pictures that differ.
  """
  fields = {
    'networks.width': 4,
    'batch_size': 8,
    'data.dataset': 'folder',
    'data.data_dir': pictures(),
    'data.resolution': 32,
    'optim.G.decay': 'linear',
    'optim.G.lr': 2e-3,
    'optim.D.lr': 2e-3,
    'ema.half_life_images': 100,
    'steps': 100,
    'log_every_steps': 1,
    'sample_every_steps': 25,
    'checkpoint_every_steps': 10,
    **dict(fields),
  }
  config = ROOT / 'configs/dcgan_emoji.py'
  return ['--config', config, *(f'--config.{name}={value}' for name, value in fields.items())]


def start(script, *arguments, env=()) -> subprocess.Popen:
  """Starts `python SCRIPT ARGUMENTS`, or `ganjax SCRIPT ...` where that is a command.

  `env` is added to an environment that knows of no device but one CPU.
  """
  ours = ('JAX_', 'XLA_', 'TFDS_', 'PYTHON')
  variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
  variables |= {
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    # Everything is kept: most of a tiny run is compilation.
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'GANJAX_CACHE_DIR': str(files() / 'cache'),
    **dict(env),
  }
  called = [ROOT / script] if str(script).endswith('.py') else ['-m', 'ganjax', script]
  command = [sys.executable, *called, *arguments]
  # A small pipe: a run whose lines nobody reads stops some 40 steps later, so that no test is too late for it.
  pipes = dict(
    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=4096
  )
  return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=variables, text=True, **pipes)


def finish(process, timeout=240) -> subprocess.CompletedProcess:
  """Waits for a process; what it printed since `read_to` is there as text."""
  try:
    out, err = process.communicate(timeout=timeout)
  except subprocess.TimeoutExpired:
    process.kill()
    process.communicate()
    raise
  return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(script, *arguments, env=()) -> subprocess.CompletedProcess:
  return finish(start(script, *arguments, env=env))


def run_all(commands) -> dict:
  """Runs {name: ([script, *arguments], environment)}, in forks of one process that has imported what they import.

  Returns:
    {name: the finished process}. Two run at a time; see forks.py.
  """
  folder = Path(tempfile.mkdtemp(dir=files()))
  cases = {name: (list(map(str, words)), dict(env)) for name, (words, env) in commands.items()}
  (folder / 'cases.json').write_text(json.dumps(cases, default=str))
  done = finish(start('tests/forks.py', folder / 'cases.json'), timeout=600)
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout).items()
  return {name: subprocess.CompletedProcess(cases[name][0], *how) for name, how in found}


def succeed_all(commands) -> dict:
  """Runs command lines as `run_all`; all must end with status 0."""
  done = run_all(commands)
  for name, process in done.items():
    assert process.returncode == 0, (name, process.stderr)
  return done


def succeed(script, *arguments, env=()) -> subprocess.CompletedProcess:
  """Runs a command line that must end with status 0."""
  done = run(script, *arguments, env=env)
  assert done.returncode == 0, done.stderr
  return done


def read_to(process, text) -> str:
  """Reads the process's output up to the line that starts with `text`, and no further; returns that line."""
  line = b''
  while byte := os.read(process.stdout.fileno(), 1):
    line += byte
    if byte == b'\n':
      if line.decode().startswith(text):
        return line.decode()
      line = b''
  raise AssertionError(f'{text!r} was never printed: {finish(process).stderr}')


@functools.cache
def finished():
  """(workdir, output, tripped, seconds) of one whole run: 100 steps that nobody disturbed.

  TensorFlow, TFDS and torch are traps in it: `tripped` is a file that holds the names of those that anything imported.
  """
  workdir, traps, tripped = files() / 'finished', files() / 'traps', files() / 'tripped'
  for name in ('tensorflow', 'tensorflow_datasets', 'torch'):
    (traps / name).mkdir(parents=True)
    (traps / name / '__init__.py').write_text(
      f'open({str(tripped)!r}, "a").write("{name} ")\nraise ImportError("a trap of the tests")\n'
    )
  since = time.monotonic()
  done = succeed('train.py', *tiny(), '--workdir', workdir, env={'PYTHONPATH': traps})
  return workdir, done.stdout, tripped, time.monotonic() - since


def free_port() -> int:
  with socket.socket() as found:
    found.bind(('localhost', 0))
    return found.getsockname()[1]


def launch(count, devices, command, folder, timeout=400, **environment):
  """Runs `count` processes that speak to each other, on `devices` virtual devices each; returns their outputs.

  Fails, with the output of all, where one fails or the time is over.
  """
  port = free_port()
  environment = {
    **os.environ,
    'PYTHONPATH': str(ROOT),  # the package that is tested here
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.3',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    **environment,
  }
  if count > 1:
    environment |= {'JAX_COORDINATOR_ADDRESS': f'localhost:{port}', 'JAX_NUM_PROCESSES': f'{count}'}
  outputs = [Path(folder, f'process{i}.txt') for i in range(count)]
  with contextlib.ExitStack() as stack:
    processes = []
    for i, output in enumerate(outputs):
      process = subprocess.Popen(
        [sys.executable, *(str(part).format(process=i) for part in command)],
        env={**environment, 'JAX_PROCESS_ID': f'{i}'},
        cwd=ROOT,
        stdout=stack.enter_context(output.open('w')),
        stderr=subprocess.STDOUT,
      )
      stack.callback(process.wait)
      stack.callback(process.kill)
      processes.append(process)
    end = time.monotonic() + timeout
    while any(process.poll() is None for process in processes):
      # The others would wait for a dead process for minutes.
      if any(process.poll() for process in processes) or time.monotonic() > end:
        break
      time.sleep(0.1)
    statuses = [process.poll() for process in processes]
  texts = [output.read_text() for output in outputs]
  if any(statuses) or None in statuses:
    shown = '\n'.join(
      f'--- process {i}, status {status} (None: killed here)\n{text[-5000:]}'
      for i, (status, text) in enumerate(zip(statuses, texts))
    )
    pytest.fail(f'{command} in {count} processes, at most {timeout} s:\n{shown}')
  return texts
