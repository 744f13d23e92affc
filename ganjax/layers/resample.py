"""Resampling by 2 without parameters, of [B, H, W, C]."""

import jax.numpy as jnp

from ganjax import UserError


def upsample(x):
  """Nearest neighbour: each pixel becomes 2 x 2. [B, H, W, C] -> [B, 2H, 2W, C]."""
  b, h, w, c = x.shape
  return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def mean_pool(x):
  """Means of 2 x 2 pixels. [B, H, W, C] -> [B, H/2, W/2, C].

  Raises:
    UserError: an odd side.
  """
  return _squares(x).mean((2, 4))


def max_pool(x):
  """Maxima of 2 x 2 pixels. [B, H, W, C] -> [B, H/2, W/2, C]. Equal maxima share the gradient.

  Raises:
    UserError: an odd side.
  """
  return _squares(x).max((2, 4))


def _squares(x):
  b, h, w, c = x.shape
  if h % 2 or w % 2:
    raise UserError(f'a map of {h}x{w} pixels cannot be halved: both sides must be even')
  return x.reshape(b, h // 2, 2, w // 2, 2, c)
