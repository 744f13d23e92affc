"""Gradient penalties against closed forms, finite differences, and as part of D's loss in `methods.gan`."""

import runpy
from types import SimpleNamespace

import device_run
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, experiment
from ganjax import config as configs
from ganjax.devices import sharding
from ganjax.layers.conv import Conv
from ganjax.losses import penalties
from ganjax.losses.terms import Game
from ganjax.losses.terms import penalties as term
from ganjax.method import name_nets, named, spans
from ganjax.methods import gan
from ganjax.optim import optimizers as optim
from ganjax.update import active, init, make_update

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
REAL, FAKE = (jnp.asarray(x, jnp.float32) for x in RNG.normal(size=(2, 6, 4, 4, 3)))
W = jnp.asarray(RNG.normal(size=(4, 4, 3)), jnp.float32)
NAMES = ('gradient_penalty', 'dragan', 'r1', 'r2')
OFF_ONE = ('gradient_penalty', 'dragan')


def linear(x):
  return jnp.sum(x * W, (1, 2, 3)) + 5


def quadratic(x):
  """Its gradient at x is x."""
  return jnp.sum(x**2, (1, 2, 3)) / 2


def norms(x):
  return np.linalg.norm(np.asarray(x).reshape(len(x), -1), axis=1)


@pytest.mark.parametrize('name', NAMES)
def test_a_linear_D_has_one_gradient(name):
  norm = np.linalg.norm(W)
  expected = (norm - 1) ** 2 if name in OFF_ONE else norm**2 / 2
  np.testing.assert_allclose(getattr(penalties, name)(linear, REAL, FAKE, KEY), expected, rtol=1e-5)


def test_a_quadratic_D_shows_where_the_gradient_is_taken():
  np.testing.assert_allclose(
    penalties.r1(quadratic, REAL, FAKE, KEY), np.mean(norms(REAL) ** 2) / 2, rtol=1e-5
  )
  np.testing.assert_allclose(
    penalties.r2(quadratic, REAL, FAKE, KEY), np.mean(norms(FAKE) ** 2) / 2, rtol=1e-5
  )
  # The gradient at x is x: a D that notes it tells the points of the other two.
  seen = []

  def D(x):
    jax.debug.callback(lambda x: seen.append(np.asarray(x)), x)
    return quadratic(x)

  value = penalties.gradient_penalty(D, REAL, FAKE, KEY)
  jax.effects_barrier()
  (points,) = seen
  np.testing.assert_allclose(value, np.mean((norms(points) - 1) ** 2), rtol=1e-5)
  shares = np.asarray((points - FAKE) / (REAL - FAKE))
  np.testing.assert_allclose(shares, shares[:, :1, :1, :1] * np.ones((4, 4, 3)), atol=1e-3)
  shares = shares[:, 0, 0, 0]
  assert (shares > 0).all() and (shares < 1).all() and len(set(shares.round(3))) == 6

  seen.clear()
  value = penalties.dragan(D, REAL, FAKE, KEY)
  jax.effects_barrier()
  (points,) = seen
  np.testing.assert_allclose(value, np.mean((norms(points) - 1) ** 2), rtol=1e-5)
  noise = (points - np.asarray(REAL)) / np.std(REAL)
  assert noise.min() > -1e-5 and noise.max() < 0.5 + 1e-5
  # 288 draws of U(0, 1/2): mean 1/4, deviation 0.144.
  np.testing.assert_allclose([noise.mean(), noise.std()], [0.25, 0.144], atol=0.03)


@pytest.mark.parametrize('name, exact', [('r1_difference', 'r1'), ('r2_difference', 'r2')])
def test_differences_are_the_penalty_of_gradients_over_many_draws(name, exact):
  """4,096 draws: 2.2 % of the mean is their deviation. A bend of D over the step counts little."""
  real, fake = (jnp.tile(x[i : i + 1], (4096, 1, 1, 1)) for i, x in enumerate((REAL, FAKE)))
  D = lambda x: jnp.sin(jnp.sum(x * W, (1, 2, 3)) / 10) * 5
  wanted = float(getattr(penalties, exact)(D, real, fake, KEY))
  found = [getattr(penalties, name)(D, real, fake, jax.random.key(i)) for i in range(2)]
  np.testing.assert_allclose(found, wanted, rtol=0.08)
  assert found[0] != found[1]
  # A map of logits counts as its sum, and each image has noise of its own.
  maps = lambda x: D(x)[:, None, None] * jnp.array([[1.0, -2.0, 4.0]])
  np.testing.assert_allclose(
    getattr(penalties, name)(maps, real, fake, KEY),
    9 * getattr(penalties, name)(D, real, fake, KEY),
    rtol=1e-3,
  )


