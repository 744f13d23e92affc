"""How the three maps of `layers/conv.py` are computed: natively, on TPU, and on CPU.

A form takes the geometry and two of x [B, H, W, C], y [B, h, v, F], w [kh, kw, C, F], and returns the third:
`strided` y, `transposed` x, `weights` w. All forms of a map are one function, up to round-off. Those called `lax`,
`tpu`, `cpu` and `blocks` know groups, the others take one.
"""

import functools
import itertools
import math
import operator
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import export

from ganjax.dtypes import widen
from ganjax.layers.beside import by_channels, strided_beside, transposed_beside, weights_swapped
from ganjax.layers.native import strided_lax, transposed_lax, weights_lax
from ganjax.layers.taps import (
  add_taps,
  by_tap,
  place,
  strided_columns,
  strided_depthwise,
  strided_taps,
  taps,
  transposed_columns,
  transposed_depthwise,
  transposed_taps,
  weights_columns,
  weights_depthwise,
  weights_taps,
)
from ganjax.layers.winograd import (
  by_tile,
  strided_tiles,
  transposed_tiles,
  weights_tiles,
)

if TYPE_CHECKING:  # which imports this
  from ganjax.layers.conv import Geometry

# TPU forms: native, but for groups narrower than the 128 channels that its products take. XLA lays these out with the
# batch as the fastest axis, padded to 128, and back. So neighbouring groups form a block of 128, whose kernel holds
# zeros between them: R3GAN's 96 groups of 16 channels with their gradients, 32x32, 64 images a device, take 0.59 times
# as long by XLA's own estimate, though they multiply 8 times as much. (128 images fill that axis: there it is 1.12
# times. By `benchmarks/tpu_forms.py`. Gradients are summed over devices before the zeros are left out.)


