"""Strided and transposed convolutions whose derivatives, of every order, are fast on every back end.

One trilinear form, sum(y * S(x, w)), defines three bilinear maps that are closed under
differentiation (Dumoulin and Visin, arXiv:1603.07285, section 4, for the geometry). For pictures:

  S(x, w)  strided convolution                  x [B, H, W, C], w [kh, kw, C, F] -> y [B, h, v, F]
  T(y, w)  its adjoint in x, the transposed convolution                          -> x [B, H, W, C]
  W(x, y)  its adjoint in w, the gradient of the weights                     -> w [kh, kw, C, F]

Sound has one axis in place of two, [B, H, C] and [k, C, F], solids and clips have three: the input tells.

The transposes of each map are the other two maps. Its derivative in a direction is a sum of two terms: the map with
one factor replaced by its direction. So gradient penalties, Hessian-vector products and `jax.vmap` need only these
three maps, in forward and in reverse mode. The maps are primitives of JAX; their rules are stated below.

Each primitive has one form per platform, chosen when a program is lowered. The common form is
`lax.conv_general_dilated`. On CPU, XLA's transposed convolutions and convolutions of small images are up to 50 times
slower than the equivalent matrix products, so there the forms are products. On TPU narrow groups are joined.
`jax.default_matmul_precision` is read when a program is lowered, too.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ganjax import UserError
from ganjax.devices import backend
from ganjax.layers import conv_forms as forms
from ganjax.layers.resample import mean_pool, upsample

Sizes = int | tuple[int, ...]  # the same for all spatial axes, or one for each


class Geometry(NamedTuple):
  """Static shape of a convolution: a number for each spatial axis."""

  size: tuple[int, ...]  # of x
  kernel: tuple[int, ...]
  stride: tuple[int, ...]
  padding: tuple[int, ...]  # zeros on each side of x
  groups: int = 1  # in which channels and features are apart; w is [kh, kw, C / groups, F]

  @property
  def out(self) -> tuple[int, ...]:
    """Size of y: (size + 2 padding - kernel) // stride + 1."""
    size = zip(self.size, self.kernel, self.stride, self.padding)
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in size)


def conv(
  x: jax.Array, w: jax.Array, stride: Sizes = 1, padding: Sizes = 0, groups: int = 1
) -> jax.Array:
  """Convolves x [B, H, W, C] with w [kh, kw, C, F] -> [B, h, v, F], h = (H + 2p - k) // s + 1.

  y[i, j] = sum over a, b of x[s i + a - p, s j + b - p] @ w[a, b], as torch.nn.functional.conv2d
  with its weight [F, C, kh, kw] transposed to [kh, kw, C, F]; as conv1d and conv3d with one and three axes. In groups
  w is [kh, kw, C / groups, F], and each F / groups features see their own C / groups channels alone.

  TensorFlow's padding SAME is this one where k - s is even and s divides H: p = (k - s) / 2. Where k - s is odd, SAME
  puts one more zero after the image than before it: pad x by `jnp.pad`, and convolve it with a padding of 0.

  Raises:
    UserError: shapes that do not fit.
  """
  axes = x.ndim - 2
  if w.ndim != x.ndim or axes < 1 or x.shape[-1] != w.shape[-2] * groups or w.shape[-1] % groups:
    raise UserError(
      f'conv: x {x.shape} and w {w.shape} must be [B, H, W, C] and [kh, kw, C, F] with one C'
      + (f', in w divided by groups={groups}, which divide F' if groups != 1 else '')
      + '; [B, H, C] and [k, C, F] for one axis, and so on'
    )
  stride, padding = _sizes(stride, axes), _sizes(padding, axes)
  g = Geometry(x.shape[1:-1], w.shape[:-2], stride, padding, groups)
  if min(g.out) < 1:
    raise UserError(f'conv: an image of {g.size} is smaller than the kernel: {g}')
  return _strided(g, x, w)


