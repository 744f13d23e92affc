"""Strided and transposed convolutions whose gradients, of every order, are fast on every back end.

One trilinear form, sum(y * S(x, w)), defines three bilinear maps that are closed under
differentiation (Dumoulin and Visin, arXiv:1603.07285, section 4, for the geometry):

  S(x, w)  strided convolution                  x [B, H, W, C], w [kh, kw, C, F] -> y [B, h, v, F]
  T(y, w)  its adjoint in x, the transposed convolution                          -> x [B, H, W, C]
  W(x, y)  its adjoint in w, the gradient of the weights                     -> w [kh, kw, C, F]

Each one's vector-Jacobian product is the other two, so a gradient penalty (a second derivative)
meets the same three maps. They have reverse mode only (`jax.grad`, `jax.vjp`, `jax.vmap` of
either); `jax.jvp` raises.

On CPU, XLA's convolutions are up to 50 times slower than the matrix product they stand for, so there
the maps are written as products; elsewhere they are `lax.conv_general_dilated`. `_choose` decides
when a program is lowered, from the platform it is lowered for.
"""

import functools
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
  """Transposed convolution of y [B, h, v, I] with w [kh, kw, I, O] -> [B, H, W, O].

  H = (h - 1) s + k - 2p. x[s i + a - p, s j + b - p] += y[i, j] @ w[a, b]: no flip of the kernel,
  as torch.nn.functional.conv_transpose2d with its weight [I, O, kh, kw] transposed to
  [kh, kw, I, O].

  Raises:
    UserError: shapes that do not fit.
  """
  if y.ndim != 4 or w.ndim != 4 or y.shape[3] != w.shape[2]:
    raise UserError(
      f'conv_transpose: y {y.shape} and w {w.shape} must be [B, h, v, I] and [kh, kw, I, O]'
      ' with one I'
    )
  kernel, stride, padding = w.shape[:2], _pair(stride), _pair(padding)
  size = tuple(
    (n - 1) * s + k - 2 * p for n, k, s, p in zip(y.shape[1:3], kernel, stride, padding)
  )
  if min(size) < 1:
    raise UserError(f'conv_transpose: padding {padding} leaves nothing of the output: {size}')
  return _transposed(Geometry(size, kernel, stride, padding), y, w.swapaxes(2, 3))


def _pair(value: Pair) -> tuple[int, int]:
  return (value, value) if isinstance(value, int) else tuple(value)


# The three maps. Each rule names the other two.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _strided(g, x, w):
  return _choose(functools.partial(_strided_product, g), functools.partial(_strided_lax, g), x, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transposed(g, y, w):
  return _choose(
    functools.partial(_transposed_product, g), functools.partial(_transposed_lax, g), y, w
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weights(g, x, y):
  return _choose(functools.partial(_weights_product, g), functools.partial(_weights_lax, g), x, y)


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


def _choose(product, native, *args):
  """Runs `product` where the program is lowered for CPU, `native` elsewhere."""
  return lax.platform_dependent(*args, cpu=product, default=native)


# Native forms.


def _strided_lax(g, x, w):
  pads = [(p, p) for p in g.padding]
  return lax.conv_general_dilated(
    x, w, g.stride, pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


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


# Products.


def _taps(g, x):
  """x [B, H, W, C] -> the pixels under each tap of the kernel, kh x kw arrays [B, h, v, C]."""
  xp = jnp.pad(x, ((0, 0), *((p, p) for p in g.padding), (0, 0)))
  rows, cols = ((m - 1) * s + 1 for m, s in zip(g.out, g.stride))
  return [
    xp[:, a : a + rows : g.stride[0], b : b + cols : g.stride[1]]
    for a in range(g.kernel[0])
    for b in range(g.kernel[1])
  ]


def _strided_product(g, x, w):
  return jnp.concatenate(_taps(g, x), -1) @ w.reshape(-1, w.shape[-1])


def _weights_product(g, x, y):
  taps = jnp.concatenate(_taps(g, x), -1)
  taps = taps.reshape(-1, taps.shape[-1])
  # The smaller factor is transposed in memory first: XLA's product of two transposed factors is half as fast.
  y_t = lax.optimization_barrier(y.reshape(-1, y.shape[-1]).T)
  return (y_t @ taps).T.reshape(*g.kernel, x.shape[-1], y.shape[-1])


def _transposed_product(g, y, w):
  """One product for all taps, then each of the s x s phases of x is the sum of its own taps, shifted."""
  taps = jnp.tensordot(y, w, ((3,), (3,)))  # [B, h, v, kh, kw, C]
  rows, cols = (
    [
      [(a, (a - p - r) // s) for a in range(k) if (a - p - r) % s == 0]  # x[s (i + shift) + r] += tap a of y[i]
      for r in range(s)
    ]
    for k, s, p in zip(g.kernel, g.stride, g.padding)
  )
  n, m = (-(-size // s) for size, s in zip(g.size, g.stride))

  def phase(row, col):
    shifted = [
      lax.pad(
        taps[:, :, :, a, b],
        jnp.zeros((), taps.dtype),
        ((0, 0, 0), (i, n - g.out[0] - i, 0), (j, m - g.out[1] - j, 0), (0, 0, 0)),
      )
      for a, i in row
      for b, j in col
    ]
    return sum(shifted[1:], shifted[0]) if shifted else jnp.zeros((len(y), n, m, taps.shape[-1]), taps.dtype)

  x = jnp.stack([jnp.stack([phase(row, col) for col in cols], 3) for row in rows], 2)
  return x.reshape(len(y), n * g.stride[0], m * g.stride[1], -1)[:, : g.size[0], : g.size[1]]


class Conv(nn.Module):
  """Convolution, `kernel` [kh, kw, C, features] and `bias` [features]; see `conv`."""

  features: int
  kernel: Pair
  stride: Pair = 1
  padding: Pair = 0
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: Callable = nn.initializers.lecun_normal()
  apply_kernel = staticmethod(conv)

  @nn.compact
  def __call__(self, x):
    """[B, H, W, C] -> [B, h, v, features]."""
    shape = (*_pair(self.kernel), x.shape[-1], self.features)
    w = self.param('kernel', self.kernel_init, shape, self.param_dtype)
    b = None
    if self.use_bias:
      b = self.param('bias', nn.initializers.zeros, (self.features,), self.param_dtype)
    x, w, b = nn.dtypes.promote_dtype(x, w, b, dtype=self.dtype)
    y = self.apply_kernel(x, w, self.stride, self.padding)
    return y if b is None else y + b


class ConvTranspose(Conv):
  """Transposed convolution, `kernel` [kh, kw, C, features]; see `conv_transpose`."""

  apply_kernel = staticmethod(conv_transpose)
