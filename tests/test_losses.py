"""Losses against closed forms and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import losses

RNG = np.random.default_rng(0)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize('shape', [(7,), (3, 4, 4)])
def test_non_saturating_is_binary_cross_entropy(shape):
  real, fake = RNG.normal(size=(2, *shape)) * 3
  terms = losses.non_saturating_D(jnp.asarray(real), jnp.asarray(fake))
  np.testing.assert_allclose(terms['loss_real'], -np.log(sigmoid(real)).mean(), rtol=1e-5)
  np.testing.assert_allclose(terms['loss_fake'], -np.log(1 - sigmoid(fake)).mean(), rtol=1e-5)
  np.testing.assert_allclose(
    losses.non_saturating_G(jnp.asarray(fake)), -np.log(sigmoid(fake)).mean(), rtol=1e-5
  )


def test_non_saturating_keeps_its_gradient_where_D_is_sure():
  # Equation 1's own G loss, log(1 - D), has gradient sigmoid(logit) there: 4.5e-5 at -10.
  np.testing.assert_allclose(
    jax.grad(losses.non_saturating_G)(jnp.array([-10.0])), [-0.9999546], rtol=1e-6
  )


def test_logits_of_any_size_stay_finite():
  big = jnp.array([1e4, -1e4])
  assert np.isfinite(sum(losses.non_saturating_D(big, big).values()))
  assert np.isfinite(losses.non_saturating_G(big))


def test_half_precision_logits_give_float32_losses():
  logits = jnp.array([0.1, 0.2], jnp.bfloat16)
  assert losses.non_saturating_G(logits).dtype == jnp.float32
  assert all(x.dtype == jnp.float32 for x in losses.non_saturating_D(logits, logits).values())


def test_shapes_must_agree():
  with pytest.raises(ValueError, match='equal shapes'):
    losses.non_saturating_D(jnp.zeros(4), jnp.zeros((4, 1)))
