"""Standing statistics and seeds, without a run."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from ganjax import UserError
from ganjax.devices.sharding import make_mesh, replicate
from ganjax.layers.norm import BatchNorm
from ganjax.method import Stage, TrainState, apply
from ganjax.sampling import latents, sampler


class Net(nn.Module):
  """Latents [B, 3], scaled and normalised."""

  @nn.compact
  def __call__(self, z, *, train):
    return BatchNorm()(z * self.param('scale', nn.initializers.ones, ()), train=train)


class Method:
  examples = ()

  @staticmethod
  def rows(seeds, examples):
    return latents.per_seed(seeds, 3)


@pytest.fixture
def stage_and_state():
  net, traced = Net(name='G'), []

  def sample(state, z, **mode):
    traced.append(len(z))
    return apply(net, state, z, **mode)

  variables = net.init(jax.random.key(0), np.zeros((2, 3)), train=False)
  params, stats = {'G': variables.pop('params')}, {'G': variables, 'D': {}}
  return Stage((), sample), TrainState(np.int32(0), (), params, stats, {}, {}, {}), traced


def test_standing_statistics_are_of_the_same_latents_on_any_devices(stage_and_state):
  stage, state, _ = stage_and_state
  z = np.asarray(Method.rows(np.arange(-64 * 64, 0), {}), np.float64)
  for count in (1, 3, 4):
    mesh = make_mesh(jax.devices()[:count])
    found = sampler.prepare(
      stage, replicate(state, mesh), Method, mesh=mesh, batch_norm='standing'
    ).stats
    assert found.keys() == {'G', 'D'} and found['G'].keys() == {'batch_stats'}
    (own,) = found['G']['batch_stats'].values()
    np.testing.assert_allclose(own['mean'], z.mean(0), atol=1e-6)
    np.testing.assert_allclose(own['var'], z.var(0, ddof=1), rtol=1e-5)


def test_standing_statistics_of_every_checkpoint_take_one_program(stage_and_state):
  stage, state, traced = stage_and_state
  mesh = make_mesh()
  for scale in (1.0, 2.0):
    G = {**state.params['G'], 'scale': np.float32(scale)}
    one = replicate(state.replace(params={'G': G}), mesh)
    (found,) = sampler.standing(stage, one, Method, mesh=mesh).stats['G']['batch_stats'].values()
    np.testing.assert_allclose(np.sqrt(found['var']), scale, rtol=0.05)
  assert traced == [64, 64]  # what the sums look like, then the program
  assert sampler._standing_function(stage.sample)._cache_size() == 1


def test_a_generator_without_batch_norm_stays_as_it_is(stage_and_state):
  _, state, _ = stage_and_state
  stage, mesh = Stage((), lambda state, z, **mode: (z, state)), make_mesh()
  found = sampler.standing(stage, replicate(state, mesh), Method, mesh=mesh)
  jax.tree.map(np.testing.assert_array_equal, found.stats, state.stats)


@pytest.mark.parametrize(
  ('text', 'line'),
  [
    ('5-3,7', r"--seeds='5-3,7' is not understood"),
    ('7,-2-4', 'is not understood'),
    ('4294967296', 'goes up to 4,294,967,296: the last seed is 2,147,483,647'),
    ('0-99999999999', 'goes up to 99,999,999,999: the last seed is 2,147,483,647'),
    ('0-2147483647', 'are 2,147,483,648 at once: take 10,000,000 at most'),
    ('0-9999999,5', 'are 10,000,001 at once'),
  ],
)
def test_seeds_that_would_be_those_of_others_or_too_many(text, line):
  with pytest.raises(UserError, match=line):
    sampler.parse_seeds(text)


def test_the_last_seed_has_latents_of_its_own():
  last = sampler.parse_seeds('0,2147483647')
  assert last.tolist() == [0, 2**31 - 1]
  z = np.asarray(latents.per_seed(np.array([*last, -1, -4096]), 3))
  assert len(np.unique(z, axis=0)) == 4
