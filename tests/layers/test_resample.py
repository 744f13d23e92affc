"""Resampling without parameters."""

import jax
import numpy as np
import PIL.Image
import pytest

from ganjax import UserError
from ganjax.layers.resample import (
  downsample_bilinear,
  downsample_blurred,
  max_pool,
  mean_pool,
  pixel_shuffle,
  pixel_unshuffle,
  resize_bicubic,
  smooth,
  upsample,
  upsample_bilinear,
)

X = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)


def test_upsample_repeats_pixels():
  y = np.asarray(upsample(X))
  assert y.shape == (2, 8, 12, 3)
  for i in range(8):
    for j in range(12):
      np.testing.assert_array_equal(y[:, i, j], X[:, i // 2, j // 2])


@pytest.mark.parametrize('pool, reduce', [(mean_pool, np.mean), (max_pool, np.max)])
def test_pools_reduce_squares(pool, reduce):
  y = np.asarray(pool(X))
  assert y.shape == (2, 2, 3, 3)
  for i in range(2):
    for j in range(3):
      square = X[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
      np.testing.assert_allclose(y[:, i, j], reduce(square, (1, 2)), rtol=1e-5, atol=1e-7)
  with pytest.raises(UserError, match='3x6'):
    pool(X[:, :3])


def test_bilinear_upsampling_by_hand():
  x = np.array([4.0, 8.0, 0.0], np.float32)
  line = np.array([3, 5, 7, 6, 2, 0], np.float32)  # 3/4 and 1/4 of neighbours, zeros outside
  y = upsample_bilinear(x[None, :, None, None] * np.array([4.0, 8.0, 0.0])[:, None])
  np.testing.assert_array_equal(y[0, :, :, 0], np.outer(line, line))
  # With the border repeated: 4 and 0 stand outside.
  line = np.array([4, 5, 7, 6, 2, 0], np.float32)
  y = upsample_bilinear(x[None, :, None, None] * np.array([4.0, 8.0, 0.0])[:, None], 'edge')
  np.testing.assert_array_equal(y[0, :, :, 0], np.outer(line, line))


def test_bilinear_downsampling_by_hand():
  x = np.array([8.0, 16.0, 24.0, 0.0, 8.0, 8.0], np.float32)
  line = np.array([12, 12, 6], np.float32)  # (0 + 3*8 + 3*16 + 24) / 8, (16 + 72 + 0 + 8) / 8, ...
  y = downsample_bilinear(x[None, :, None, None] * x[:, None])
  np.testing.assert_array_equal(y[0, :, :, 0], np.outer(line, line))
  with pytest.raises(UserError, match='3x6'):
    downsample_bilinear(X[:, :3])


def test_bilinear_down_is_a_quarter_of_the_adjoint_of_up():
  """By their matrices, and so is what JAX takes for the transposes of both."""
  small, large = (1, 4, 6, 1), (1, 8, 12, 1)
  every = lambda shape: np.eye(np.prod(shape), dtype=np.float32).reshape(-1, *shape)
  matrix = lambda f, shape: np.asarray(jax.vmap(f)(every(shape))).reshape(np.prod(shape), -1)
  up, down = matrix(upsample_bilinear, small), matrix(downsample_bilinear, large)
  np.testing.assert_allclose(down, up.T / 4, atol=1e-6)
  pull = lambda f, shape: lambda y: jax.vjp(f, np.zeros(shape, np.float32))[1](y)[0]
  np.testing.assert_allclose(matrix(pull(upsample_bilinear, small), large), up.T, atol=1e-6)
  np.testing.assert_allclose(matrix(pull(downsample_bilinear, large), small), down.T, atol=1e-6)


@pytest.mark.parametrize('padding', [0, 1, 2, 3])
def test_smoothing_and_its_derivatives_are_the_sum(padding):
  """In both modes, and of many at once."""
  taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
  wide = np.pad(X, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
  h, w = wide.shape[1] - 3, wide.shape[2] - 3
  wanted = sum(taps[a, b] * wide[:, a : a + h, b : b + w] for a in range(4) for b in range(4))
  y, pull = jax.vjp(lambda x: smooth(x, padding), X)
  np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-6)
  ct = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
  back = np.zeros_like(wide)
  for a in range(4):
    for b in range(4):
      back[:, a : a + h, b : b + w] += taps[a, b] * ct
  back = back[:, padding : padding + 4, padding : padding + 6]
  np.testing.assert_allclose(pull(ct)[0], back, rtol=1e-4, atol=1e-6)
  along = jax.jvp(lambda x: smooth(x, padding), (X,), (2 * X,))[1]
  np.testing.assert_allclose(along, 2 * wanted, rtol=1e-4, atol=1e-6)
  many = np.stack([X, 3 * X], 3)
  found = jax.vmap(lambda x: smooth(x, padding), 3, 3)(many)
  np.testing.assert_allclose(found[:, :, :, 1], 3 * wanted, rtol=1e-4, atol=1e-6)


def test_blurred_downsampling_by_hand():
  """[1, 2, 1] / 4 at every second pixel; outside, the pixel beside the border's is seen again."""
  for x, line in (
    (np.array([4.0, 8.0, 0.0, 16.0]), [6, 6]),  # (8 + 2*4 + 8) / 4, (8 + 0 + 16) / 4
    (np.array([4.0, 8.0, 0.0, 16.0, 4.0]), [6, 6, 10]),  # (16 + 2*4 + 16) / 4
  ):
    y = downsample_blurred((x[None, :, None, None] * x[:, None]).astype(np.float32))
    np.testing.assert_array_equal(y[0, :, :, 0], np.outer(line, line))


def bicubic_line(x, factor):
  """MATLAB's imresize of one line, as its documentation says it: a tap after the other, mirrored outside."""

  def cubic(t):
    t = abs(t)
    if t <= 1:
      return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t <= 2 else 0.0

  scale, line = min(factor, 1), []
  mirrored = [*x, *x[::-1]]
  for i in range(int(np.ceil(len(x) * factor))):
    centre = (i + 1) / factor + 0.5 * (1 - 1 / factor) - 1
    taps = [
      (scale * cubic(scale * (centre - k)), mirrored[k % (2 * len(x))])
      for k in range(int(centre) - 20, int(centre) + 20)
    ]
    line.append(sum(w * v for w, v in taps) / sum(w for w, _ in taps))
  return np.array(line)


@pytest.mark.parametrize('factor', [1 / 2, 1 / 3, 1 / 4, 0.7, 2, 4])
def test_bicubic_is_matlabs(factor):
  rng = np.random.default_rng(0)
  rows, columns = rng.uniform(size=13), rng.uniform(size=9)
  found = resize_bicubic(np.outer(rows, columns)[None, :, :, None].astype(np.float32), factor)
  wanted = np.outer(bicubic_line(rows, factor), bicubic_line(columns, factor))
  np.testing.assert_allclose(found[0, :, :, 0], wanted, atol=1e-6)
  np.testing.assert_allclose(
    resize_bicubic(np.ones((1, 7, 5, 1), np.float32), factor), 1, atol=1e-6
  )


def test_the_taps_of_halving_are_those_that_are_known():
  """[-3, -9, 29, 111, 111, 29, -9, -3] / 256; an even pixel meets every second of them."""
  pulse = np.zeros((1, 24, 8, 1), np.float32)
  pulse[0, 12] = 256  # column by column
  column = np.asarray(resize_bicubic(pulse, 1 / 2))[0, :, 1, 0]
  np.testing.assert_allclose(column[4:9], [-3, 29, 111, -9, 0], atol=1e-4)


def test_bicubic_within_a_picture_is_pillows():
  """At the borders Pillow leaves out what lies outside."""
  x = np.random.default_rng(1).uniform(size=(64, 48)).astype(np.float32)
  theirs = PIL.Image.fromarray(x).resize((12, 16), PIL.Image.Resampling.BICUBIC)
  ours = np.asarray(resize_bicubic(x[None, :, :, None], 1 / 4))[0, :, :, 0]
  np.testing.assert_allclose(ours[2:-2, 2:-2], np.asarray(theirs)[2:-2, 2:-2], atol=1e-6)
  assert np.abs(ours - theirs).max() > 1e-3


def test_shuffled_pixels():
  x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype(np.float32)
  y = np.asarray(pixel_shuffle(x, 2))
  assert y.shape == (2, 6, 10, 2)
  for c in range(2):
    for i in range(6):
      for j in range(10):
        np.testing.assert_array_equal(
          y[:, i, j, c], x[:, i // 2, j // 2, 4 * c + 2 * (i % 2) + j % 2]
        )
  np.testing.assert_array_equal(pixel_unshuffle(y, 2), x)
