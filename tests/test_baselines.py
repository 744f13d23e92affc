"""benchmarks/baselines.py: which pictures it measures in place of samples, against which, and its records."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from ganjax import config as configs
from ganjax import data, experiment
from ganjax.layers.resample import resize_bicubic
from ganjax.metrics import neighbours, ssim

JOB = runpy.run_path(str(Path(__file__).parents[1] / 'benchmarks/baselines.py'), run_name='job')
RNG = np.random.default_rng(0)


def test_starts_in_the_shape_of_targets():
  x = RNG.integers(0, 256, (3, 4, 4, 1), np.uint8)
  np.testing.assert_array_equal(JOB['as_samples'](x, (3, 4, 4, 3)), np.repeat(x, 3, -1))
  small = RNG.integers(0, 256, (3, 4, 4, 3), np.uint8)
  large = np.asarray(resize_bicubic(np.float32(small) / 127.5 - 1, 2))
  found = JOB['as_samples'](small, (3, 8, 8, 3))
  assert found.dtype == np.uint8
  np.testing.assert_allclose(found, np.clip((large + 1) * 127.5, 0, 255), atol=0.51)


def test_what_is_measured(monkeypatch, tmp_path, capsys):
  config = configs.base('sketch')
  config.data.update(dataset='sketches', of='emoji', split='rest', resolution=16)
  config.networks = dict(name='pix2pix', width=2, width_D=2, downs=3, layers_D=1)
  config.networks.update(dropout_levels=(), norm='instance')
  config.method = dict(name='pix2pix')
  config.optim = dict(G=configs.adam(lr=1e-4), D=configs.adam(lr=1e-4))
  config.eval.split = 'test'
  run = experiment.build(config)
  monkeypatch.setattr(experiment, 'load', lambda place: run)
  out = tmp_path / 'records.jsonl'
  monkeypatch.setattr(sys, 'argv', ['baselines.py', 'runs/a', '--metrics=ssim', '--out', str(out)])
  JOB['main']()
  found = [json.loads(line) for line in out.read_text().splitlines()]
  names = ['the start itself', 'target of the nearest training pair']
  assert [one['fake']['name'] for one in found] == names
  assert found[0]['command'] == 'python benchmarks/baselines.py runs/a --metrics=ssim'
  trained = data.build(dataset='sketches', resolution=16, split='rest')
  held = data.build(dataset='sketches', resolution=16, split='test')
  pairs = held.read(np.arange(held.num_examples))
  itself = ssim.ssim(np.repeat(pairs['source'], 3, -1), pairs['target'], luma=True).mean()
  assert found[0]['values']['ssim'] == pytest.approx(itself, rel=1e-5)
  known = trained.read(np.arange(trained.num_examples))
  flat = lambda x: x.reshape(len(x), -1).astype(np.float32)
  rows, _ = neighbours.nearest(flat(pairs['source']), flat(known['source']), k=1)
  others = known['target'][rows[:, 0]]
  nearest = ssim.ssim(others, pairs['target'], luma=True).mean()
  assert found[1]['values']['ssim'] == pytest.approx(nearest, rel=1e-5)
  assert all(name in capsys.readouterr().out for name in names[:1])


def test_a_run_that_starts_from_no_picture(monkeypatch, capsys):
  config = configs.base('none')
  config.data.update(dataset='emoji', resolution=16)
  config.networks, config.method = dict(name='mlp', width=5), dict(name='gan', z_dim=4)
  config.optim = dict(G=configs.adam(), D=configs.adam())
  run = experiment.build(config)
  monkeypatch.setattr(experiment, 'load', lambda place: run)
  monkeypatch.setattr(sys, 'argv', ['baselines.py', 'runs/a'])
  with pytest.raises(SystemExit):
    JOB['main']()
  assert 'runs/a makes image of nothing: baselines are of pictures' in capsys.readouterr().err
