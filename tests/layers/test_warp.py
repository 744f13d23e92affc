"""Pictures warped by a flow: shifts by whole and half pixels, the border, the derivative along a slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.warp import warp

X = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)


def flow(right, down):
  return jnp.broadcast_to(jnp.array([right, down], jnp.float32), (2, 5, 7, 2))


@pytest.mark.parametrize('right, down', [(0, 0), (1, 0), (0, -2), (-3, 2), (9, -9)])
def test_a_shift_by_whole_pixels_reads_them_and_the_border_beyond(right, down):
  rows, columns = np.clip(np.arange(5) + down, 0, 4), np.clip(np.arange(7) + right, 0, 6)
  np.testing.assert_array_equal(warp(X, flow(right, down)), X[:, rows][:, :, columns])


def test_between_pixels_is_their_mean():
  found = warp(X, flow(0.25, 0.5))
  rows = (X[:, :-1] + X[:, 1:]) / 2
  wanted = 0.75 * rows[:, :, :-1] + 0.25 * rows[:, :, 1:]
  np.testing.assert_allclose(found[:, :-1, :-1], wanted, atol=1e-6)


def test_each_pixel_has_a_flow_of_its_own():
  """One that turns the picture round, of the second example alone."""
  y, x = np.mgrid[:5, :7].astype(np.float32)
  turned = np.stack([6 - 2 * x, 4 - 2 * y], -1)
  found = warp(X, jnp.stack([jnp.zeros_like(turned), turned]))
  np.testing.assert_array_equal(found[0], X[0])
  np.testing.assert_allclose(found[1], X[1, ::-1, ::-1], atol=1e-6)


def test_the_derivative_in_the_flow_is_the_slope():
  y, x = np.mgrid[:5, :7].astype(np.float32)
  slope = jnp.asarray(np.broadcast_to((3 * x - 2 * y)[None, ..., None], (2, 5, 7, 1)))
  found = jax.jit(jax.grad(lambda flow: warp(slope, flow).sum()))(flow(0.5, 0.25))
  np.testing.assert_allclose(found[:, :, :-1, 0], 3, atol=1e-5)
  np.testing.assert_allclose(found[:, :-1, :, 1], -2, atol=1e-5)
  assert not found[:, :, -1, 0].any() and not found[:, -1, :, 1].any()  # beyond the border
