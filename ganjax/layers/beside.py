"""Convolutions of pictures on all cores of a CPU: pictures of a batch, and strips of their rows, side by side.

XLA (jax 0.10, by YNNPACK) divides a convolution among cores by its features and by the pixels of a row of the output,
at least 64 of each to a part, and more where a part would be little work. Few features on small pictures are one part.
So pictures, and strips of rows, are laid into one picture with long rows: the products are the same, and what is copied
is little beside them. With both gradients, before and after, on two cores, as
`benchmarks/convolutions.py --networks ESRGAN` prints it: 3x3 from 192 to 64 channels on one picture of 32x32, 6.8 to
7.9 ms and 4.3 to 6.3; from 64 to 32 on 128x128, 20 to 25 ms and 16 to 21.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import export, lax

from ganjax.devices import backend, cpu
from ganjax.layers.native import strided_lax, transposed_lax

if TYPE_CHECKING:  # which imports this
  from ganjax.layers.conv import Geometry

ORDERS = ('NHWC', 'HWIO', 'NHWC')
SIDE = 64  # pixels, and features, of a part at least
ROW = 1 << 21  # products of a row of the output for each core
MANY = 8  # pictures, beyond which features that reach all cores are enough
DENSE = 80  # products for each number that is copied, below which copying costs more than it saves


def strided_beside(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  if len(g.size) != 2:
    return strided_lax(g, x, w)
  return convolve(x, w, g.stride, [(p, p) for p in g.padding])


def transposed_beside(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  """Of stride 1."""
  if len(g.size) != 2:
    return transposed_lax(g, y, w)
  pads = [(k - 1 - p, n + p - m) for n, m, k, p in zip(g.size, g.out, g.kernel, g.padding)]
  return convolve(y, jnp.flip(w, (0, 1)).swapaxes(-1, -2), g.stride, pads)


def by_channels(g: 'Geometry', channels: int, features: int) -> bool:
  """Whether x is the better kernel: XLA divides the work among cores by the last axis of the kernel, 64 to a part.

  The figures above are with it.
  """
  fits = len(g.size) == 2 and max(g.stride) == 1 and min(g.kernel) > 1
  fits = fits and g.size == g.out
  return fits and channels >= max(128, 2 * features) and features >= 8


def weights_swapped(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  """Of stride 1: y is the image and x the kernel."""
  pads = [(k - 1 - p, n + p - m) for n, m, k, p in zip(g.size, g.out, g.kernel, g.padding)]
  w = lax.conv_general_dilated(y, x, g.stride, pads, dimension_numbers=('CHWN', 'IHWO', 'HWNC'))
  return jnp.flip(w, (0, 1)).swapaxes(-1, -2)


def convolve(
  x: jax.Array, w: jax.Array, stride: Sequence[int], pads: Sequence[tuple[int, int]]
) -> jax.Array:
  """`lax.conv_general_dilated` of pictures x [B, H, W, C] and w [kh, kw, C, F], side by side where that is faster."""
  pictures, strips = count(x.shape, x.dtype, w.shape, stride, pads)
  if pictures * strips == 1:
    return lax.conv_general_dilated(x, w, stride, pads, dimension_numbers=ORDERS)
  return side_by_side(x, w, stride, pads, pictures, strips)


def count(
  shape: Sequence[int],
  dtype: jax.typing.DTypeLike,
  kernel: Sequence[int],
  stride: Sequence[int],
  pads: Sequence[tuple[int, int]],
  cores: int | None = None,
  devices: int | None = None,
) -> tuple[int, int]:
  """How many pictures, and strips of each, lie side by side: powers of two, (1, 1) where nothing is gained.

  Args:
    shape, dtype: of x [B, H, W, C]; B may be a symbol.
    kernel: shape of w [kh, kw, C, F].
    stride, pads: of each spatial axis.
    cores: of the processor; by default those of this one.
    devices: that hold equal parts of the batch, by default those in use. Pictures lie beside others of their device.
  """
  batch, features = shape[0], kernel[-1]
  cores = cores or cpu.cores()
  h, v = _out(shape, kernel, stride, pads)
  row, numbers = v * math.prod(kernel), math.prod(shape[1:]) + h * v * features
  dense = math.prod(kernel[:-1]) >= 256 and features >= 8 and h * row >= DENSE * numbers
  if dtype != jnp.float32 or cores == 1 or not dense or min(*pads[0], *pads[1]) < 0:
    return 1, 1
  wanted, parts = 1, max(1, features // SIDE)
  many = not export.is_symbolic_dim(batch) and batch > MANY
  if many and parts >= cores:  # DCGAN's steps are as fast either way, and compile a second sooner
    return 1, 1
  while wanted * row < ROW * cores or parts * max(1, wanted * v // SIDE) < cores:
    wanted *= 2
  pictures = 1
  if not export.is_symbolic_dim(batch):
    devices = devices or backend.devices()
    while pictures < wanted and batch % (2 * pictures * devices) == 0:
      pictures *= 2
  strips = wanted // pictures
  # Strips of a row or two would copy their neighbours' rows over and over.
  return (pictures, strips) if strips == 1 or h >= 4 * strips else (1, 1)


def side_by_side(
  x: jax.Array,
  w: jax.Array,
  stride: Sequence[int],
  pads: Sequence[tuple[int, int]],
  pictures: int,
  strips: int,
) -> jax.Array:
  """`convolve`, with so many pictures, which divide B, and strips of each in one row.

  Between two pictures there are zeros, as many as either sees beyond its border.
  """
  (_, height, width, channels), (kh, kw, _, features) = x.shape, w.shape
  h, v = _out(x.shape, w.shape, stride, pads)
  each = -(-h // strips)  # rows of the output in a strip
  rows, step = (each - 1) * stride[0] + kh, each * stride[0]
  (top, _), (left, _) = pads
  period = max(left + width, (v - 1) * stride[1] + kw - left, v * stride[1])
  period = -(-period // stride[1]) * stride[1]
  ends = (strips - 1) * step + rows - top - height, period - left - width
  zero = jnp.zeros((), x.dtype)
  x = lax.pad(x, zero, ((0, 0, 0), (top, ends[0], 0), (left, ends[1], 0), (0, 0, 0)))
  x = jnp.stack([x[:, i * step : i * step + rows] for i in range(strips)], 2)
  x = x.reshape(-1, pictures, *x.shape[1:]).swapaxes(1, 2)  # [B / n, rows, n, strips, period, C]
  x = x.reshape(-1, rows, pictures * strips * period, channels)
  y = lax.conv_general_dilated(
    x, w, stride, ((0, 0), (0, kw - stride[1])), dimension_numbers=ORDERS
  )
  y = y.reshape(-1, each, pictures, strips, period // stride[1], features)[..., :v, :]
  return y.transpose(0, 2, 3, 1, 4, 5).reshape(-1, strips * each, v, features)[:, :h]


def _out(shape, kernel, stride, pads):
  sides = zip(shape[1:-1], kernel, stride, pads)
  return tuple((n + sum(p) - k) // s + 1 for n, k, s, p in sides)