@pytest.mark.parametrize('name', NAMES)
def test_each_image_counts_by_itself(name):
  """The penalty of a batch is the mean of the penalties of its images, in any order."""
  penalty = getattr(penalties, name)
  if (
    name in OFF_ONE
  ):  # their draws fall to places in the batch: equal images make the place all there is
    real, fake = (jnp.broadcast_to(x[:1], x.shape) for x in (REAL, FAKE))
    D = lambda x: jnp.sum(x * W, (1, 2, 3)) * jnp.arange(1, 7)  # gradient i W at image i
    expected = np.mean((np.arange(1, 7) * np.linalg.norm(W) - 1) ** 2)
    np.testing.assert_allclose(penalty(D, real, fake, KEY), expected, rtol=1e-5)
  else:
    alone = [penalty(quadratic, REAL[i : i + 1], FAKE[i : i + 1], KEY) for i in range(6)]
    np.testing.assert_allclose(penalty(quadratic, REAL, FAKE, KEY), np.mean(alone), rtol=1e-5)


def test_each_penalty_draws_by_a_key_of_its_own():
  """What one draws does not depend on which others there are."""
  real, fake = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 3)).astype(np.float32)
  logits = lambda x: jnp.sum(jnp.sin(3 * x), (1, 2, 3))
  game = dict(state=SimpleNamespace(step=0), images=real, fakes=fake, key=jax.random.key(0))
  game |= {'critic': lambda x, key: logits(x)}
  game = Game(**{**dict.fromkeys(Game._fields), **game})
  terms = term.build({'gradient_penalty': 2.0, 'cr': 3.0}, {}).D(game)
  for name, weight in (('gradient_penalty', 2.0), ('cr', 3.0)):
    key = named(game.key, name)
    alone = term.build({name: weight}, {}).D(game)[f'loss_{name}']
    assert (
      terms[f'loss_{name}'] == alone == weight * getattr(penalties, name)(logits, real, fake, key)
    )


def test_draws_follow_the_key():
  for name in OFF_ONE:
    values = [getattr(penalties, name)(quadratic, REAL, FAKE, jax.random.key(i)) for i in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize('name', NAMES)
def test_a_flat_D_is_no_singularity(name):
  """|gradient| has no derivative at 0, where a D begins whose last layer is 0: finite, and 0."""
  value, slope = jax.value_and_grad(
    lambda s: getattr(penalties, name)(lambda x: s * linear(x), REAL, FAKE, KEY)
  )(0.0)
  assert (value, slope) == (float(name in OFF_ONE), 0)


@pytest.mark.parametrize('name', NAMES)
def test_logit_maps_and_half_precision(name):
  penalty = getattr(penalties, name)
  maps = lambda x: jnp.stack([linear(x) / 4] * 4, 1).reshape(-1, 2, 2)
  np.testing.assert_allclose(
    penalty(maps, REAL, FAKE, KEY), penalty(linear, REAL, FAKE, KEY), rtol=1e-5
  )
  half = penalty(
    lambda x: linear(x).astype(jnp.bfloat16),
    REAL.astype(jnp.bfloat16),
    FAKE.astype(jnp.bfloat16),
    KEY,
  )
  assert half.dtype == jnp.float32


class Critic(nn.Module):
  """Two convolutions and a line, smooth, so that finite differences have no kinks to cross."""

  @nn.compact
  def __call__(self, x, label=None, *, train):
    x = nn.softplus(Conv(3, 3, stride=2, padding=1)(x))
    x = nn.softplus(Conv(2, 2, padding=1)(x))
    return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


@pytest.mark.parametrize('name', NAMES)
def test_the_gradient_of_a_penalty_against_finite_differences(name):
  with jax.enable_x64(True):
    real, fake = (jnp.asarray(x, jnp.float64) for x in (REAL[:2], FAKE[:2]))
    params = Critic().init(KEY, real, train=False)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64) * 2, params)
    D = lambda p: lambda x: Critic().apply(p, x, train=True)
    value = jax.jit(lambda p: getattr(penalties, name)(D(p), real, fake, KEY))
    slopes = jax.jit(jax.grad(value))(params)
    assert value(params) > 1e-3
    leaves, tree = jax.tree.flatten(params)
    for i, slope in enumerate(jax.tree.leaves(slopes)):
      step = RNG.normal(size=slope.shape)
      moved = [[*leaves[:i], leaves[i] + h * step, *leaves[i + 1 :]] for h in (1e-5, -1e-5)]
      up, down = (value(tree.unflatten(new)) for new in moved)
      np.testing.assert_allclose(np.sum(slope * step), (up - down) / 2e-5, rtol=1e-5, atol=1e-8)


# In the method.


