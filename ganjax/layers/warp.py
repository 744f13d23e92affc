"""Pictures warped by a flow, bilinearly: a spatial transformer (Jaderberg et al. 2015, arXiv:1506.02025, section 3.3).

A flow is [..., H, W, 2], in pixels to the right and down, and says of each pixel where it comes from.
"""

import jax
import jax.numpy as jnp


def warp(x: jax.Array, flow: jax.Array) -> jax.Array:
  """x [B, H, W, C], read at each pixel's place plus flow [B, H, W, 2] -> [B, H, W, C].

  Beyond the border x is as at the border. It is torch's grid_sample, bilinear, with padding_mode='border' and
  align_corners=True. Values are gathered, for the derivative in the flow too. The derivative in x scatters, which TPUs
  do one place after the other: stop x's gradient where it is not needed.
  """
  count, height, width, channels = x.shape
  flat = x.reshape(count, height * width, channels)
  right, down = jnp.moveaxis(flow, -1, 0)
  down = jnp.clip(down + jnp.arange(height)[:, None], 0, height - 1)
  right = jnp.clip(right + jnp.arange(width), 0, width - 1)

  def read(row, column):
    at = (row * width + column).reshape(count, -1, 1)
    return jnp.take_along_axis(flat, at, 1, mode='clip').reshape(x.shape)

  def split(place, last):
    """The pixels on both sides, and the share of the second."""
    first = jnp.floor(place)
    whole = first.astype(jnp.int32)
    return whole, jnp.minimum(whole + 1, last), (place - first)[..., None]

  top, bottom, lower = split(down, height - 1)
  left, beside, further = split(right, width - 1)
  row = lambda at: (1 - further) * read(at, left) + further * read(at, beside)
  return (1 - lower) * row(top) + lower * row(bottom)
