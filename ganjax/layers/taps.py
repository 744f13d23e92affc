"""Convolutions as matrix products, one for each tap of the kernel, on the pixels that it joins.

The maps and their arguments are those of `layers/conv_forms.py`, without groups; and with as many as channels.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ganjax.dtypes import wide, widen
from ganjax.layers.winograd import dot

if TYPE_CHECKING:  # which imports this
  from ganjax.layers.conv import Geometry


def by_tap(g: 'Geometry') -> bool:
  """Whether one product for each tap is best: 1x1 kernels, and those that reach far out of the image.

  A product by tap leaves out the taps that lie on the padding: 7/16 of them for 4x4, stride 2, from 4x4 to 2x2.
  """
  axes = range(len(g.size))
  touching = math.prod(sum(y.stop - y.start for _, y in _spans(g, axis)) for axis in axes)
  area = math.prod(g.kernel)
  if not touching:
    return False
  return area == 1 or area > math.prod(g.size) or touching < 0.65 * area * math.prod(g.out)


def _spans(g, axis):
  """For each tap of the kernel along an axis, the pixels of x and the pixels of y that it joins."""
  n, m, k, s, p = (field[axis] for field in (g.size, g.out, g.kernel, g.stride, g.padding))
  for a in range(k):
    start = min(max(0, -((a - p) // s)), m)
    stop = max(start, min(m, (n - 1 + p - a) // s + 1))
    first = s * start + a - p
    yield slice(first, first + s * (stop - start), s), slice(start, stop)


def taps(g: 'Geometry') -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
  """All taps that touch the image: (indices in w, index of x, index of y), the latter slices of batch and space."""
  for tap in itertools.product(*(enumerate(_spans(g, axis)) for axis in range(len(g.size)))):
    x, y = zip(*(spans for _, spans in tap))
    if all(span.start < span.stop for span in y):
      yield tuple(a for a, _ in tap), (slice(None), *x), (slice(None), *y)


def place(x: jax.Array, size: Sequence[int], spans: Sequence[slice]) -> jax.Array:
  """Puts x [B, r, c, ...] at spans of zeros [B, *size, ...]."""
  pads = [(s.start, n - s.stop) for s, n in zip(spans, size)]
  return jnp.pad(x, [(0, 0), *pads, *[(0, 0)] * (x.ndim - 1 - len(pads))])


def strided_taps(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  return _sum_taps(g, lambda tap, xs: dot(x[xs], w[tap], [x.ndim - 1], [0]), x.dtype)


def transposed_taps(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  return add_taps(g, lambda tap, ys: dot(y[ys], w[tap], [y.ndim - 1], [1]), y.dtype)


def weights_taps(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  zero = jnp.zeros((x.shape[-1], y.shape[-1]), wide(x.dtype))
  pixels = range(x.ndim - 1)
  # XLA transposes the first factor of a product over pixels, and computes it there once more: so the narrower is first.
  if y.shape[-1] < x.shape[-1]:
    product = lambda x, y: dot(y, x, pixels, pixels).T
  else:
    product = lambda x, y: dot(x, y, pixels, pixels)
  parts = {tap: product(x[xs], y[ys]) for tap, xs, ys in taps(g)}
  w = jnp.stack([parts.get(tap, zero) for tap in itertools.product(*map(range, g.kernel))])
  return w.reshape(*g.kernel, *zero.shape).astype(x.dtype)


def strided_columns(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  """All taps in one product, of all pixels of x, then summed where they meet."""
  x = jnp.pad(x, [(0, 0), *((p, p) for p in g.padding), (0, 0)])
  columns = dot(x, w, [x.ndim - 1], [w.ndim - 2])  # [B, H + 2 p, W + 2 p, kh, kw, F]
  taps = itertools.product(*map(range, g.kernel))
  parts = (columns[_window(g, tap)][..., *tap, :] for tap in taps)
  return functools.reduce(operator.add, parts).astype(w.dtype)


def transposed_columns(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  """All taps in one product."""
  columns = dot(y, w, [y.ndim - 1], [w.ndim - 1])  # [B, h, v, kh, kw, C]
  return add_taps(g, lambda tap, ys: columns[*ys, *tap], y.dtype)


def weights_columns(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  """All taps in one product, of stride 1: beside each pixel of x all of y that it is joined with."""
  x = jnp.pad(x, [(0, 0), *((p, p) for p in g.padding), (0, 0)])
  spans = lambda tap: [slice(a, a + m) for a, m in zip(tap, g.out)]
  taps = itertools.product(*map(range, g.kernel))
  seen = jnp.stack([place(y, x.shape[1:-1], spans(tap)) for tap in taps], -2)
  pixels = range(x.ndim - 1)
  w = dot(x, seen, pixels, pixels)  # [C, kh kw, F]
  return jnp.moveaxis(w, 0, 1).reshape(*g.kernel, x.shape[-1], -1).astype(x.dtype)


def _sum_taps(g, product, dtype):
  """Sums what each tap adds to y, at the pixels that it touches."""
  parts = [place(product(tap, xs), g.out, ys[1:]) for tap, xs, ys in taps(g)]
  return functools.reduce(operator.add, parts).astype(dtype)


def add_taps(
  g: 'Geometry',
  product: Callable[[tuple[int, ...], tuple[slice, ...]], jax.Array],
  dtype: jax.typing.DTypeLike,
) -> jax.Array:
  """Sums what each tap adds to x: within each of the s x s phases of x taps are shifted without gaps."""
  size = [-(-n // s) for n, s in zip(g.size, g.stride)]
  phases = {}
  for tap, xs, ys in taps(g):
    part = product(tap, ys)
    starts = [x.start // s for x, s in zip(xs[1:], g.stride)]
    part = place(part, size, [slice(i, i + n) for i, n in zip(starts, part.shape[1:])])
    phase = tuple(x.start % s for x, s in zip(xs[1:], g.stride))
    phases[phase] = phases[phase] + part if phase in phases else part
  zero = jnp.zeros_like(part)
  x = [phases.get(phase, zero) for phase in itertools.product(*map(range, g.stride))]
  return _interleave(g, x).astype(dtype)


def _interleave(g, phases):
  """x of its phases, [B, ceil(size / stride), ..., C] each, the last axis' first."""
  first, axes = phases[0], len(g.size)
  for axis in range(axes, 0, -1):  # puts the phases of an axis behind its pixels
    s = g.stride[axis - 1]
    phases = [jnp.stack(phases[i : i + s], axis + 1) for i in range(0, len(phases), s)]
  sides = [n * s for n, s in zip(first.shape[1:], g.stride)]
  x = phases[0].reshape(first.shape[0], *sides, *first.shape[1 + axes :])
  return x[:, *map(slice, g.size)]