def strided_tpu(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  m, joined = _join(g, x.shape[-1])
  return strided_lax(joined, x, _with_zeros(m, w, joined.groups))


def transposed_tpu(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  m, joined = _join(g, w.shape[-2] * g.groups)
  return transposed_lax(joined, y, _with_zeros(m, w, joined.groups))


def weights_tpu(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  m, joined = _join(g, x.shape[-1])
  return _without_zeros(m, weights_lax(joined, x, y), joined.groups)


def _join(g, channels):
  """How many groups make a block of at most 128 channels, and the geometry of blocks."""
  m = next(
    m
    for m in range(g.groups, 0, -1)
    if g.groups % m == 0 and (m == 1 or m * channels <= 128 * g.groups)
  )
  return m, g._replace(groups=g.groups // m)


# CPU forms. What they avoid, by jax 0.10 on 2 cores at batch 64: XLA leaves its fast path where the
# kernel is larger than the image (5x5 on 4x4, 128 to 256 channels: 83 ms for 2.5), also in a transposed
# convolution (4x4 on 2x2, 512 to 256 channels: 231 ms for 3.5); 3 channels take 4 times as long as 4.


def strided_cpu(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  if g.groups > 1:
    depthwise = g.groups == w.shape[-1] == x.shape[-1]
    return strided_depthwise(g, x, w) if depthwise else strided_blocks(g, x, w)
  if by_tap(g):
    return strided_taps(g, x, w)
  if by_tile(g, x.shape[0], *w.shape[-2:]):
    return strided_tiles(g, x, w)
  if by_depth(g):
    return strided_depth(g, x, w)
  if has_few(g, w.shape[-1]) and math.prod(g.kernel) >= 49:
    return strided_columns(g, x, w)
  spare = -x.shape[-1] % 4 if x.shape[-1] < 8 else 0
  at = lambda a, axis: jnp.pad(a, [(0, spare if i == a.ndim + axis else 0) for i in range(a.ndim)])
  return strided_beside(g, at(x, -1), at(w, -2))


def transposed_cpu(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  if g.groups > 1:
    depthwise = g.groups == w.shape[-1] and w.shape[-2] == 1
    return transposed_depthwise(g, y, w) if depthwise else transposed_blocks(g, y, w)
  if by_tap(g):
    return transposed_taps(g, y, w)
  if by_tile(g, y.shape[0], *w.shape[-2:]):
    return transposed_tiles(g, y, w)
  if by_depth(g):
    return transposed_depth(g, y, w)
  if by_phase(g, y.shape[0], w.shape[-2]):
    return transposed_phases(g, y, w)
  if max(g.stride) == 1 and math.prod(g.kernel) <= math.prod(g.out):
    return transposed_beside(g, y, w)
  return transposed_columns(g, y, w)


def weights_cpu(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  if g.groups > 1:
    depthwise = g.groups == x.shape[-1] == y.shape[-1]
    return weights_depthwise(g, x, y) if depthwise else weights_blocks(g, x, y)
  if by_tap(g):
    return weights_taps(g, x, y)
  if by_tile(g, x.shape[0], x.shape[-1], y.shape[-1]):
    return weights_tiles(g, x, y)
  if by_depth(g):
    return weights_depth(g, x, y)
  if by_channels(g, x.shape[-1], y.shape[-1]):
    return weights_swapped(g, x, y)
  if has_few(g, y.shape[-1]) and len(y) == 1:
    return weights_columns(g, x, y)
  if any(m > n for n, m in zip(g.size, g.out)):
    # y is the kernel here, and XLA's fast path wants one that is not larger than the image: 4x4 of stride 1 and padding
    # 2, as in vid2vid's discriminators, 32 to 64 channels on four pictures of 17x17, 23 ms and 1.
    x = jnp.pad(x, [(0, 0), *((p, p) for p in g.padding), (0, 0)])
    g = g._replace(size=x.shape[1:-1], padding=(0,) * len(g.size))
  return weights_parts(g, x, y)


def has_few(g: 'Geometry', features: int) -> bool:
  """Whether pictures get so few features, of stride 1, that products by columns are small.

  XLA is slow with few: 7x7 from 64 to 3 on four pictures of 64x64 takes 209 ms, 10 by columns. Of smaller kernels only
  the weights' gradient is, and only of one picture, which has no parts: 3x3 from 64 to 3 on 128x128, 56 ms and 4.
  """
  return len(g.size) == 2 and max(g.stride) == 1 and features < 8


def weights_parts(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  """The sum over parts of the batch, of 2048 pixels or more where that is many products.

  XLA's product over many pixels at once is 2 to 3 times slower (3x3 kernels, 128 to 128 channels on 32x32 at batch 32:
  459 ms whole, 149 ms in 16 parts). Each part compiles on its own.
  """
  n, pixels = 1, len(y) * math.prod(g.out)
  many = pixels * math.prod(g.kernel) * x.shape[-1] * y.shape[-1] >= 1 << 28
  while many and n < 16 and len(y) % (2 * n) == 0 and pixels >= 2048 * 2 * n:
    n *= 2
  if n == 1:
    return weights_lax(g, x, y)
  # Every n-th image: a batch that lies on several devices stays where it is.
  deal = lambda z, i: z.reshape(-1, n, *z.shape[1:])[:, i]
  parts = [widen(weights_lax(g, deal(x, i), deal(y, i))) for i in range(n)]
  return functools.reduce(operator.add, parts).astype(x.dtype)


# Strides on CPU: the phases of x, s along each axis, as so many channels, so that the stride is 1.


def by_phase(g: 'Geometry', batch: int, channels: int) -> bool:
  """Whether phases are faster than one product for all taps, whose result is summed where taps meet.

  Of one axis: where it is long beside the kernel, with channels enough. Of more: where that result does not stay in a
  cache. 4x4 of stride 2 from 32 to 16 channels, 16x16 to 32x32 pixels: of 128 pictures 8 ms for 48, of 16 no matter.
  """
  if len(g.size) == 1:
    return channels >= 16 and g.stride[0] * g.out[0] >= 8 * g.kernel[0]
  if max(g.stride) == 1:
    return False
  columns = math.prod(g.out) * math.prod(g.kernel) * channels
  return export.is_symbolic_dim(batch) or batch * columns >= 1 << 21


def transposed_phases(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  axes, (channels, features) = len(g.size), w.shape[-2:]
  kernel = tuple(-(-k // s) for k, s in zip(g.kernel, g.stride))
  spare = (k * s - n for k, s, n in zip(kernel, g.stride, g.kernel))
  w = jnp.pad(w, [*((0, n) for n in spare), (0, 0), (0, 0)])
  # Of each axis a tap of y, then a phase; all taps first, then all phases.
  w = w.reshape(*itertools.chain(*zip(kernel, g.stride)), channels, features)
  w = w.transpose(*range(0, 2 * axes, 2), *range(1, 2 * axes, 2), 2 * axes, 2 * axes + 1)
  sides = tuple(m + k - 1 for m, k in zip(g.out, kernel))
  ones, zeros = (1,) * axes, (0,) * axes
  one = g._replace(size=sides, kernel=kernel, stride=ones, padding=zeros)
  x = transposed_lax(one, y, w.reshape(*kernel, -1, features))
  x = x.reshape(y.shape[0], *sides, *g.stride, channels)
  x = x.transpose(0, *(i for a in range(1, axes + 1) for i in (a, a + axes)), 2 * axes + 1)
  x = x.reshape(y.shape[0], *(n * s for n, s in zip(sides, g.stride)), channels)
  short = (max(0, n + p - m) for n, p, m in zip(g.size, g.padding, x.shape[1:-1]))
  x = jnp.pad(x, [(0, 0), *((0, n) for n in short), (0, 0)])
  return x[:, *(slice(p, p + n) for n, p in zip(g.size, g.padding))]


# Three axes on CPU: for each depth of y a picture, whose channels hold the depths of x that it sees, so that XLA's fast
# convolutions of pictures, and the forms above, serve. Its own of three axes are slower, the transposed one 30 times.


def by_depth(g: 'Geometry') -> bool:
  """Whether there are three axes, and depths of x that y sees."""
  return len(g.size) == 3 and any(taps(_slice(g)[0]))


def strided_depth(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  depth, flat = _slice(g)
  y = strided_cpu(flat, _depths(depth, x), _depth_in_rows(w))
  return y.reshape(x.shape[0], *g.out, -1)


def transposed_depth(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  depth, flat = _slice(g)
  x = transposed_cpu(flat, y.reshape(-1, *y.shape[2:]), _depth_in_rows(w))
  x = x.reshape(*y.shape[:2], *flat.size, g.kernel[0], -1)
  return add_taps(depth, lambda tap, ys: x[*ys, ..., tap[0], :], y.dtype)


def weights_depth(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  depth, flat = _slice(g)
  w = weights_cpu(flat, _depths(depth, x), y.reshape(-1, *y.shape[2:]))
  return jnp.moveaxis(w.reshape(*flat.kernel, g.kernel[0], -1, y.shape[-1]), -3, 0)


def _depths(depth, x):
  """[B, D, H, W, C] -> [B d, H, W, k C]: for each depth of y a picture, in whose channels are the k depths of x."""
  parts = [jnp.zeros((x.shape[0], *depth.out, *x.shape[2:]), x.dtype)] * depth.kernel[0]
  for (a,), xs, ys in taps(depth):
    parts[a] = place(x[xs], depth.out, ys[1:])
  return jnp.concatenate(parts, -1).reshape(-1, *x.shape[2:-1], depth.kernel[0] * x.shape[-1])


def _depth_in_rows(w):
  """[k, kh, kw, C, F] -> [kh, kw, k C, F]."""
  w = jnp.moveaxis(w, 0, -3)
  return w.reshape(*w.shape[:-3], -1, w.shape[-1])


def _slice(g):
  """The geometries of the first axis, and of the others."""
  return type(g)(*(v[:1] for v in g[:4])), type(g)(*(v[1:] for v in g[:4]))


# Groups on CPU: XLA's own convolution in groups is slow, most of all its gradient of the weights (16 groups of 16
# channels on 16x16 at batch 16: 1.4 s, by the blocks below 16 ms). So neighbouring groups form a block, whose kernel
# holds zeros between them, and each block is a convolution without groups. Small blocks have fewer zeros, but each
# compiles on its own: blocks of 32 channels, or 8 blocks, whichever is fewer.


def strided_blocks(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  n, one = _blocks(g, x.shape[-1])
  parts = zip(jnp.split(x, n, -1), jnp.split(_with_zeros(g.groups // n, w, n), n, -1))
  return jnp.concatenate([strided_cpu(one, *part) for part in parts], -1)


def transposed_blocks(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  n, one = _blocks(g, w.shape[-2] * g.groups)
  parts = zip(jnp.split(y, n, -1), jnp.split(_with_zeros(g.groups // n, w, n), n, -1))
  return jnp.concatenate([transposed_cpu(one, *part) for part in parts], -1)


def weights_blocks(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  n, one = _blocks(g, x.shape[-1])
  parts = zip(jnp.split(x, n, -1), jnp.split(y, n, -1))
  w = jnp.concatenate([weights_cpu(one, *part) for part in parts], -1)
  return _without_zeros(g.groups // n, w, n)


def _blocks(g, channels):
  """How many blocks, a divisor of the groups, and the geometry of one."""
  most = max(1, 32 * g.groups // channels, g.groups // 8)  # groups in a block
  size = next(m for m in range(min(most, g.groups), 0, -1) if g.groups % m == 0)
  return g.groups // size, g._replace(groups=1)


def _with_zeros(m, w, n):
  """Kernels of n blocks of m groups, w [kh, kw, c, F] -> [kh, kw, m c, F], 0 where features see no channels."""
  if m == 1:
    return w
  *kernel, c, f = w.shape
  own = jnp.eye(m, dtype=bool)[:, None, None, :, None]
  w = jnp.where(own, w.reshape(*kernel, 1, c, n, m, -1), 0)
  return w.reshape(*kernel, m * c, f)


def _without_zeros(m, w, n):
  """Undoes `_with_zeros`, whatever is in place of the zeros: [kh, kw, m c, F] -> [kh, kw, c, F]."""
  if m == 1:
    return w
  *kernel, rows, f = w.shape
  w = w.reshape(*kernel, m, rows // m, n, m, f // (n * m))
  return jnp.einsum('...icnif->...cnif', w).reshape(*kernel, rows // m, f)
