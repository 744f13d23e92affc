"""Four networks on domains of unequal length, with pools, in two stages: stopped at the border, it is the same run."""

import runpy

import jax
import numpy as np
import toys
from test_dispatch import Signalled, train  # noqa: F401

from ganjax import experiment


def config():
  toys.add()
  made = runpy.run_path(f'{toys.__path__[0]}/config.py')['get_config']('cycle')
  made.networks.dtype = 'float64'
  return made


def test_stopped_where_a_stage_begins_it_is_the_same_run(train):  # noqa: F811
  made = config()
  status, whole, lines = train('whole', made)
  assert status == 0
  # The second stage starts from minus D, whose steps are then of a rate that moves it little.
  span = experiment.build(made).spans
  assert [(one.start, one.stop, one.batch_size) for one in span] == [(0, 4, 8), (4, 8, 4)]

  def stopped(config):
    run = experiment.build(config)
    Signalled.last = 4
    return Signalled(*run)

  status, border, _ = train('parts', made, make=stopped)
  assert status == 143 and border['step'] == 4
  status, resumed, _ = train('parts', made)
  assert status == 0
  jax.tree.map(np.testing.assert_array_equal, resumed, whole)
  turned = border['params']['D']['Dense_0']['kernel']
  moved = np.abs(whole['params']['D']['Dense_0']['kernel'] + turned)
  assert moved.max() < np.abs(turned).mean()
  # Pools hold the fakes of the last step, optimizers count the steps of their stage alone.
  assert np.abs(whole['extra']['pool']['G']).max() > 0
  counts = [x for x in jax.tree.leaves(whole['opt']) if np.ndim(x) == 0]
  assert counts and all(count == 4 for count in counts)
