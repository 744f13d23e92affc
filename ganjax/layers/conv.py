"""Strided and transposed convolutions whose gradients, of every order, are fast on every back end.

One trilinear form, sum(y * S(x, w)), defines three bilinear maps that are closed under
differentiation (Dumoulin and Visin, arXiv:1603.07285, section 4, for the geometry):

  S(x, w)  strided convolution                  x [B, H, W, C], w [kh, kw, C, F] -> y [B, h, v, F]
  T(y, w)  its adjoint in x, the transposed convolution                          -> x [B, H, W, C]
  W(x, y)  its adjoint in w, the gradient of the weights                     -> w [kh, kw, C, F]

Each one's vector-Jacobian product is the other two, so a gradient penalty (a second derivative)
meets the same three maps. They have reverse mode only (`jax.grad`, `jax.vjp`, `jax.vmap` of
either); `jax.jvp` raises.

Everywhere they are `lax.conv_general_dilated`, but on CPU, where XLA's transposed convolutions and
those of small images are up to 50 times slower than the matrix products they stand for, these are
written as products. `_choose` decides when a program is lowered, by the platform it is lowered for.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax import UserError

Pair = int | tuple[int, int]


class Geometry(NamedTuple):
  """Static shape of a convolution: two numbers each, for height and width."""

  size: tuple[int, int]  # of x
  kernel: tuple[int, int]
  stride: tuple[int, int]
  padding: tuple[int, int]  # zeros on each side of x

  @property
  def out(self):
    """Size of y: (size + 2 padding - kernel) // stride + 1."""
    size = zip(self.size, self.kernel, self.stride, self.padding)
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in size)


def conv(x, w, stride: Pair = 1, padding: Pair = 0):
  """Convolves x [B, H, W, C] with w [kh, kw, C, F] -> [B, h, v, F], h = (H + 2p - k) // s + 1.

  y[i, j] = sum over a, b of x[s i + a - p, s j + b - p] @ w[a, b], as torch.nn.functional.conv2d
  with its weight [F, C, kh, kw] transposed to [kh, kw, C, F].

  Raises:
    UserError: shapes that do not fit.
  """
  if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2]:
    raise UserError(
      f'conv: x {x.shape} and w {w.shape} must be [B, H, W, C] and [kh, kw, C, F] with one C'
    )
  g = Geometry(x.shape[1:3], w.shape[:2], _pair(stride), _pair(padding))
  if min(g.out) < 1:
    raise UserError(f'conv: an image of {g.size} is smaller than the kernel: {g}')
  return _strided(g, x, w)


def conv_transpose(y, w, stride: Pair = 1, padding: Pair = 0):
  """Transposed convolution of y [B, h, v, I] with w [kh, kw, O, I] -> [B, H, W, O].

  H = (h - 1) s + k - 2p. x[s i + a - p, s j + b - p] += w[a, b] @ y[i, j], no flip: it is the adjoint
  of `conv` with the same w, and torch.nn.functional.conv_transpose2d with its weight [I, O, kh, kw]
  transposed to [kh, kw, O, I].

  Raises:
    UserError: shapes that do not fit.
  """
  if y.ndim != 4 or w.ndim != 4 or y.shape[3] != w.shape[3]:
    raise UserError(
      f'conv_transpose: y {y.shape} and w {w.shape} must be [B, h, v, I] and [kh, kw, O, I]'
      ' with one I'
    )
  kernel, stride, padding = w.shape[:2], _pair(stride), _pair(padding)
  sides = zip(y.shape[1:3], kernel, stride, padding)
  size = tuple((n - 1) * s + k - 2 * p for n, k, s, p in sides)
  if min(size) < 1:
    raise UserError(f'conv_transpose: padding {padding} leaves nothing of the output: {size}')
  return _transposed(Geometry(size, kernel, stride, padding), y, w)


def _pair(value: Pair) -> tuple[int, int]:
  return (value, value) if isinstance(value, int) else tuple(value)


# The three maps. Each rule names the other two.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _strided(g, x, w):
  return _choose(_strided_cpu, _strided_lax, g, x, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transposed(g, y, w):
  return _choose(_transposed_cpu, _transposed_lax, g, y, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weights(g, x, y):
  return _choose(_weights_cpu, _weights_lax, g, x, y)


def _forward(f):
  return lambda g, a, b: (f(g, a, b), (a, b))


_strided.defvjp(
  _forward(_strided), lambda g, xw, y: (_transposed(g, y, xw[1]), _weights(g, xw[0], y))
)
_transposed.defvjp(
  _forward(_transposed), lambda g, yw, x: (_strided(g, x, yw[1]), _weights(g, x, yw[0]))
)
_weights.defvjp(
  _forward(_weights), lambda g, xy, w: (_transposed(g, xy[1], w), _strided(g, xy[0], w))
)


def _choose(cpu, native, g, *args):
  """The one place that chooses: `cpu` where the program is lowered for CPU, `native` elsewhere."""
  pick = lambda form: functools.partial(form, g)
  return lax.platform_dependent(*args, cpu=pick(cpu), default=pick(native))


# Native forms.


def _strided_lax(g, x, w):
  pads = [(p, p) for p in g.padding]
  return lax.conv_general_dilated(x, w, g.stride, pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _transposed_lax(g, y, w):
  pads = [
    (k - 1 - p, n + p - (s * (m - 1) + 1))
    for n, m, k, s, p in zip(g.size, g.out, g.kernel, g.stride, g.padding)
  ]
  return lax.conv_general_dilated(
    y, w[::-1, ::-1], (1, 1), pads, g.stride, dimension_numbers=('NHWC', 'HWOI', 'NHWC')
  )


def _weights_lax(g, x, y):
  pads = [
    (p, k - 1 + s * (m - 1) + 1 - n - p)
    for n, m, k, s, p in zip(g.size, g.out, g.kernel, g.stride, g.padding)
  ]
  return lax.conv_general_dilated(
    x, y, (1, 1), pads, rhs_dilation=g.stride, dimension_numbers=('CHWN', 'IHWO', 'HWNC')
  )


# CPU forms. What they avoid, by jax 0.10 on 2 cores at batch 64: XLA leaves its fast path where the
# kernel is larger than the image (5x5 on 4x4, 128 to 256 channels: 83 ms for 2.5), also in a transposed
# convolution (4x4 on 2x2, 512 to 256 channels: 231 ms for 3.5); 3 channels take 4 times as long as 4.


def _strided_cpu(g, x, w):
  if _by_tap(g):
    return _strided_taps(g, x, w)
  spare = -x.shape[3] % 4 if x.shape[3] < 8 else 0
  x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, spare)))
  return _strided_lax(g, x, jnp.pad(w, ((0, 0), (0, 0), (0, spare), (0, 0))))


