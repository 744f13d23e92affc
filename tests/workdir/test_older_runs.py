"""A run of ganjax 0.4.0 goes on where it was.

`run_0.4.0.tar.xz` holds one, a narrow DCGAN on the emoji at 32 pixels, with the checkpoint of step 4. `BY_0_4_0` and
`GRADIENTS` are what 0.4.0 itself logged of steps 5 and 6, on a CPU.
"""

import json
import tarfile
from pathlib import Path

import command
import pytest

BY_0_4_0 = [
  {'loss_real': 0.6879113912582397, 'loss_fake': 0.6904802322387695, 'loss_G': 0.6804039478302002},
  {'loss_real': 0.689860999584198, 'loss_fake': 0.6857263445854187, 'loss_G': 0.6996237635612488},
]
GRADIENTS = [
  {'grad_norm_D': 3.364485740661621, 'grad_norm_G': 4.813643455505371},
  {'grad_norm_D': 2.8964128494262695, 'grad_norm_G': 2.881779432296753},
]
FIELDS = {
  'batch_size': 4,
  'networks.width': 2,
  'method.z_dim': 4,
  'data.resolution': 32,
  'optim.G.decay': 'linear',
  'sample_every_steps': 4,
  'checkpoint_every_steps': 4,
  'log_every_steps': 1,
}


def resume(workdir, fields):
  recipe = ['--config', command.ROOT / 'configs/dcgan_emoji.py', '--workdir', workdir]
  return command.run('train.py', *recipe, *(f'--config.{k}={v}' for k, v in fields.items()))


@pytest.mark.slow
def test_a_run_of_0_4_0_goes_on_as_there(tmp_path):
  with tarfile.open(Path(__file__).with_name('run_0.4.0.tar.xz')) as stored:
    stored.extractall(tmp_path, filter='data')
  before = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  other = resume(tmp_path, {**FIELDS, 'networks.width': 4, 'steps': 6})
  assert other.returncode == 2 and 'networks.width' in other.stderr
  done = resume(tmp_path, {**FIELDS, 'steps': 6})
  assert done.returncode == 0, done.stderr
  assert 'resuming at step 4 of 6' in done.stdout
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert lines[:4] == before and len(lines) == 6
  for line, losses, gradients in zip(lines[4:], BY_0_4_0, GRADIENTS):
    values = json.loads(line)
    assert {k: values[k] for k in losses} == pytest.approx(losses, rel=1e-5)
    assert {k: values[k] for k in gradients} == pytest.approx(gradients, rel=1e-3)
