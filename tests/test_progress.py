"""What the log says while steps are in flight, by a clock of the test's own."""

import itertools
import json
import runpy
import time
import types

import command
import numpy as np
import pytest

from ganjax import experiment
from ganjax.devices import sharding
from ganjax.training.log import Log

EMOJI = runpy.run_path(str(command.ROOT / 'configs/dcgan_emoji.py'))


class Metric(np.ndarray):
  """An array that comes out of the device at a time, which reading it waits for."""

  def is_ready(self):
    return time.monotonic() >= self.at


@pytest.fixture
def work(tmp_path, monkeypatch, capsys):
  """Runs steps that end at the given seconds, each dispatched before the second but last is read; lines of progress."""
  clock = [0.0]
  monkeypatch.setattr(time, 'monotonic', lambda: clock[0])

  def work(ends, compiled=0.0, **fields):
    config = EMOJI['get_config']()
    config.update_from_flattened_dict({'batch_size': 8, 'networks.width': 4, **fields})
    run, mesh = experiment.build(config), sharding.make_mesh()
    log = Log(run, tmp_path, [], mesh, 0, {}, types.SimpleNamespace(flags=()), 'id')
    for step, end in enumerate(ends, 1):
      metric = np.zeros(()).view(Metric)
      metric.at = end
      clock[0] = max(clock[0], compiled, *ends[max(0, step - 3) : max(0, step - 2)], 0)
      log.add(step, {'loss_G': metric})
      log.read(keep=2)
    clock[0] = ends[-1]
    log.read(keep=0)
    lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith('step ')]
    return [*map(json.loads, lines)], printed

  return work


def test_speed_counts_what_is_done(work):
  """Three steps are done before the first is read, since the second program compiled meanwhile; then one takes 2 s."""
  ends = [40, 42, 44, *itertools.accumulate([2] * 40, initial=102)]
  kept, printed = work(ends, compiled=100, log_every_steps=10, steps=1000)
  assert [line['step'] for line in kept] == [10, 20, 30, 40]
  for line in kept:
    assert line['images_per_second'] == pytest.approx(8 / 2, rel=0.01)
  assert all('  4 images/s' in line for line in printed)


def test_slow_steps_say_what_is_left(work):
  """100 s each: a line after the second, then every ten minutes or so; metrics.jsonl has what was asked for."""
  ends = [*itertools.accumulate([100] * 40)]
  kept, printed = work(ends, log_every_steps=20, steps=10_000)
  assert [line['step'] for line in kept] == [20, 40]
  steps = [int(line.split('/')[0].removeprefix('step')) for line in printed]
  assert steps[0] == 2 and {20, 40} <= {*steps}
  assert all(0 < b - a <= 7 for a, b in zip(steps, steps[1:]))
  assert printed[0].startswith('step     2/10000  0.08 images/s  11d13h left')


def test_a_metric_that_stays_high_is_said_once_a_spell(tmp_path, capsys):
  """ADA's p at its limit for 1,000 steps, below it for one, and again."""
  run = experiment.build(EMOJI['get_config']())
  run = run._replace(method=run.method._replace(watch={'ada_p': (0.8, 'too few pictures')}))
  log = Log(run, tmp_path, [], sharding.make_mesh(), 0, {}, types.SimpleNamespace(flags=()), 'id')
  for step in range(1, 3003):
    log._check(step, {'ada_p': np.float32(0.5 if step == 1501 else 0.81), 'loss_G': np.zeros(())})
    log._check(step, {'loss_G': np.zeros(())})  # a phase without it
  said = [line for line in capsys.readouterr().out.splitlines() if 'WARNING' in line]
  assert said == [
    f'WARNING ada_p is at 0.8 or above since step {step}: too few pictures' for step in (1, 1502)
  ]
