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
written as products; on TPU narrow groups are joined. `_choose` decides when a program is lowered, by
the platform it is lowered for.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax import UserError, backend
from ganjax.layers import conv_forms as forms
from ganjax.layers.resample import mean_pool, upsample

Pair = int | tuple[int, int]


class Geometry(NamedTuple):
  """Static shape of a convolution: two numbers each, for height and width."""

  size: tuple[int, int]  # of x
  kernel: tuple[int, int]
  stride: tuple[int, int]
  padding: tuple[int, int]  # zeros on each side of x
  groups: int = 1  # in which channels and features are apart; w is [kh, kw, C / groups, F]

  @property
  def out(self):
    """Size of y: (size + 2 padding - kernel) // stride + 1."""
    size = zip(self.size, self.kernel, self.stride, self.padding)
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in size)


def conv(x, w, stride: Pair = 1, padding: Pair = 0, groups: int = 1):
  """Convolves x [B, H, W, C] with w [kh, kw, C, F] -> [B, h, v, F], h = (H + 2p - k) // s + 1.

  y[i, j] = sum over a, b of x[s i + a - p, s j + b - p] @ w[a, b], as torch.nn.functional.conv2d
  with its weight [F, C, kh, kw] transposed to [kh, kw, C, F]. In groups w is [kh, kw, C / groups, F], and each
  F / groups features see their own C / groups channels alone.

  Raises:
    UserError: shapes that do not fit.
  """
  if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2] * groups or w.shape[3] % groups:
    raise UserError(
      f'conv: x {x.shape} and w {w.shape} must be [B, H, W, C] and [kh, kw, C, F] with one C'
      + (f', in w divided by groups={groups}, which divide F' if groups != 1 else '')
    )
  g = Geometry(x.shape[1:3], w.shape[:2], _pair(stride), _pair(padding), groups)
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
  return _choose('strided', g, x, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transposed(g, y, w):
  return _choose('transposed', g, y, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weights(g, x, y):
  return _choose('weights', g, x, y)


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


def _choose(name, g, *args):
  """The one place that chooses a map's form, by the platform that the program is lowered for."""
  kinds = ('cpu', 'tpu') if g.groups > 1 else ('cpu',)  # each is traced, whichever it will be
  form = lambda kind: functools.partial(getattr(forms, f'{name}_{kind}'), g)
  return lax.platform_dependent(*args, **{k: form(k) for k in kinds}, default=form('lax'))


class Conv(nn.Module):
  """`conv` with `kernel` [kh, kw, C / groups, features] and `bias` [features].

  torch's Conv2d has the same output; its weight transposed by (2, 3, 1, 0) is the kernel.

  With `resample` 'up' it is that of `upsample(x)`, with 'down' its output goes through `mean_pool`
  (`layers/resample.py`; stride and groups of 1): both as one convolution of stride 2 whose kernel, one larger each way,
  holds sums of neighbouring weights. Of 3x3 that is 16 products for 4 pixels of the larger map, where it were 36. Of
  1x1 it is 4 for 1, which pays where repeating pixels and adding them up is slow.
  """

  features: int
  kernel: Pair
  stride: Pair = 1
  padding: Pair = 0
  groups: int = 1
  use_bias: bool = True
  resample: str | None = None
  dtype: Any = None  # None: that of input and parameters together
  param_dtype: Any = jnp.float32
  kernel_init: Callable = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, x):
    """[B, H, W, C] -> [B, h, v, features].

    Raises:
      UserError: shapes that do not fit, odd sides to be halved among them, or another `resample`.
    """
    plain = lambda x, w: conv(x, w, self.stride, self.padding, self.groups)
    if not self.resample:
      return _apply(self, x, (x.shape[-1] // self.groups, self.features), plain)
    channels = x.shape[-1], self.features
    if self.resample not in ('up', 'down') or self.groups > 1 or _pair(self.stride) != (1, 1):
      raise UserError("a convolution's resample is 'up' or 'down', with stride and groups of 1")
    if _pair(self.kernel) == (1, 1) and backend.has_fast_resampling():
      # They commute, so that the smaller map is convolved.
      if self.resample == 'up':
        return upsample(_apply(self, x, channels, plain))
      return _apply(self, mean_pool(x), channels, plain)
    form = {'up': _conv_of_doubled, 'down': _halved_conv}[self.resample]
    run = lambda x, w: form(x, w, _pair(self.padding))
    return _apply(self, x, channels, run, _add_neighbours)


def _add_neighbours(w):
  """w [kh, kw, C, F] -> [kh + 1, kw + 1, C, F], sums of 2 x 2: what 2 x 2 equal pixels, or their sum, make of it."""
  return sum(jnp.pad(w, [(i, 1 - i), (j, 1 - j), (0, 0), (0, 0)]) for i in (0, 1) for j in (0, 1))


def _conv_of_doubled(x, w, padding):
  """conv(upsample(x), v, 1, padding), where w is `_add_neighbours(v)`."""
  padding = tuple(k - 2 - p for k, p in zip(w.shape, padding))
  return conv_transpose(x, w[::-1, ::-1].swapaxes(2, 3), 2, padding)


def _halved_conv(x, w, padding):
  """mean_pool(conv(x, v, 1, padding)), where w is `_add_neighbours(v)`."""
  h, v = (n + 2 * p - k + 2 for n, p, k in zip(x.shape[1:3], padding, w.shape))
  if h % 2 or v % 2:
    raise UserError(f'a map of {h}x{v} pixels cannot be halved: both sides must be even')
  return conv(x, w / 4, 2, padding)


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
    run = lambda x, w: conv_transpose(x, w, self.stride, self.padding)
    return _apply(self, x, (self.features, x.shape[-1]), run)


def _apply(module, x, channels, function, alter=lambda w: w):
  """Declares a module's parameters and applies `function` to x and the altered kernel."""
  shape = (*_pair(module.kernel), *channels)
  w = alter(module.param('kernel', module.kernel_init, shape, module.param_dtype))
  zeros = nn.initializers.zeros
  b = (
    module.param('bias', zeros, (module.features,), module.param_dtype) if module.use_bias else None
  )
  x, w, b = nn.dtypes.promote_dtype(x, w, b, dtype=module.dtype)
  y = function(x, w)
  return y if b is None else y + b
