"""Resampling by 2 without parameters, of [B, H, W, C]; up, mean and max also of [B, H, C] and [B, D, H, W, C]."""

import jax.numpy as jnp
from jax import lax

from ganjax import UserError


def upsample(x):
  """Nearest neighbour: each pixel becomes 2 x 2. [B, H, W, C] -> [B, 2H, 2W, C]."""
  b, *sides, c = x.shape
  pairs = [n for side in sides for n in (side, 2)]
  x = jnp.broadcast_to(jnp.expand_dims(x, _seconds(x)), (b, *pairs, c))
  return x.reshape(b, *(2 * side for side in sides), c)


def mean_pool(x):
  """Means of 2 x 2 pixels. [B, H, W, C] -> [B, H/2, W/2, C].

  Raises:
    UserError: an odd side.
  """
  # In the dtype of x: else what comes before writes its whole map in float32 to be summed.
  return _squares(x).mean(_seconds(x), dtype=x.dtype)


def max_pool(x):
  """Maxima of 2 x 2 pixels. [B, H, W, C] -> [B, H/2, W/2, C]. Equal maxima share the gradient.

  Raises:
    UserError: an odd side.
  """
  return _squares(x).max(_seconds(x))


def upsample_bilinear(x, outside='constant'):
  """Each new pixel is 3/4 of the nearest and 1/4 of the next, along both axes. [B, H, W, C] -> [B, 2H, 2W, C].

  The filter [1, 3, 3, 1] / 4, which is [1, 2, 1] over repeated pixels. Outside the image are zeros, or with 'edge' the
  pixels of its border, as in torch.nn.functional.interpolate.
  """
  for axis in (1, 2):
    before, after = _neighbours(x, axis, outside)
    pair = jnp.stack([(before + 3 * x) / 4, (3 * x + after) / 4], axis + 1)
    x = pair.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
  return x


def downsample_bilinear(x):
  """The filter [1, 3, 3, 1] / 8 along both axes, a quarter of `upsample_bilinear`'s adjoint. -> [B, H/2, W/2, C].

  Raises:
    UserError: an odd side.
  """
  x = _squares(x)
  for axis in (1, 2):
    left, right = jnp.moveaxis(x, axis + 1, 0)
    x = (_neighbours(right, axis)[0] + 3 * left + 3 * right + _neighbours(left, axis)[1]) / 8
  return x


def downsample_blurred(x):
  """The filter [1, 2, 1] / 4 along both axes at every second pixel, mirrored outside. -> [B, ceil(H/2), ceil(W/2), C].

  Zhang 2019, arXiv:1904.11486.
  """
  for axis in (1, 2):
    before, after = _neighbours(x, axis, 'reflect')
    every = lambda a, axis=axis: lax.slice_in_dim(a, 0, None, 2, axis)
    x = (every(before) + 2 * every(x) + every(after)) / 4
  return x


def _neighbours(x, axis, outside='constant'):
  """The pixels before and after each along an axis; `outside` is a mode of jnp.pad, by default zeros."""
  pad = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
  x = jnp.pad(x, pad, outside)
  return lax.slice_in_dim(x, 0, -2, axis=axis), lax.slice_in_dim(x, 2, None, axis=axis)


def _squares(x):
  """[B, H, W, C] -> [B, H / 2, 2, W / 2, 2, C]."""
  b, *sides, c = x.shape
  if any(side % 2 for side in sides):
    text = 'x'.join(map(str, sides))
    raise UserError(f'a map of {text} pixels cannot be halved: all sides must be even')
  return x.reshape(b, *(n for side in sides for n in (side // 2, 2)), c)


def _seconds(x):
  """The axes of 2 in `_squares(x)`."""
  return tuple(range(2, 2 * x.ndim - 3, 2))
