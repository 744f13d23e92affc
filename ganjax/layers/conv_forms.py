"""How the three maps of `layers/conv.py` are computed: natively, on TPU, and on CPU.

A form takes the geometry and two of x [B, H, W, C], y [B, h, v, F], w [kh, kw, C, F], and returns the third:
`strided` y, `transposed` x, `weights` w. All forms of a map are one function, up to round-off. Those called `lax`,
`tpu`, `cpu` and `blocks` know groups, the others take one.
"""

import functools
import itertools
import math
import operator

import jax.numpy as jnp
from jax import lax

from ganjax.layers.winograd import (
  by_tile,
  dot,
  strided_tiles,
  transposed_tiles,
  weights_tiles,
  wide,
)

# Native forms.


def strided_lax(g, x, w):
  pads = [(p, p) for p in g.padding]
  return lax.conv_general_dilated(
    x,
    w,
    g.stride,
    pads,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=g.groups,
  )


def transposed_lax(g, y, w):
  pads = [
    (k - 1 - p, n + p - (s * (m - 1) + 1))
    for n, m, k, s, p in zip(g.size, g.out, g.kernel, g.stride, g.padding)
  ]
  return lax.conv_general_dilated(
    y,
    _channels_in_rows(g.groups, w)[::-1, ::-1],
    (1, 1),
    pads,
    g.stride,
    dimension_numbers=('NHWC', 'HWOI', 'NHWC'),
    feature_group_count=g.groups,
  )


def weights_lax(g, x, y):
  pads = [
    (p, k - 1 + s * (m - 1) + 1 - n - p)
    for n, m, k, s, p in zip(g.size, g.out, g.kernel, g.stride, g.padding)
  ]
  return lax.conv_general_dilated(
    x,
    y,
    (1, 1),
    pads,
    rhs_dilation=g.stride,
    dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
    batch_group_count=g.groups,
  )


def _channels_in_rows(groups, w):
  """w [kh, kw, C / groups, F] -> [kh, kw, C, F / groups], the same numbers."""
  kh, kw, c, f = w.shape
  w = w.reshape(kh, kw, c, groups, f // groups).swapaxes(2, 3)
  return w.reshape(kh, kw, groups * c, f // groups)


# TPU forms: native, but for groups narrower than the 128 channels that its products take. XLA lays these out with the
# batch as the fastest axis, padded to 128, and back. So neighbouring groups form a block of 128, whose kernel holds
# zeros between them: R3GAN's 96 groups of 16 channels with their gradients, 32x32, 64 images a device, take 0.59 times
# as long by XLA's own estimate, though they multiply 8 times as much. (128 images fill that axis: there it is 1.12
# times. By `benchmarks/tpu_forms.py`. Gradients are summed over devices before the zeros are left out.)


def strided_tpu(g, x, w):
  m, joined = _join(g, x.shape[3])
  return strided_lax(joined, x, _with_zeros(m, w, joined.groups))


def transposed_tpu(g, y, w):
  m, joined = _join(g, w.shape[2] * g.groups)
  return transposed_lax(joined, y, _with_zeros(m, w, joined.groups))


def weights_tpu(g, x, y):
  m, joined = _join(g, x.shape[3])
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


def strided_cpu(g, x, w):
  if g.groups > 1:
    return strided_blocks(g, x, w)
  if by_tap(g):
    return strided_taps(g, x, w)
  if by_tile(g, x.shape[0], *w.shape[2:]):
    return strided_tiles(g, x, w)
  spare = -x.shape[3] % 4 if x.shape[3] < 8 else 0
  x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, spare)))
  return strided_lax(g, x, jnp.pad(w, ((0, 0), (0, 0), (0, spare), (0, 0))))


