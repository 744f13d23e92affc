"""Layers of progressive growing (Karras et al. 2017, arXiv:1710.10196), which StyleGAN's networks keep."""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax import UserError
from ganjax.dtypes import widen


def levels(
  sides: tuple[int, int], width: int, channel_base: int
) -> tuple[tuple[tuple[int, int], int], ...]:
  """((height, width), channels) of each map of a network that doubles its first one, the smallest first.

  Args:
    sides: (height, width) of the images. Both are halved as long as they are even and 4 pixels or more are left: that
      is the first map, 4x4 where sides are powers of two.
    width: most channels of a map.
    channel_base: at 4, 8, 16, ... times the first map / 4 there are channel_base / (4, 8, 16, ...) channels, at most
      `width`.

  Raises:
    UserError: sides that cannot be halved, or too few channels.
  """
  start, doublings = sides, 0
  while all(n % 2 == 0 and n >= 8 for n in start):
    start, doublings = tuple(n // 2 for n in start), doublings + 1
  text, least = 'x'.join(map(str, sides)), 4 << doublings
  if not doublings:
    raise UserError(
      f'these networks double their first map: both sides of {text} must be even, and 8 or more'
    )
  if width < 1 or channel_base < least:
    raise UserError(
      f'networks needs width from 1, and channel_base from {least} at {text}; got {width}, {channel_base}'
    )
  return tuple(
    (tuple(n << i for n in start), min(channel_base // (4 << i), width))
    for i in range(doublings + 1)
  )


def pixel_norm(x: jax.Array, eps: float = 1e-8) -> jax.Array:
  """Divides [..., C] by the root mean square over C (section 4.2)."""
  y = widen(x)
  return (y * lax.rsqrt(jnp.mean(y**2, -1, keepdims=True) + eps)).astype(x.dtype)


def minibatch_stddev(x: jax.Array, group: int = 4) -> jax.Array:
  """Appends to [B, H, W, C] a channel with the standard deviation over groups of samples (section 3).

  Each group has one number: the biased deviation over its samples, averaged over pixels and channels. A group is
  `group` samples of the global batch, B / group apart: 0, B/4, B/2, 3B/4 are one. So it does not depend on the number
  of devices, and a group has samples of many of them. A batch smaller than `group` is one group.

  Raises:
    UserError: a batch that is not a multiple of `group`.
  """
  b = len(x)
  group = min(group, b)
  if b % group:
    raise UserError(
      f'minibatch standard deviation in groups of {group} needs a batch that {group} divides, not {b}'
    )
  groups = widen(x).reshape(group, b // group, *x.shape[1:])
  # Within the root, so that the gradient of equal samples is not infinite.
  stddev = jnp.sqrt(jnp.var(groups, 0) + 1e-8).mean((1, 2, 3))
  stddev = jnp.tile(stddev, group).astype(x.dtype)[:, None, None, None]
  return jnp.concatenate([x, jnp.broadcast_to(stddev, (*x.shape[:3], 1))], -1)
