"""The maps of `layers/conv.py` as `lax.conv_general_dilated` has them, with groups."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:  # which imports this
  from ganjax.layers.conv import Geometry


def strided_lax(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  pads = [(p, p) for p in g.padding]
  return lax.conv_general_dilated(
    x,
    w,
    g.stride,
    pads,
    dimension_numbers=_orders(g, 'N*C', '*IO', 'N*C'),
    feature_group_count=g.groups,
  )


def transposed_lax(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  pads = [
    (k - 1 - p, n + p - (s * (m - 1) + 1))
    for n, m, k, s, p in zip(g.size, g.out, g.kernel, g.stride, g.padding)
  ]
  return lax.conv_general_dilated(
    y,
    jnp.flip(_channels_in_rows(g.groups, w), range(len(g.size))),
    (1,) * len(g.size),
    pads,
    g.stride,
    dimension_numbers=_orders(g, 'N*C', '*OI', 'N*C'),
    feature_group_count=g.groups,
  )


def weights_lax(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  pads = [
    (p, k - 1 + s * (m - 1) + 1 - n - p)
    for n, m, k, s, p in zip(g.size, g.out, g.kernel, g.stride, g.padding)
  ]
  return lax.conv_general_dilated(
    x,
    y,
    (1,) * len(g.size),
    pads,
    rhs_dilation=g.stride,
    dimension_numbers=_orders(g, 'C*N', 'I*O', '*NC'),
    batch_group_count=g.groups,
  )


def _orders(g, *orders):
  """The names of axes, the spatial ones in place of *."""
  return tuple(order.replace('*', 'HWD'[: len(g.size)]) for order in orders)


def _channels_in_rows(groups, w):
  """w [kh, kw, C / groups, F] -> [kh, kw, C, F / groups], the same numbers."""
  if groups == 1:
    return w
  *kernel, c, f = w.shape
  w = w.reshape(*kernel, c, groups, f // groups).swapaxes(-3, -2)
  return w.reshape(*kernel, groups * c, f // groups)
