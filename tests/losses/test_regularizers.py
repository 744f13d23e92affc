"""Regularizers of G against NumPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.losses import regularizers

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def test_orthogonal_is_the_sum_over_pairs_of_columns():
  kernel, dense = RNG.normal(size=(3, 3, 4, 5)), RNG.normal(size=(6, 2))
  params = {
    'conv': {'kernel': kernel, 'bias': RNG.normal(size=5)},
    'dense': {'kernel': dense},
    'classes': {'embedding': RNG.normal(size=(4, 3))},
  }
  wanted = 0
  for w in kernel.reshape(-1, 5), dense:
    n = w.shape[1]
    wanted += sum((w[:, i] @ w[:, j]) ** 2 for i in range(n) for j in range(n) if i != j)
  np.testing.assert_allclose(regularizers.orthogonal(params), wanted, rtol=1e-12)
  q, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
  # Lengths do not count.
  np.testing.assert_allclose(regularizers.orthogonal({'d': {'kernel': q * 3}}), 0, atol=1e-20)


def test_path_length_of_a_linear_generator():
  """Images A w: the expected squared length is |A|_F^2 / (H W), whatever w; the mean moves by its share first."""
  A = RNG.normal(size=(4, 4, 1, 3))
  synthesize = lambda w: jnp.einsum('hwcd,bd->bhwc', A, w[:, 0])
  w = jnp.asarray(RNG.normal(size=(20_000, 1, 3)))
  value, mean = regularizers.path_length(synthesize, w, jax.random.key(0), jnp.float64(2.0), 0.9)
  lengths_squared = np.sum(A**2) / 16
  # mean = 2 + 0.1 (E length - 2), and value = E (length - mean)^2.
  length = (mean - 2) / 0.1 + 2
  np.testing.assert_allclose(value, lengths_squared - 2 * mean * length + mean**2, rtol=0.03)
  assert length**2 < lengths_squared
  # Two layers of styles: the mean of their squared lengths.
  both = lambda w: jnp.einsum('hwcd,bd->bhwc', A, w[:, 0] + w[:, 1])
  w2 = jnp.concatenate([w, w], 1)
  same = regularizers.path_length(both, w2, jax.random.key(0), jnp.float64(2.0), 0.9)
  np.testing.assert_allclose(same[0], value, rtol=1e-9)


def test_path_length_holds_lengths_at_their_mean():
  """With every length equal to the mean there is no penalty and no gradient."""
  synthesize = lambda scale, w: scale * w[:, :, None, None]  # one pixel: |J^T y| = scale |y|
  w = jnp.ones((8, 1, 1))
  y = np.asarray(jax.random.normal(jax.random.key(1), (8, 1, 1, 1)))
  loss = lambda scale: regularizers.path_length(
    lambda w: synthesize(scale, w), w, jax.random.key(1), jnp.float64(0.7), 1.0
  )
  value, mean = loss(1.3)
  np.testing.assert_allclose(value, np.mean((1.3 * np.abs(y) - 0.7) ** 2), rtol=1e-9)
  assert mean == 0.7
  slope = jax.grad(lambda s: loss(s)[0])(1.3)
  wanted = np.mean(2 * (1.3 * np.abs(y) - 0.7) * np.abs(y))
  np.testing.assert_allclose(slope, wanted, rtol=1e-9)


def test_path_length_has_the_gradient_of_its_moving_mean():
  """a = 0.7 + 0.1 (E length - 0.7) moves with the lengths, as in StyleGAN2's code; what is kept has no gradient."""
  w = jnp.ones((8, 1, 1))
  y = np.abs(np.asarray(jax.random.normal(jax.random.key(1), (8, 1, 1, 1)))).ravel()

  def loss(scale):
    synthesize = lambda w: scale * w[:, :, None, None]
    return regularizers.path_length(synthesize, w, jax.random.key(1), jnp.float64(0.7), 0.9)

  mean = 0.7 + 0.1 * (1.3 * y.mean() - 0.7)
  value, kept = loss(1.3)
  np.testing.assert_allclose(kept, mean, rtol=1e-9)
  np.testing.assert_allclose(value, np.mean((1.3 * y - mean) ** 2), rtol=1e-9)
  slope = jax.grad(lambda s: loss(s)[0])(1.3)
  wanted = np.mean(2 * (1.3 * y - mean) * (y - 0.1 * y.mean()))
  np.testing.assert_allclose(slope, wanted, rtol=1e-9)
  assert jax.grad(lambda s: loss(s)[1])(1.3) == 0
