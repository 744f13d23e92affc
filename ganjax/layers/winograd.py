"""Winograd's minimal filtering F(2x2, 2x2) of 4x4 kernels of stride 2 (Lavin and Gray, arXiv:1509.09308, section 4).

Over pairs of pixels these are 2x2 kernels of stride 1. In one dimension, for pairs x, taps w, outputs y,

  sum(y * S(x, w)) = (x0 - x1) w0 y0 + x1 (w0 + w1) (y0 + y1) + (x2 - x1) w1 y1,

three products for four, so 9 for 16 in two, and each map of `layers/conv.py` is read off by leaving one factor out.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import export, lax

from ganjax.dtypes import wide, widen

if TYPE_CHECKING:  # which imports this
  from ganjax.layers.conv import Geometry

OF_X = (1, -1, 0), (0, 1, 0), (0, -1, 1)
OF_WY = (1, 0), (1, 1), (0, 1)


def by_tile(g: 'Geometry', batch: int, channels: int, features: int) -> bool:
  """Whether Winograd's form is there for the shape, and its products large enough to pay for the sums.

  They are taken to be where `batch` is a symbol: an exported program serves batches of any size.
  """
  fits = g.kernel == (4, 4) and g.stride == (2, 2) and g.padding == (1, 1)
  fits = fits and all(n % 4 == 0 for n in g.size)
  if not fits or min(channels, features) < 64:
    return False
  return export.is_symbolic_dim(batch) or batch * math.prod(g.out) >= 1024


def strided_tiles(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  products = _each(lambda a, b: dot(a, b, [3], [0]), _tiles_of_x(g, x), _tiles_of_w(w))
  rows = [_interleave(_mix(zip(*OF_WY), row), 2) for row in products]
  return _interleave(_mix(zip(*OF_WY), rows), 1).astype(x.dtype)


def transposed_tiles(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  products = _each(lambda a, b: dot(a, b, [3], [1]), _tiles_of_y(y), _tiles_of_w(w))
  rows = [_overlap(_mix(zip(*OF_X), row), 2) for row in products]
  pairs = _overlap(_mix(zip(*OF_X), rows), 1)
  (h, v), c = g.out, w.shape[2]
  x = pairs.reshape(-1, h + 1, v + 1, 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(-1, 2 * h + 2, 2 * v + 2, c)[:, 1:-1, 1:-1].astype(y.dtype)


def weights_tiles(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  # XLA transposes the left factor in memory, so that is y's: half as large as x's where x has half the channels.
  tiles = _tiles_of_y(y), _tiles_of_x(g, x)
  products = _each(lambda a, b: dot(a, b, [0, 1, 2], [0, 1, 2]), *tiles)
  rows = [jnp.stack(_mix(zip(*OF_WY), row)) for row in products]
  w = jnp.stack(_mix(zip(*OF_WY), rows)).reshape(2, 2, y.shape[3], 2, 2, x.shape[3])
  return w.transpose(0, 3, 1, 4, 5, 2).reshape(4, 4, x.shape[3], y.shape[3]).astype(x.dtype)


def _tiles_of_x(g, x):
  """The factors of x, 3 x 3 arrays [B, h / 2, v / 2, 4 C]."""
  (h, v), c = g.out, x.shape[3]
  x = jnp.pad(widen(x), ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(-1, h + 1, 2, v + 1, 2, c)
  pairs = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, h + 1, v + 1, 4 * c)
  return [_mix(OF_X, _every_other(row, 3, 2)) for row in _mix(OF_X, _every_other(pairs, 3, 1))]


def _tiles_of_y(y):
  """The factors of y, 3 x 3 arrays [B, h / 2, v / 2, F]."""
  y = widen(y)
  return [_mix(OF_WY, _every_other(row, 2, 2)) for row in _mix(OF_WY, _every_other(y, 2, 1))]


def _tiles_of_w(w):
  """The factors of w, 3 x 3 arrays [4 C, F]."""
  c, f = w.shape[2:]
  w = widen(w).reshape(2, 2, 2, 2, c, f).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, f)
  return [_mix(OF_WY, row) for row in _mix(OF_WY, w)]


def _every_other(x, n, axis):
  """Pixels 0, 2, 4, ... along an axis, then those one further, n arrays of the same length."""
  length = x.shape[axis] // 2
  return [lax.slice_in_dim(x, t, t + 2 * length - 1, 2, axis) for t in range(n)]


def _each(function, a, b):
  return [[function(p, q) for p, q in zip(*rows)] for rows in zip(a, b)]


def _mix(coefficients, parts):
  """Sums of parts with coefficients 1, 0 and -1, one for each row of coefficients."""
  signed = lambda row: [part if k > 0 else -part for k, part in zip(row, parts) if k]
  return [functools.reduce(operator.add, signed(row)) for row in coefficients]


def _interleave(parts, axis):
  """Two arrays, taken in turns along an axis: the adjoint of `_every_other`."""
  shape = list(parts[0].shape)
  shape[axis] *= 2
  return jnp.stack(parts, axis + 1).reshape(shape)


def _overlap(parts, axis):
  """Three arrays of length n -> their sum at 2 i, 2 i + 1 and 2 i + 2, of length 2 n + 1: also its adjoint."""
  pad = lambda x, low, high: jnp.pad(x, [(low, high) if i == axis else (0, 0) for i in range(4)])
  even = pad(parts[0], 0, 1) + pad(parts[2], 1, 0)
  both = _interleave([even, pad(parts[1], 0, 1)], axis)
  return lax.slice_in_dim(both, 0, both.shape[axis] - 1, axis=axis)


def dot(a: jax.Array, b: jax.Array, i: Sequence[int], j: Sequence[int]) -> jax.Array:
  """Contracts axes i of a with axes j of b."""
  return lax.dot_general(a, b, ((i, j), ((), ())), preferred_element_type=wide(a.dtype))
