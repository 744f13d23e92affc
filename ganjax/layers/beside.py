"""Convolutions on all cores of a CPU: pictures of a batch, and strips of a picture's rows, side by side.

XLA (jax 0.10, by YNNPACK) divides a convolution among cores by its features and by the pixels of a row of the output,
at least 64 of each to a part, and more where a part would be little work. Few features on small pictures are one part.
So pictures, and strips of rows, are laid into one picture with long rows: the products are the same, and what is copied
is little beside them. 3x3 from 64 to 32 channels on one picture of 128x128, on two cores: 5.9 ms, and 3.5 in two
strips; 4x4 of stride 2 from 32 to 64 on 64 pictures of 16x16: 2.8 ms, and 2.0 in rows of 16.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import export, lax

from ganjax.devices import backend, cpu

ORDERS = ('NHWC', 'HWIO', 'NHWC')
SIDE = 64  # pixels, and features, of a part at least
ROW = 1 << 21  # products of a row of the output for each core
DENSE = 80  # products for each number that is copied, below which copying costs more than it saves


def convolve(
  x: jax.Array, w: jax.Array, stride: Sequence[int], pads: Sequence[tuple[int, int]]
) -> jax.Array:
  """`lax.conv_general_dilated` of pictures x [B, H, W, C] and w [kh, kw, C, F], side by side where that is faster."""
  pictures, strips = count(x.shape, x.dtype, w.shape, stride, pads)
  if pictures * strips == 1:
    return lax.conv_general_dilated(x, w, stride, pads, dimension_numbers=ORDERS)
  return side_by_side(x, w, stride, pads, pictures, strips)


def count(shape, dtype, kernel, stride, pads, cores=None, devices=None) -> tuple[int, int]:
  """How many pictures, and strips of each, lie side by side: powers of two, (1, 1) where nothing is gained.

  Pictures lie beside others of their device: `devices` hold equal parts of the batch.
  """
  batch, features = shape[0], kernel[-1]
  cores = cores or cpu.cores()
  h, v = _out(shape, kernel, stride, pads)
  row, numbers = v * math.prod(kernel), math.prod(shape[1:]) + h * v * features
  dense = math.prod(kernel[:-1]) >= 256 and features >= 8 and h * row >= DENSE * numbers
  if dtype != jnp.float32 or cores == 1 or not dense or min(*pads[0], *pads[1]) < 0:
    return 1, 1
  wanted, parts = 1, max(1, features // SIDE)
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


def side_by_side(x, w, stride, pads, pictures: int, strips: int) -> jax.Array:
  """The convolution, with so many pictures of the batch, and strips of each, in one row.

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