def _transposed_cpu(g, y, w):
  if _by_tap(g):
    return _add_taps(g, lambda a, b, rows, cols: _dot(y[:, rows, cols], w[a, b], [3], [1]), y, w)
  if g.stride == (1, 1) and math.prod(g.kernel) <= math.prod(g.out):
    return _transposed_lax(g, y, w)
  columns = _dot(y, w, [3], [3])  # [B, h, v, kh, kw, C]: all taps in one product
  return _add_taps(g, lambda a, b, rows, cols: columns[:, rows, cols, a, b], y, w)


def _weights_cpu(g, x, y):
  return _weights_taps(g, x, y) if _by_tap(g) else _weights_lax(g, x, y)


def _by_tap(g):
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


def _dot(a, b, i, j):
  """Contracts axes i of a with axes j of b; the result is float32 at least."""
  wide = jnp.promote_types(a.dtype, jnp.float32)
  return lax.dot_general(a, b, ((i, j), ((), ())), preferred_element_type=wide)


def _place(x, size, rows, cols):
  """Puts x [B, r, c, C] at rows and columns of zeros [B, *size, C]."""
  pads = ((s.start, n - s.stop) for s, n in zip((rows, cols), size))
  return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def _strided_taps(g, x, w):
  parts = [
    _place(_dot(x[:, xr, xc], w[a, b], [3], [0]), g.out, yr, yc)
    for a, b, xr, xc, yr, yc in _taps(g)
  ]
  return sum(parts[1:], parts[0]).astype(x.dtype)


def _weights_taps(g, x, y):
  wide = jnp.promote_types(x.dtype, jnp.float32)
  zero = jnp.zeros((x.shape[3], y.shape[3]), wide)
  parts = {
    (a, b): _dot(x[:, xr, xc], y[:, yr, yc], [0, 1, 2], [0, 1, 2])
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
  zero = jnp.zeros((len(y), n, m, w.shape[2]), y.dtype)
  x = jnp.stack([jnp.stack([phases.get((i, j), zero) for j in range(t)], 3) for i in range(s)], 2)
  x = x.reshape(len(y), n * s, m * t, w.shape[2])
  return x[:, : g.size[0], : g.size[1]].astype(y.dtype)


class Conv(nn.Module):
  """`conv` with `kernel` [kh, kw, C, features] and `bias` [features].

  torch's Conv2d has the same output; its weight transposed by (2, 3, 1, 0) is the kernel.
  """

  features: int
  kernel: Pair
  stride: Pair = 1
  padding: Pair = 0
  use_bias: bool = True
  dtype: Any = None  # None: that of input and parameters together
  param_dtype: Any = jnp.float32
  kernel_init: Callable = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, x):
    """[B, H, W, C] -> [B, h, v, features]."""
    return _apply(self, x, (x.shape[-1], self.features), conv)


class ConvTranspose(nn.Module):
  """`conv_transpose` with `kernel` [kh, kw, features, C] and `bias` [features].

  torch's ConvTranspose2d has the same output; its weight transposed by (2, 3, 1, 0) is the kernel.
  Mind the order in initializers: the input is the last axis.
  """

  features: int
  kernel: Pair
  stride: Pair = 1
  padding: Pair = 0
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: Callable = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)

  @nn.compact
  def __call__(self, x):
    """[B, h, v, C] -> [B, H, W, features]."""
    return _apply(self, x, (self.features, x.shape[-1]), conv_transpose)


def _apply(module, x, channels, function):
  """Declares a module's parameters and applies `function` to x."""
  shape = (*_pair(module.kernel), *channels)
  w = module.param('kernel', module.kernel_init, shape, module.param_dtype)
  zeros = nn.initializers.zeros
  b = (
    module.param('bias', zeros, (module.features,), module.param_dtype) if module.use_bias else None
  )
  x, w, b = nn.dtypes.promote_dtype(x, w, b, dtype=module.dtype)
  y = function(x, w, module.stride, module.padding)
  return y if b is None else y + b