def conv_transpose(
  y: jax.Array, w: jax.Array, stride: Sizes = 1, padding: Sizes = 0, extra: Sizes = 0
) -> jax.Array:
  """Transposed convolution of y [B, h, v, I] with w [kh, kw, O, I] -> [B, H, W, O], H = (h - 1) s + k - 2p + extra.

  x[s i + a - p, s j + b - p] += w[a, b] @ y[i, j], no flip: it is the adjoint
  of `conv` with the same w, and torch.nn.functional.conv_transpose2d with its weight [I, O, kh, kw]
  transposed to [kh, kw, O, I]; `extra` is its output_padding: so many of the s - 1 pixels more that `conv` does not
  see. One and three axes as in `conv`.

  TensorFlow's conv2d_transpose with padding SAME, H = h s, is this one with p = (k - s) / 2 where k - s is even.
  Where it is odd, p is (k - s - 1) / 2, and the last row and column are left out. (WaveGAN: 25 taps of stride 4, so
  that p is 10, and one of H + 1 samples is left out. With p = 11 and extra = 1 all are shifted by one.)

  Raises:
    UserError: shapes that do not fit.
  """
  axes = y.ndim - 2
  if w.ndim != y.ndim or axes < 1 or y.shape[-1] != w.shape[-1]:
    raise UserError(
      f'conv_transpose: y {y.shape} and w {w.shape} must be [B, h, v, I] and [kh, kw, O, I]'
      ' with one I; [B, h, I] and [k, O, I] for one axis, and so on'
    )
  kernel, (stride, padding, extra) = (
    w.shape[:-2],
    (_sizes(v, axes) for v in (stride, padding, extra)),
  )
  if not all(0 <= e < s for e, s in zip(extra, stride)):
    raise UserError(
      f'conv_transpose: extra {extra} must be at least 0 and below the stride {stride}'
    )
  sides = zip(y.shape[1:-1], kernel, stride, padding, extra)
  size = tuple((n - 1) * s + k - 2 * p + e for n, k, s, p, e in sides)
  if min(size) < 1:
    raise UserError(f'conv_transpose: padding {padding} leaves nothing of the output: {size}')
  return _transposed(Geometry(size, kernel, stride, padding), y, w)


def depthwise_transpose(
  y: jax.Array, w: jax.Array, stride: Sizes, padding: Sizes, sides: Sizes
) -> jax.Array:
  """The adjoint of `conv` in as many groups as channels: y [B, h, v, C] with w [kh, kw, 1, C] -> [B, *sides, C]."""
  axes, channels = y.ndim - 2, y.shape[-1]
  stride, padding, sides = (_sizes(v, axes) for v in (stride, padding, sides))
  return _transposed(Geometry(sides, w.shape[:-2], stride, padding, channels), y, w)


def _sizes(value: Sizes, axes: int) -> tuple[int, ...]:
  value = (value,) * axes if isinstance(value, int) else tuple(value)
  if len(value) != axes:
    raise UserError(f'{value} must be a number, or one for each of the {axes} spatial axes')
  return value


# The three maps, (geometry, two arrays) -> array. In front of all axes there may be one more, of problems apart.


def _strided(g, x, w):
  return _STRIDED.bind(x, w, geometry=g)


def _transposed(g, y, w):
  return _TRANSPOSED.bind(y, w, geometry=g)


def _weights(g, x, y):
  return _WEIGHTS.bind(x, y, geometry=g)


def _define(name, shape, first, second, joins) -> Primitive:
  """A map as a primitive.

  Args:
    name: of its forms, in `conv_forms.py`.
    shape: (geometry, two shapes without batch and problems) -> the output's last axes.
    first, second: (geometry, cotangent, the other factor) -> its transposes, in the first and the second factor.
    joins: for each factor the axis that `jax.vmap` of this factor alone makes longer, and the output's.
  """
  primitive = Primitive(f'conv_{name}')

  def output(a, b, *, geometry):
    if a.dtype != b.dtype:
      raise TypeError(f'a convolution takes factors of one dtype, not {a.dtype} and {b.dtype}')
    apart = a.shape[:1] if _problems(geometry, a) else ()
    return a.update(shape=apart + shape(geometry, a.shape, b.shape), weak_type=False)

  def lower(kind):
    def run(a, b, *, geometry):
      form = functools.partial(getattr(forms, f'{name}_{kind}'), geometry)
      return (jax.vmap(form) if _problems(geometry, a) else form)(a, b)

    return mlir.lower_fun(run, multiple_results=False)

  primitive.def_abstract_eval(output)
  primitive.def_impl(jax.jit(primitive.bind, static_argnames='geometry'))
  ad.defbilinear(
    primitive,
    lambda ct, a, b, geometry: first(geometry, ct, b),
    lambda ct, a, b, geometry: second(geometry, ct, a),
  )
  batching.primitive_batchers[primitive] = functools.partial(_batch, primitive, joins)
  mlir.register_lowering(primitive, lower('lax'))
  for platform in ('cpu', 'tpu'):
    mlir.register_lowering(primitive, lower(platform), platform=platform)
  return primitive