# Depthwise: each channel has a kernel of its own, w [kh, kw, 1, C]. What is summed up is padded once, so that each tap
# sees a slice of it, and XLA's CPU code is one loop; padding each part makes it several times slower.


def strided_depthwise(g: 'Geometry', x: jax.Array, w: jax.Array) -> jax.Array:
  x = jnp.pad(x, [(0, 0), *((p, p) for p in g.padding), (0, 0)])
  parts = (x[_window(g, tap)] * w[tap][0] for tap in itertools.product(*map(range, g.kernel)))
  return functools.reduce(operator.add, parts)


def transposed_depthwise(g: 'Geometry', y: jax.Array, w: jax.Array) -> jax.Array:
  # Pixel s j + r of x meets pixel j + (r + p - a) / s of y by the taps a for which that is whole.
  axes = list(zip(g.size, g.out, g.kernel, g.stride, g.padding))
  before = [max(-((p - k + 1) // s), 0) for _, _, k, s, p in axes]
  sizes = [-(-n // s) for n, _, _, s, _ in axes]
  after = [max(size - m + (s - 1 + p) // s, 0) for size, (_, m, _, s, p) in zip(sizes, axes)]
  y = jnp.pad(y, [(0, 0), *zip(before, after), (0, 0)])
  phases = []
  for phase in itertools.product(*map(range, g.stride)):
    parts = []
    for tap in itertools.product(*map(range, g.kernel)):
      at = [r + p - a for r, a, (*_, p) in zip(phase, tap, axes)]
      if all(n % s == 0 for n, s in zip(at, g.stride)):
        starts = [b + n // s for b, n, s in zip(before, at, g.stride)]
        parts.append(y[:, *(slice(i, i + n) for i, n in zip(starts, sizes))] * w[tap][0])
    zeros = jnp.zeros((y.shape[0], *sizes, y.shape[-1]), y.dtype)
    phases.append(functools.reduce(operator.add, parts) if parts else zeros)
  return _interleave(g, phases)


def weights_depthwise(g: 'Geometry', x: jax.Array, y: jax.Array) -> jax.Array:
  x = widen(jnp.pad(x, [(0, 0), *((p, p) for p in g.padding), (0, 0)]))
  pixels = tuple(range(x.ndim - 1))
  taps = itertools.product(*map(range, g.kernel))
  w = jnp.stack([jnp.sum(x[_window(g, tap)] * y, pixels) for tap in taps])
  return w.reshape(*g.kernel, 1, -1).astype(y.dtype)


def _window(g, tap):
  """Index of the pixels of padded x that a tap joins with all of y."""
  spans = zip(tap, g.stride, g.out)
  return slice(None), *(slice(a, a + s * (m - 1) + 1, s) for a, s, m in spans)
