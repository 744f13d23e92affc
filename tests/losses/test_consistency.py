"""Consistency penalties CR, bCR and zCR against closed forms, in a step of `methods.gan`, and over devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.devices import sharding
from ganjax.layers.spectral import SpectralNorm
from ganjax.losses import consistency, penalties
from ganjax.method import name_nets, spans
from ganjax.methods import gan
from ganjax.optim import optimizers as optim
from ganjax.update import active, init, make_update

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
REAL, FAKE = (jnp.asarray(x, jnp.float32) for x in RNG.normal(size=(2, 6, 16, 8, 3)))
W = jnp.asarray(RNG.normal(size=(16, 8, 3)), jnp.float32)


def linear(x):
  return jnp.sum(x * W, (1, 2, 3)) + 5


def seen_by(penalty, real, fake):
  """What D is shown, in order, and the penalty."""
  batches = []

  def D(x):
    jax.debug.callback(lambda x: batches.append(np.asarray(x)), x, ordered=True)
    return linear(x) if x.shape[1:] == W.shape else jnp.sum(x, (1, 2, 3))

  value = penalty(D, real, fake, KEY)
  jax.effects_barrier()
  return batches, value


def changes(image):
  """All mirrored and moved copies of an image [16, 8, 3], by where they come from."""
  copies = {}
  for mirrored in (False, True):
    padded = np.pad(image[:, ::-1] if mirrored else image, ((2, 2), (1, 1), (0, 0)), 'reflect')
    for dy in range(5):
      for dx in range(3):
        copies[padded[dy : dy + 16, dx : dx + 8].tobytes()] = mirrored, dy, dx
  return copies


def test_reals_are_compared_with_mirrored_and_moved_copies():
  real = jnp.repeat(REAL[:1], 600, 0)
  (plain, changed), value = seen_by(penalties.cr, real, FAKE)
  np.testing.assert_array_equal(plain, real)
  copies = changes(np.asarray(REAL[0]))
  found = np.array([copies[x.tobytes()] for x in changed])
  # Each of the 2 x 5 x 3 changes in equal shares.
  counts = np.unique(found, axis=0, return_counts=True)[1]
  assert len(counts) == 30 and counts.min() >= 6 and counts.max() <= 40
  np.testing.assert_allclose(value, np.mean((linear(plain) - linear(changed)) ** 2), rtol=1e-5)


def test_fakes_count_too_where_balanced():
  batches, value = seen_by(penalties.bcr, REAL, FAKE)
  assert len(batches) == 4
  for i, images in ((0, REAL), (2, FAKE)):
    np.testing.assert_array_equal(batches[i], images)
    for image, changed in zip(images, batches[i + 1]):
      assert changed.tobytes() in changes(np.asarray(image))
  differences = [linear(batches[i]) - linear(batches[i + 1]) for i in (0, 2)]
  np.testing.assert_allclose(value, sum(np.mean(d**2) for d in differences), rtol=1e-5)
  # Reals and fakes have draws of their own.
  batches, _ = seen_by(penalties.bcr, REAL, REAL)
  assert (batches[1] != batches[3]).any()


@pytest.mark.parametrize('side, most', [(32, 4), (28, 3), (12, 1), (7, 0)])
def test_moves_are_an_eighth_of_the_side_rounded_down(side, most):
  rows = jnp.broadcast_to(jnp.arange(float(side))[:, None, None], (200, side, side, 1))
  (_, changed), _ = seen_by(penalties.cr, rows, rows)
  middle = changed[:, side // 2, side // 2, 0] - side // 2
  assert (middle.min(), middle.max()) == (-most, most)


@pytest.mark.parametrize('name', ['cr', 'bcr'])
def test_a_D_that_cannot_tell_has_no_penalty(name):
  penalty = getattr(penalties, name)
  assert penalty(lambda x: jnp.zeros(len(x)), REAL, FAKE, KEY) == 0
  a, b, c = (penalty(linear, REAL, FAKE, jax.random.key(k)) for k in (0, 0, 1))
  assert a == b != c
  # A map of logits counts as the mean of its squares, and half precision is widened.
  maps = lambda x: linear(x)[:, None, None] * jnp.array([[1.0, 2], [3, 4]])
  np.testing.assert_allclose(penalty(maps, REAL, FAKE, KEY), 7.5 * a, rtol=1e-5)
  half = penalty(lambda x: linear(x).astype(jnp.bfloat16), REAL, FAKE, KEY)
  assert half.dtype == jnp.float32


def test_latent_consistency():
  logits, moved = RNG.normal(size=(2, 6))
  value = consistency.zcr_D(jnp.asarray(logits), jnp.asarray(moved))
  np.testing.assert_allclose(value, np.mean((logits - moved) ** 2), rtol=1e-6)
  np.testing.assert_allclose(
    consistency.zcr_G(REAL, FAKE), -np.mean((np.asarray(REAL) - np.asarray(FAKE)) ** 2), rtol=1e-6
  )
  slopes = jax.grad(consistency.zcr_G, (0, 1))(REAL, FAKE)
  np.testing.assert_allclose(slopes[0], -2 * (REAL - FAKE) / REAL.size, rtol=1e-5)
  np.testing.assert_allclose(slopes[1], -slopes[0])
  halves = REAL.astype(jnp.bfloat16), FAKE.astype(jnp.bfloat16)
  assert consistency.zcr_G(*halves).dtype == consistency.zcr_D(*halves).dtype == jnp.float32


@pytest.mark.parametrize('name', ['cr', 'bcr'])
def test_derivatives_against_finite_differences_on_one_and_four_devices(name):
  with jax.enable_x64(True):
    real, fake = RNG.normal(size=(2, 8, 16, 8, 1))
    weights = RNG.normal(size=(16, 8, 1)) / 8
    penalty = getattr(penalties, name)
    D = lambda w: lambda x: jnp.tanh(jnp.sum(x * w, (1, 2, 3)))
    function = jax.jit(jax.value_and_grad(lambda w, x, y: penalty(D(w), x, y, KEY)))
    found = []
    for count in (1, 4):
      mesh = sharding.make_mesh(jax.devices()[:count])
      with jax.set_mesh(mesh):
        batch = sharding.place_batch((real, fake), mesh)
        found.append(function(weights, *batch))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-10, atol=1e-12)
    step = RNG.normal(size=weights.shape)
    up, down = (function(weights + h * step, real, fake)[0] for h in (1e-5, -1e-5))
    np.testing.assert_allclose(np.sum(found[0][1] * step), (up - down) / 2e-5, rtol=1e-6)


class Scale(nn.Module):
  @nn.compact
  def __call__(self, z, label=None, *, train):
    return z[:, :1, None, None] * self.param('w', nn.initializers.ones, (16, 8, 3))


class Plane(nn.Module):
  @nn.compact
  def __call__(self, x, label=None, *, train):
    return jnp.sum(x * self.param('w', nn.initializers.normal(0.02), (16, 8, 3)), (1, 2, 3))


class Spectral(nn.Module):
  @nn.compact
  def __call__(self, x, label=None, *, train):
    return SpectralNorm(nn.Dense(1))(nn.tanh(SpectralNorm(nn.Dense(5))(x.reshape(len(x), -1))))[
      :, 0
    ]


def test_latent_consistency_is_of_one_D_whose_spectral_norm_moves():
  """At sigma 0 both fakes are the same, and so is what D says of them, however far its u is from having converged."""

  def term(sigma):
    zcr = {'sigma': sigma, 'D': 1.0, 'G': 1.0}
    nets = name_nets({'G': Scale(), 'D': Spectral()})
    made = gan.build(nets, z_dim=2, loss='hinge', zcr=zcr)
    optimizers = optim.build(dict.fromkeys('DG', dict(lr=0.1, b1=0.0, b2=0.9)), made.phases, 8)
    state = init(made, optimizers, KEY, {'image': REAL})
    (phase,) = (p for p in made.phases if p.name == 'D')
    return phase.loss(state, {'image': REAL}, KEY)[1].metrics['loss_zcr']

  assert term(0.0) == 0
  near, far = term(0.01), term(0.02)
  assert 0 < 3 * near < far < 5 * near  # squares of what sigma moves


def test_both_are_penalties_of_a_method():
  nets = name_nets({'G': Scale(), 'D': Plane()})
  made = gan.build(nets, z_dim=2, loss='hinge', penalties={'cr': 10.0, 'bcr': 5.0})
  optimizers = optim.build(dict.fromkeys('DG', dict(lr=0.1, b1=0.0, b2=0.9)), made.phases, 8)
  batch = {'image': REAL}
  state = init(made, optimizers, KEY, batch)
  update = make_update(made, spans(made, 8, 6)[0], optimizers)
  _, metrics = update(state, (batch,), {}, phases=active(made.stages[0], 0))
  assert metrics['loss_cr'] > 0 and metrics['loss_bcr'] > 0