def transposed_cpu(g, y, w):
  if g.groups > 1:
    return transposed_blocks(g, y, w)
  if by_tap(g):
    return transposed_taps(g, y, w)
  if by_tile(g, y.shape[0], *w.shape[2:]):
    return transposed_tiles(g, y, w)
  if g.stride == (1, 1) and math.prod(g.kernel) <= math.prod(g.out):
    return transposed_lax(g, y, w)
  columns = dot(y, w, [3], [3])  # [B, h, v, kh, kw, C]: all taps in one product
  return _add_taps(g, lambda a, b, rows, cols: columns[:, rows, cols, a, b], y, w)


def weights_cpu(g, x, y):
  if g.groups > 1:
    return weights_blocks(g, x, y)
  if by_tap(g):
    return weights_taps(g, x, y)
  if by_tile(g, x.shape[0], x.shape[3], y.shape[3]):
    return weights_tiles(g, x, y)
  return weights_parts(g, x, y)


def weights_parts(g, x, y):
  """The sum over parts of the batch, of 2048 pixels or more where that is many products.

  XLA's product over many pixels at once is 2 to 3 times slower (3x3 kernels, 128 to 128 channels on 32x32 at batch 32:
  459 ms whole, 149 ms in 16 parts). Each part compiles on its own.
  """
  n, pixels = 1, len(y) * math.prod(g.out)
  many = pixels * math.prod(g.kernel) * x.shape[3] * y.shape[3] >= 1 << 28
  while many and n < 16 and len(y) % (2 * n) == 0 and pixels >= 2048 * 2 * n:
    n *= 2
  if n == 1:
    return weights_lax(g, x, y)
  # Every n-th image: a batch that lies on several devices stays where it is.
  deal = lambda z, i: z.reshape(-1, n, *z.shape[1:])[:, i]
  parts = [weights_lax(g, deal(x, i), deal(y, i)).astype(wide(x)) for i in range(n)]
  return functools.reduce(operator.add, parts).astype(x.dtype)


def by_tap(g):
  """Whether one product for each tap is best: 1x1 kernels, and those that reach far out of the image.

  A product by tap leaves out the taps that lie on the padding: 7/16 of them for 4x4, stride 2, from 4x4 to 2x2.
  """
  touching = math.prod(sum(y.stop - y.start for _, y in _spans(g, axis)) for axis in (0, 1))
  area = math.prod(g.kernel)
  return area == 1 or area > math.prod(g.size) or touching < 0.65 * area * math.prod(g.out)


