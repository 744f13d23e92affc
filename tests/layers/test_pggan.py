"""Pixel norm, minibatch standard deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.layers.pggan import minibatch_stddev, pixel_norm

X = np.random.default_rng(0).normal(size=(8, 4, 6, 3)).astype(np.float32)


def stddev(x, groups):
  """By loops: a number a sample."""
  out = np.empty(len(x))
  for members in groups:
    numbers = []
    for i in range(x.shape[1]):
      for j in range(x.shape[2]):
        for c in range(x.shape[3]):
          values = [x[m, i, j, c] for m in members]
          numbers.append(np.sqrt(np.mean((values - np.mean(values)) ** 2) + 1e-8))
    out[list(members)] = np.mean(numbers)
  return out


def test_pixel_norm():
  y = pixel_norm(X)
  np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-5)
  np.testing.assert_allclose(y, X / np.sqrt((X**2).mean(-1, keepdims=True)), rtol=1e-5)
  np.testing.assert_array_equal(pixel_norm(jnp.zeros((2, 3))), 0)  # a blank pixel stays blank
  assert pixel_norm(jnp.asarray(X, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
  'group, groups',
  [
    (4, [(0, 2, 4, 6), (1, 3, 5, 7)]),
    (2, [(0, 4), (1, 5), (2, 6), (3, 7)]),
    (16, [range(8)]),
  ],
)
def test_minibatch_stddev_is_the_loop(group, groups):
  y = minibatch_stddev(X, group)
  np.testing.assert_array_equal(y[..., :3], X)
  wanted = np.broadcast_to(stddev(X, groups)[:, None, None], X.shape[:3])
  np.testing.assert_allclose(y[..., 3], wanted, rtol=1e-5)


def test_minibatch_stddev_has_finite_gradients_of_equal_samples():
  grads = jax.grad(lambda x: minibatch_stddev(x).sum())(jnp.ones((4, 2, 2, 1)))
  np.testing.assert_array_equal(grads, 1)  # of the samples themselves


def test_minibatch_stddev_does_not_depend_on_the_devices():
  one = jax.jit(minibatch_stddev)(X)
  mesh = sharding.make_mesh()
  assert mesh.size == 4
  rows = sharding.place_batch(X, mesh)
  assert len(rows.sharding.device_set) == 4
  np.testing.assert_allclose(jax.jit(minibatch_stddev)(rows), one, rtol=1e-6)


def test_minibatch_stddev_refuses_a_batch_that_groups_do_not_fill():
  with pytest.raises(UserError, match='4 divides, not 6'):
    minibatch_stddev(X[:6])
