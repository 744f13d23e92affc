"""Methods of tests/toys, trained: four networks in two stages; noise of a sample's shape, taken away in passes."""

import runpy

import jax
import numpy as np
import pytest
import toys
from test_dispatch import Signalled, train  # noqa: F401

from ganjax import experiment, media
from ganjax.devices.sharding import make_mesh
from ganjax.sampling import sampler


@pytest.fixture
def config(monkeypatch):
  toys.add(monkeypatch.setattr)

  def config(name):
    made = runpy.run_path(f'{toys.__path__[0]}/config.py')['get_config'](name)
    made.networks.dtype = 'float64'
    return made

  return config


def test_stopped_where_a_stage_begins_it_is_the_same_run(train, config):  # noqa: F811
  made = config('cycle')
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


def test_samples_in_several_passes_from_noise_of_their_own_shape(train, config):  # noqa: F811
  made = config('denoise')
  status, kept, _ = train('denoise', made)
  assert status == 0 and kept['step'] == 8
  run = experiment.build(made)
  state = run.init(jax.random.key(1))
  draw = lambda **options: sampler.generate(
    run.spans[0].stage,
    state,
    sampler.rows(run.method, np.arange(3), **options),
    mesh=make_mesh(),
    batch_size=4,
    kind='sound',
  )
  one, four, again = draw(passes=1), draw(passes=4), draw(passes=4)
  assert one.shape == four.shape == (3, 64, 1)
  np.testing.assert_array_equal(four, again)
  assert (one != four).mean() > 0.9
  # One pass, by hand: G of the seed's noise at time 1.
  kernel, bias = (np.asarray(state.params['G']['Dense_0'][name]) for name in ('kernel', 'bias'))
  noise = jax.device_get(run.method.rows(np.arange(3), {}, passes=1))['noise'][:, 0]
  given = np.concatenate([noise.reshape(3, -1) / 10, np.ones((3, 1))], 1)
  wanted = media.find('sound').to_stored(np.tanh(given @ kernel + bias).reshape(3, 64, 1))
  assert np.abs(one.astype(int) - wanted).max() <= 1
