"""Runs of two stages by the commands, killed where a stage begins: what goes on is the run that nobody killed."""

import os
import signal
import time

import command
import jax
import numpy as np
import pytest
from PIL import Image

from ganjax.workdir import checkpoint

# Name -> (script and recipe, overrides, border, steps): four networks with pools and other batches; another resolution.
RUNS = {
  'cycle': (
    ['tests/toys/command.py', 'train.py', '--config', command.ROOT / 'tests/toys/config.py:cycle'],
    {},
    4,
    8,
  ),
  'progressive': (
    ['train.py', '--config', command.ROOT / 'configs/progressive_emoji.py'],
    {
      'steps': 6,
      'data.data_dir': command.pictures,
      'data.dataset': 'folder',
      'data.resolution': 8,
      'networks.width': 4,
      'networks.channel_base': 16,
      'method.z_dim': 3,
      'method.steady_images': 32,
      'method.fade_images': 32,
    },
    2,
    6,
  ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_killed_where_a_stage_begins_it_is_the_same_run(name, tmp_path):
  words, fields, border, steps = RUNS[name]
  fields = {**fields, 'checkpoint_every_steps': border, 'log_every_steps': 1, 'keep_checkpoints': 9}
  flags = [f'--config.{k}={v() if callable(v) else v}' for k, v in fields.items()]
  train = lambda workdir: [*words, *flags, '--workdir', workdir]
  command.succeed(*train(tmp_path / 'whole'))
  # Killed as soon as the border's checkpoint is whole.
  process = command.start(*train(tmp_path / 'killed'))
  until = time.monotonic() + 200
  while not (tmp_path / f'killed/checkpoints/{border}').is_dir():
    assert process.poll() is None and time.monotonic() < until, command.finish(process).stderr
    time.sleep(0.01)
  os.kill(process.pid, signal.SIGKILL)
  command.finish(process)
  done = command.succeed(*train(tmp_path / 'killed'))
  assert f'resuming at step {border} of {steps}' in done.stdout
  whole, killed = (checkpoint.read(tmp_path / one, steps)[0] for one in ('whole', 'killed'))
  jax.tree.map(np.testing.assert_array_equal, killed, whole)
  grids = [Image.open(tmp_path / f'{one}/samples/{steps:08}.png') for one in ('whole', 'killed')]
  assert grids[0].tobytes() == grids[1].tobytes()
