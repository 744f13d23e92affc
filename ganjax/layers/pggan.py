"""Layers of progressive growing (Karras et al. 2017, arXiv:1710.10196), which StyleGAN's networks keep."""

import jax.numpy as jnp
from jax import lax

from ganjax import UserError


def pixel_norm(x, eps=1e-8):
  """Divides [..., C] by the root mean square over C (section 4.2)."""
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return (wide * lax.rsqrt(jnp.mean(wide**2, -1, keepdims=True) + eps)).astype(x.dtype)


def minibatch_stddev(x, group=4):
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
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(group, b // group, *x.shape[1:])
  # Within the root, so that the gradient of equal samples is not infinite.
  stddev = jnp.sqrt(jnp.var(wide, 0) + 1e-8).mean((1, 2, 3))
  stddev = jnp.tile(stddev, group).astype(x.dtype)[:, None, None, None]
  return jnp.concatenate([x, jnp.broadcast_to(stddev, (*x.shape[:3], 1))], -1)