def _problems(g, a):
  return a.ndim > len(g.size) + 2


def _batch(primitive, joins, args, dims, *, geometry):
  """The rule of `jax.vmap`. One batched factor: more images, channels or features. Both: separate problems."""
  g = geometry
  rank = len(g.size) + 2
  size = next(a.shape[i] for a, i in zip(args, dims) if i is not None)
  mapped = [i for i in (0, 1) if dims[i] is not None]
  axis, out_axis = (-rank if i is None else i for i in joins[mapped[0]])
  if len(mapped) == 1 and (g.groups == 1 or axis == -rank):
    # Behind the axis that is there: a batch that lies on several devices stays where it is.
    a = args[mapped[0]]
    at = a.ndim + axis
    a = jnp.moveaxis(a, dims[mapped[0]], at)
    a = a.reshape(*a.shape[: at - 1], a.shape[at - 1] * size, *a.shape[at + 1 :])
    y = primitive.bind(*(a if i in mapped else b for i, b in enumerate(args)), geometry=g)
    at = y.ndim + out_axis
    return y.reshape(*y.shape[:at], y.shape[at] // size, size, *y.shape[at + 1 :]), at + 1
  args = [
    jnp.broadcast_to(a, (size, *a.shape)) if i is None else jnp.moveaxis(a, i, 0)
    for a, i in zip(args, dims)
  ]
  if args[0].ndim == rank + 1:
    return primitive.bind(*args, geometry=g), 0
  n = args[0].shape[1]
  y = primitive.bind(*(a.reshape(size * n, *a.shape[2:]) for a in args), geometry=g)
  return y.reshape(size, n, *y.shape[1:]), 0


# The last axes of each output, what its transposes are, and what `jax.vmap` makes longer (None: the batch).
_STRIDED = _define(
  'strided',
  lambda g, x, w: (x[-len(g.size) - 2], *g.out, w[-1]),
  _transposed,
  lambda g, y, x: _weights(g, x, y),
  ((None, None), (-1, -1)),
)
_TRANSPOSED = _define(
  'transposed',
  lambda g, y, w: (y[-len(g.size) - 2], *g.size, w[-2] * g.groups),
  _strided,
  _weights,
  ((None, None), (-2, -1)),
)
_WEIGHTS = _define(
  'weights',
  lambda g, x, y: (*g.kernel, x[-1] // g.groups, y[-1]),
  lambda g, w, y: _transposed(g, y, w),
  lambda g, w, x: _strided(g, x, w),
  ((-1, -2), (-1, -1)),
)


class Conv(nn.Module):
  """`conv` with `kernel` [kh, kw, C / groups, features] and `bias` [features], over as many axes as the input has.

  torch's Conv1d, Conv2d and Conv3d have the same output; their weight transposed by (2, 1, 0), (2, 3, 1, 0) and
  (2, 3, 4, 1, 0) is the kernel. A kernel, stride or padding that is one number holds for all axes.

  `outside` is what surrounds the image: zeros by default, or a mode of jnp.pad. 'reflect' mirrors the image at its
  outermost pixels, as torch's padding_mode='reflect' and CycleGAN (arXiv:1703.10593, section 7.2) do.

  `resample='up'` convolves `upsample(x)`; `resample='down'` returns `mean_pool` of the output (`layers/resample.py`;
  stride 1 and no groups). Both are computed as one convolution of stride 2 whose kernel is one larger each way and
  holds sums of neighbouring weights. For 3x3 kernels this is 16 products per 4 pixels of the larger map in place of
  36. For 1x1 kernels it is 4 in place of 1, which is faster where repeating and adding pixels is slow.
  """

  features: int
  kernel: Sizes
  stride: Sizes = 1
  padding: Sizes = 0
  groups: int = 1
  use_bias: bool = True
  resample: str | None = None
  outside: str = 'constant'
  dtype: jax.typing.DTypeLike | None = None  # None: that of input and parameters together
  param_dtype: jax.typing.DTypeLike = jnp.float32
  kernel_init: Callable = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, h, v, features]; [B, H, C] -> [B, h, features], and so on.

    Raises:
      UserError: shapes that do not fit, odd sides to be halved among them, or another `resample`.
    """
    axes, channels = x.ndim - 2, (x.shape[-1] // self.groups, self.features)
    stride, kernel, padding = (_sizes(v, axes) for v in (self.stride, self.kernel, self.padding))

    def plain(x, w):
      if self.outside == 'constant':
        return conv(x, w, stride, padding, self.groups)
      x = jnp.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)), self.outside)
      return conv(x, w, stride, 0, self.groups)

    if not self.resample:
      return _apply(self, x, channels, plain)
    mixed = self.groups > 1 or max(stride) > 1 or self.outside != 'constant'
    if self.resample not in ('up', 'down') or mixed:
      raise UserError(
        "a convolution's resample is 'up' or 'down', with stride and groups of 1, and zeros outside"
      )
    if max(kernel) == 1 and backend.has_fast_resampling():
      # They commute, so that the smaller map is convolved.
      if self.resample == 'up':
        return upsample(_apply(self, x, channels, plain))
      return _apply(self, mean_pool(x), channels, plain)
    form = {'up': conv_of_doubled, 'down': halved_conv}[self.resample]
    return _apply(self, x, channels, lambda x, w: form(x, w, padding), add_neighbours)


def add_neighbours(w: jax.Array) -> jax.Array:
  """w [kh, kw, C, F] -> [kh + 1, kw + 1, C, F], sums of 2 x 2: what 2 x 2 equal pixels, or their sum, make of it."""
  shifts = itertools.product((0, 1), repeat=w.ndim - 2)
  return sum(jnp.pad(w, [*((i, 1 - i) for i in shift), (0, 0), (0, 0)]) for shift in shifts)


def conv_of_doubled(x: jax.Array, w: jax.Array, padding: tuple[int, ...]) -> jax.Array:
  """conv(upsample(x), v, 1, padding), where w is `add_neighbours(v)`."""
  padding = tuple(k - 2 - p for k, p in zip(w.shape, padding))
  return conv_transpose(x, jnp.flip(w, range(w.ndim - 2)).swapaxes(-1, -2), 2, padding)


def halved_conv(x: jax.Array, w: jax.Array, padding: tuple[int, ...]) -> jax.Array:
  """mean_pool(conv(x, v, 1, padding)), where w is `add_neighbours(v)`."""
  sides = [n + 2 * p - k + 2 for n, p, k in zip(x.shape[1:-1], padding, w.shape)]
  if any(n % 2 for n in sides):
    sides = 'x'.join(map(str, sides))
    raise UserError(f'a map of {sides} pixels cannot be halved: all sides must be even')
  return conv(x, w / 2 ** len(sides), 2, padding)


class ConvTranspose(nn.Module):
  """`conv_transpose` with `kernel` [kh, kw, features, C] and `bias` [features], over as many axes as the input has.

  torch's ConvTranspose1d, 2d and 3d have the same output; their weight transposed by (2, 1, 0), (2, 3, 1, 0) and
  (2, 3, 4, 1, 0) is the kernel. Mind the order in initializers: the input is the last axis.
  """

  features: int
  kernel: Sizes
  stride: Sizes = 1
  padding: Sizes = 0
  extra: Sizes = 0  # torch's output_padding
  use_bias: bool = True
  dtype: jax.typing.DTypeLike | None = None
  param_dtype: jax.typing.DTypeLike = jnp.float32
  kernel_init: Callable = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, h, v, C] -> [B, H, W, features]; [B, h, C] -> [B, H, features], and so on."""
    run = lambda x, w: conv_transpose(x, w, self.stride, self.padding, self.extra)
    return _apply(self, x, (self.features, x.shape[-1]), run)


def _apply(module, x, channels, function, alter=lambda w: w):
  """Declares a module's parameters and applies `function` to x and the altered kernel."""
  shape = (*_sizes(module.kernel, x.ndim - 2), *channels)
  w = alter(module.param('kernel', module.kernel_init, shape, module.param_dtype))
  zeros = nn.initializers.zeros
  b = (
    module.param('bias', zeros, (module.features,), module.param_dtype) if module.use_bias else None
  )
  x, w, b = nn.dtypes.promote_dtype(x, w, b, dtype=module.dtype)
  y = function(x, w)
  return y if b is None else y + b
