"""EQ-T and EQ-R of generators whose answer is known: waves that move with their input, and such as do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.evaluation import measure, pixels
from ganjax.evaluation.presets import parse_metrics
from ganjax.evaluation.sides import Side
from ganjax.metrics import equivariance
from ganjax.sampling import latents

SIDE = 32
RNG = np.random.default_rng(0)
FREQS = jnp.asarray(RNG.uniform(-4, 4, (6, 2)), jnp.float32)


def waves(state, rows, share=1.0):
  """Pictures of six waves, seen where the transform says; of `share` 0 it changes nothing."""
  at = (jnp.arange(SIDE) + 0.5) / SIDE - 0.5
  here = jnp.stack([*jnp.meshgrid(at, at), jnp.ones((SIDE, SIDE))], -1)
  place = share * rows['transform'] + (1 - share) * jnp.eye(3)
  read = jnp.einsum('bij,hwj->bhwi', place, here)[..., :2]
  phase = rows['seed'][:, None, None, None] * 0.1 + jnp.arange(6) / 6
  return jnp.sin(2 * jnp.pi * (read @ FREQS.T + phase)) @ jnp.ones((6, 2)) / 6


def side(sample, **changes):
  rows = lambda seeds: {
    'transform': jnp.broadcast_to(jnp.eye(3), (len(seeds), 3, 3)),
    'seed': seeds,
  }
  return Side(4, {}, lambda i: i, None, sample=sample, inputs=rows)._replace(**changes)


def compute(kind, sample):
  work = dict(mesh=sharding.make_mesh(jax.devices()[:1]), batch_size=4)
  values, about = pixels.compute(kind, side(sample), None, None, **work)
  assert about == {'largest_shift': 1 / 8}
  return values[kind]


@pytest.mark.parametrize('kind, least', [('eq_t', 90), ('eq_t_frac', 55), ('eq_r', 55)])
def test_waves_that_follow_and_waves_that_do_not(kind, least):
  assert compute(kind, waves) > least
  assert compute(kind, lambda state, rows: waves(state, rows, 0.0)) < 20


def test_a_shift_is_of_whole_pixels_and_masks_what_came_in():
  draws = jnp.array([[0.5, -0.26], [0.0, 0.0]])
  still = jnp.asarray(RNG.normal(size=(2, SIDE, SIDE, 1)), jnp.float32)
  moved = jnp.roll(still[:1], (-1, 2), (1, 2)).at[:, :, :2].set(9.0).at[:, -1].set(9.0)
  moved = jnp.concatenate([moved, still[1:] + 0.5])
  compare = jax.jit(lambda *args: equivariance.differences('eq_t', *args))
  squares, counts = compare(still, moved, draws)
  np.testing.assert_allclose(counts, [31 * 30, 32 * 32])
  np.testing.assert_allclose(squares, [0, 0.25 * 32 * 32], rtol=1e-5)
  # All differences count together: 10 log10(4 / (256 / (930 + 1024))).
  value = equivariance.decibels(squares, counts)
  assert value == pytest.approx(10 * np.log10(4 * (930 + 1024) / 256), rel=1e-5)
  place = jax.jit(lambda draws: equivariance.transforms('eq_t', draws, SIDE))(draws)
  np.testing.assert_allclose(place[0, :2, 2], [-2 / 32, 1 / 32], atol=1e-7)
  with pytest.raises(UserError, match='no pixel is known'):
    equivariance.decibels([0.0], [0.0])


def test_what_it_refuses():
  (metric,) = parse_metrics('eq_r')
  with pytest.raises(UserError, match='eq_r moves the input .* networks.name=stylegan3'):
    measure.check([metric], side(waves, inputs=lambda seeds: latents.per_seed(seeds, 2)), None)
  with pytest.raises(UserError, match='eq_r needs a generator'):
    measure.check([metric], side(None), None)
  (metric,) = parse_metrics('ppl_w')
  with pytest.raises(UserError, match='ppl_w walks between styles w'):
    measure.check([metric], side(waves), None)
  (metric,) = parse_metrics('ppl')
  with pytest.raises(UserError, match='takes more than that: take ppl_w'):
    measure.check([metric], side(waves, styles=len), None)