def _spans(g, axis):
  """For each tap of the kernel along an axis, the pixels of x and the pixels of y that it joins."""
  n, m, k, s, p = (field[axis] for field in (g.size, g.out, g.kernel, g.stride, g.padding))
  for a in range(k):
    start = min(max(0, -((a - p) // s)), m)
    stop = max(start, min(m, (n - 1 + p - a) // s + 1))
    first = s * start + a - p
    yield slice(first, first + s * (stop - start), s), slice(start, stop)


def _taps(g):
  """All taps a, b that touch the image: (a, b, rows of x, columns of x, rows of y, columns of y)."""
  for a, (xr, yr) in enumerate(_spans(g, 0)):
    for b, (xc, yc) in enumerate(_spans(g, 1)):
      if yr.start < yr.stop and yc.start < yc.stop:
        yield a, b, xr, xc, yr, yc


def _place(x, size, rows, cols):
  """Puts x [B, r, c, C] at rows and columns of zeros [B, *size, C]."""
  pads = ((s.start, n - s.stop) for s, n in zip((rows, cols), size))
  return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def strided_taps(g, x, w):
  parts = [
    _place(dot(x[:, xr, xc], w[a, b], [3], [0]), g.out, yr, yc) for a, b, xr, xc, yr, yc in _taps(g)
  ]
  return sum(parts, jnp.zeros((x.shape[0], *g.out, w.shape[3]), wide(x))).astype(x.dtype)


def transposed_taps(g, y, w):
  return _add_taps(g, lambda a, b, rows, cols: dot(y[:, rows, cols], w[a, b], [3], [1]), y, w)


def weights_taps(g, x, y):
  zero = jnp.zeros((x.shape[3], y.shape[3]), wide(x))
  parts = {
    (a, b): dot(x[:, xr, xc], y[:, yr, yc], [0, 1, 2], [0, 1, 2])
    for a, b, xr, xc, yr, yc in _taps(g)
  }
  w = jnp.stack([parts.get(tap, zero) for tap in itertools.product(*map(range, g.kernel))])
  return w.reshape(*g.kernel, *zero.shape).astype(x.dtype)


def _add_taps(g, product, y, w):
  """Sums what each tap adds to x: within each of the s x s phases of x taps are shifted without gaps."""
  (s, t), (n, m) = g.stride, (-(-size // stride) for size, stride in zip(g.size, g.stride))
  phases = {}
  for a, b, xr, xc, yr, yc in _taps(g):
    part = product(a, b, yr, yc)
    r, c = xr.start // s, xc.start // t
    part = _place(part, (n, m), slice(r, r + part.shape[1]), slice(c, c + part.shape[2]))
    phase = xr.start % s, xc.start % t
    phases[phase] = phases[phase] + part if phase in phases else part
  zero = jnp.zeros((y.shape[0], n, m, w.shape[2]), y.dtype)
  x = jnp.stack([jnp.stack([phases.get((i, j), zero) for j in range(t)], 3) for i in range(s)], 2)
  x = x.reshape(y.shape[0], n * s, m * t, w.shape[2])
  return x[:, : g.size[0], : g.size[1]].astype(y.dtype)


# Groups on CPU: XLA's own convolution in groups is slow, most of all its gradient of the weights (16 groups of 16
# channels on 16x16 at batch 16: 1.4 s, by the blocks below 16 ms). So neighbouring groups form a block, whose kernel
# holds zeros between them, and each block is a convolution without groups. Small blocks have fewer zeros, but each
# compiles on its own: blocks of 32 channels, or 8 blocks, whichever is fewer.


def strided_blocks(g, x, w):
  n, one = _blocks(g, x.shape[3])
  parts = zip(jnp.split(x, n, 3), jnp.split(_with_zeros(g.groups // n, w, n), n, 3))
  return jnp.concatenate([strided_cpu(one, *part) for part in parts], 3)


def transposed_blocks(g, y, w):
  n, one = _blocks(g, w.shape[2] * g.groups)
  parts = zip(jnp.split(y, n, 3), jnp.split(_with_zeros(g.groups // n, w, n), n, 3))
  return jnp.concatenate([transposed_cpu(one, *part) for part in parts], 3)


def weights_blocks(g, x, y):
  n, one = _blocks(g, x.shape[3])
  parts = zip(jnp.split(x, n, 3), jnp.split(y, n, 3))
  w = jnp.concatenate([weights_cpu(one, *part) for part in parts], 3)
  return _without_zeros(g.groups // n, w, n)


def _blocks(g, channels):
  """How many blocks, a divisor of the groups, and the geometry of one."""
  most = max(1, 32 * g.groups // channels, g.groups // 8)  # groups in a block
  size = next(m for m in range(min(most, g.groups), 0, -1) if g.groups % m == 0)
  return g.groups // size, g._replace(groups=1)


def _with_zeros(m, w, n):
  """Kernels of n blocks of m groups, w [kh, kw, c, F] -> [kh, kw, m c, F], 0 where features see no channels."""
  kh, kw, c, f = w.shape
  own = jnp.eye(m, dtype=bool)[:, None, None, :, None]
  w = jnp.where(own, w.reshape(kh, kw, 1, c, n, m, -1), 0)
  return w.reshape(kh, kw, m * c, f)


def _without_zeros(m, w, n):
  """Undoes `_with_zeros`, whatever is in place of the zeros: [kh, kw, m c, F] -> [kh, kw, c, F]."""
  kh, kw, rows, f = w.shape
  w = w.reshape(kh, kw, m, rows // m, n, m, f // (n * m))
  return jnp.einsum('abicnif->abcnif', w).reshape(kh, kw, rows // m, f)