class Scale(nn.Module):
  """An image [2, 2, 1] of z's first number times `w`."""

  @nn.compact
  def __call__(self, z, label=None, *, train):
    w = self.param('w', nn.initializers.ones, (2, 2, 1))
    return z[:, :1, None, None] * w


class Plane(nn.Module):
  @nn.compact
  def __call__(self, x, label=None, *, train):
    w = self.param('w', nn.initializers.constant(0.7), (2, 2, 1))
    return jnp.sum(x * w, (1, 2, 3))


def method(**arguments):
  return gan.build(name_nets({'G': Scale(), 'D': Plane()}), z_dim=2, **arguments)


def step(made, phases=None, number=0):
  optimizers = optim.build(dict.fromkeys('DG', dict(lr=0.1, b1=0.0, b2=0.9)), made.phases, 8)
  batch = {'image': jax.random.normal(KEY, (8, 2, 2, 1))}
  # The state's buffers are donated, the key among them.
  state = init(made, optimizers, jax.random.key(1), batch).replace(step=jnp.int32(number))
  update = make_update(made, spans(made, 8, 8)[0], optimizers)
  return update(
    state, (batch,) * made.n_critic, {}, phases=phases or active(made.stages[0], number)
  )


def test_weights_multiply_and_terms_add_to_the_loss():
  weights = {'gradient_penalty': 10.0, 'dragan': 3.0, 'r1': 2.0, 'r2': 0.0}
  made = method(loss='wasserstein', penalties=weights)
  _, metrics = step(made)
  # |w| = 1.4 everywhere.
  expected = {'gradient_penalty': 1.6, 'dragan': 0.48, 'r1': 1.96, 'r2': 0}
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[f'loss_{name}'], value, rtol=1e-4)
  batch = {'image': REAL[:, :2, :2, :1]}
  state = init(
    made,
    {'D': optim.adam(lr=1, b1=0, b2=0, steps=1), 'G': optim.adam(lr=1, b1=0, b2=0, steps=1)},
    KEY,
    batch,
  )
  total, aux = made.phases[0].loss(state, batch, KEY)
  np.testing.assert_allclose(
    total, sum(v for k, v in aux.metrics.items() if k.startswith('loss_')), rtol=1e-6
  )


def test_no_penalty_is_the_loss_alone():
  _, metrics = step(method())
  assert {k for k in metrics if k.startswith('loss_')} == {'loss_real', 'loss_fake', 'loss_G'}


def test_a_lazy_penalty_is_a_phase_k_times_as_strong():
  made = method(penalties={'r1': 2.0}, penalties_every=4)
  assert [(p.name, p.every) for p in made.phases] == [('D', 1), ('D_penalty', 4), ('G', 1)]
  state, metrics = step(made, ('D_penalty',))
  np.testing.assert_allclose(metrics['loss_r1'], 1.96, rtol=1e-5)
  # The gradient of gamma / 2 |w|^2 is gamma w, of norm 2.8, four times.
  np.testing.assert_allclose(metrics['grad_norm_D_D_penalty'], 4 * 2.8, rtol=1e-5)
  _, metrics = step(made, number=1)
  assert 'loss_r1' not in metrics


@pytest.mark.parametrize(
  'arguments, message',
  [
    (
      dict(penalties={'gp': 10.0}),
      r'penalties.gp is not known; .* dragan, gradient_penalty, r1, r1_difference, r2',
    ),
    (dict(penalties={'r1': -1.0}), r'penalties.r1=-1.0'),
    (dict(penalties={'r1': float('nan')}), r'penalties.r1=nan'),
    (dict(penalties={'r1': 1.0}, penalties_every=0), r'penalties_every=0'),
    (dict(penalties_every=16), r'penalties_every=16'),
  ],
)
def test_what_the_method_refuses(arguments, message):
  with pytest.raises(UserError, match=message):
    method(**arguments)


@pytest.mark.slow
def test_one_and_four_devices_draw_and_train_alike():
  """float64, so that nothing but round-off may differ: draws, deviation and means are of the whole batch."""
  config = runpy.run_path(str(device_run.CONFIG))['get_config']()
  config.update(steps=4, batch_size=8)
  config.networks = dict(name='mlp', width=10, dtype='float64', param_dtype='float64')
  config.method.update(penalties=dict.fromkeys(NAMES, 10.0), n_critic=2)
  config.optim.D = configs.rmsprop(lr=1e-3, clip=0.1)
  with jax.enable_x64(True):
    built = experiment.build(config)
    runs = [
      device_run.train(built, device_run.Pictures(), sharding.make_mesh(jax.devices()[:n]), 4)
      for n in (1, 4)
    ]
  assert {f'loss_{name}' for name in NAMES} <= runs[0][1][0].keys()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), *runs)
