"""Losses against closed forms and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.losses import adversarial

RNG = np.random.default_rng(0)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def test_non_saturating_keeps_its_gradient_where_D_is_sure():
  # Equation 1's own G loss, log(1 - D), has gradient sigmoid(logit) there: 4.5e-5 at -10.
  np.testing.assert_allclose(
    jax.grad(adversarial.non_saturating_G)(jnp.array([-10.0])), [-0.9999546], rtol=1e-6
  )


# name -> (D's term of a real logit, of a fake one, G's loss), by NumPy.
FORMS = {
  'non_saturating': (lambda r: np.log1p(np.exp(-r)), lambda f: np.log1p(np.exp(f)), lambda f: np.log1p(np.exp(-f))),
  'minimax': (lambda r: -np.log(sigmoid(r)), lambda f: -np.log(1 - sigmoid(f)), lambda f: np.log(1 - sigmoid(f))),
  'least_squares': (lambda r: (r - 1) ** 2 / 2, lambda f: f**2 / 2, lambda f: (f - 1) ** 2 / 2),
  'hinge': (lambda r: np.maximum(0, 1 - r), lambda f: np.maximum(0, 1 + f), lambda f: -f),
  'wasserstein': (lambda r: -r, lambda f: f, lambda f: -f),
}  # fmt: skip
# Their derivatives at logit 2 for real, fake, G; and at -2.
SLOPES = {
  'non_saturating': [(-sigmoid(-2), sigmoid(2), -sigmoid(-2)), (-sigmoid(2), sigmoid(-2), -sigmoid(2))],
  'minimax': [(-sigmoid(-2), sigmoid(2), -sigmoid(2)), (-sigmoid(2), sigmoid(-2), -sigmoid(-2))],
  'least_squares': [(1, 2, 1), (-3, -2, -3)],
  'hinge': [(0, 1, -1), (-1, 0, -1)],
  'wasserstein': [(-1, 1, -1), (-1, 1, -1)],
}  # fmt: skip


def pair(name):
  return getattr(adversarial, f'{name}_D'), getattr(adversarial, f'{name}_G')


def test_the_table_holds_every_loss():
  names = {n[:-2] for n in vars(adversarial) if n.endswith(('_D', '_G'))}
  assert names == {*FORMS, 'relativistic', 'relativistic_average'} and {*FORMS} == {*SLOPES}


@pytest.mark.parametrize('shape', [(7,), (3, 4, 4)])
@pytest.mark.parametrize('name', FORMS)
def test_values(name, shape):
  real, fake = RNG.normal(size=(2, *shape)) * 3
  loss_D, loss_G = pair(name)
  on_real, on_fake, on_G = FORMS[name]
  terms = loss_D(jnp.asarray(real), jnp.asarray(fake))
  assert terms.keys() == {'loss_real', 'loss_fake'}
  np.testing.assert_allclose(terms['loss_real'], on_real(real).mean(), rtol=1e-5)
  np.testing.assert_allclose(terms['loss_fake'], on_fake(fake).mean(), rtol=1e-5)
  np.testing.assert_allclose(loss_G(jnp.asarray(fake)), on_G(fake).mean(), rtol=1e-5)
  assert loss_G(jnp.asarray(fake), jnp.asarray(real)) == loss_G(jnp.asarray(fake))


@pytest.mark.parametrize('name', FORMS)
def test_slopes(name):
  loss_D, loss_G = pair(name)
  total = lambda real, fake: sum(loss_D(real, fake).values())
  for logit, expected in zip((2.0, -2.0), SLOPES[name]):
    x = jnp.array(logit)
    found = (*jax.grad(total, (0, 1))(x, x), jax.grad(loss_G)(x))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize('name', FORMS)
def test_D_parts_the_logits_and_G_raises_the_fakes(name):
  """Where neither side has won: D's descent raises D(real) - D(fake), G's raises D(fake)."""
  loss_D, loss_G = pair(name)
  real, fake = jnp.linspace(0.05, 0.9, 9), jnp.linspace(0.9, 0.05, 9)
  slopes = jax.grad(lambda r, f: sum(loss_D(r, f).values()), (0, 1))(real, fake)
  assert (slopes[0] < 0).all() and (slopes[1] > 0).all()
  assert (jax.grad(loss_G)(fake) < 0).all()


@pytest.mark.parametrize('shape', [(7,), (3, 4, 4)])
def test_relativistic_values_and_slopes(shape):
  real, fake = (jnp.asarray(x) for x in RNG.normal(size=(2, *shape)) * 3)
  gap, n = np.asarray(real - fake), real.size
  terms = adversarial.relativistic_D(real, fake)
  assert terms.keys() == {'loss_relativistic'}
  np.testing.assert_allclose(terms['loss_relativistic'], np.log1p(np.exp(-gap)).mean(), rtol=1e-5)
  np.testing.assert_allclose(
    adversarial.relativistic_G(fake, real), np.log1p(np.exp(gap)).mean(), rtol=1e-5
  )
  total = lambda r, f: sum(adversarial.relativistic_D(r, f).values())
  for found, expected in zip(
    (*jax.grad(total, (0, 1))(real, fake), jax.grad(adversarial.relativistic_G)(fake, real)),
    (-sigmoid(-gap), sigmoid(-gap), -sigmoid(gap)),
  ):
    np.testing.assert_allclose(found * n, expected, rtol=1e-5)


def test_relativistic_sees_differences_of_pairs_alone():
  real, fake = jnp.array([0.0, 1.0, 3.0, -2.0]), jnp.array([2.0, 0.0, 1.0, -1.0])
  both = lambda r, f: jnp.stack(
    [*adversarial.relativistic_D(r, f).values(), adversarial.relativistic_G(f, r)]
  )
  value = both(real, fake)
  np.testing.assert_allclose(both(real + 5, fake + 5), value, rtol=1e-6)
  np.testing.assert_allclose(both(real[::-1], fake[::-1]), value, rtol=1e-6)
  assert (abs(both(real, fake[::-1]) - value) > 0.1).all()
  np.testing.assert_allclose(both(real, real), np.log(2), rtol=1e-6)


def test_relativistic_averages():
  """Values and slopes of means: D's has none through them, G's has one through that of the fakes."""
  real, fake = (jnp.asarray(x) for x in RNG.normal(size=(2, 5)) * 3)
  a, b, n = real - fake.mean(), fake - real.mean(), real.size
  log = lambda x: np.log1p(np.exp(np.asarray(x))).mean() / 2
  terms = adversarial.relativistic_average_D(real, fake)
  np.testing.assert_allclose(terms['loss_real'], log(-a), rtol=1e-5)
  np.testing.assert_allclose(terms['loss_fake'], log(b), rtol=1e-5)
  loss_G = adversarial.relativistic_average_G
  np.testing.assert_allclose(loss_G(fake, real), log(a) + log(-b), rtol=1e-5)
  total = lambda r, f: sum(adversarial.relativistic_average_D(r, f).values())
  of_real, of_fake = jax.grad(total, (0, 1))(real, fake)
  np.testing.assert_allclose(2 * n * of_real, -sigmoid(-a), rtol=1e-5)
  np.testing.assert_allclose(2 * n * of_fake, sigmoid(b), rtol=1e-5)
  of_fake, of_real = jax.grad(loss_G, (0, 1))(fake, real)
  np.testing.assert_allclose(2 * n * of_fake, -sigmoid(-b) - sigmoid(a).mean(), rtol=1e-5)
  assert not of_real.any()


@pytest.mark.parametrize('name', [*FORMS, 'relativistic', 'relativistic_average'])
def test_shapes_half_precision_and_logits_of_any_size(name):
  loss_D, loss_G = pair(name)
  with pytest.raises(ValueError, match='equal shapes'):
    loss_D(jnp.zeros(4), jnp.zeros((4, 1)))
  if name.startswith('relativistic'):
    with pytest.raises(ValueError, match='equal shapes'):
      loss_G(jnp.zeros(4), jnp.zeros((4, 1)))
  logits = jnp.array([1e4, -1e4, 0.0], jnp.bfloat16)
  for value in (*loss_D(logits, -logits).values(), loss_G(logits, -logits)):
    assert value.dtype == jnp.float32 and np.isfinite(value)
