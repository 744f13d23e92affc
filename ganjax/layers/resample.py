"""Resampling without parameters, of [B, H, W, C]; by 2: up, mean and max also of [B, H, C] and [B, D, H, W, C]."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ganjax import UserError


def upsample(x: jax.Array) -> jax.Array:
  """Nearest neighbour: each pixel becomes 2 x 2. [B, H, W, C] -> [B, 2H, 2W, C]."""
  b, *sides, c = x.shape
  pairs = [n for side in sides for n in (side, 2)]
  x = jnp.broadcast_to(jnp.expand_dims(x, _seconds(x)), (b, *pairs, c))
  return x.reshape(b, *(2 * side for side in sides), c)


def mean_pool(x: jax.Array) -> jax.Array:
  """Means of 2 x 2 pixels. [B, H, W, C] -> [B, H/2, W/2, C].

  Raises:
    UserError: an odd side.
  """
  # In the dtype of x: else what comes before writes its whole map in float32 to be summed.
  return _squares(x).mean(_seconds(x), dtype=x.dtype)


def max_pool(x: jax.Array) -> jax.Array:
  """Maxima of 2 x 2 pixels. [B, H, W, C] -> [B, H/2, W/2, C]. Equal maxima share the gradient.

  Raises:
    UserError: an odd side.
  """
  return _squares(x).max(_seconds(x))


def upsample_bilinear(x: jax.Array, outside: str = 'constant') -> jax.Array:
  """Each new pixel is 3/4 of the nearest and 1/4 of the next, along both axes. [B, H, W, C] -> [B, 2H, 2W, C].

  The filter [1, 3, 3, 1] / 4, which is [1, 2, 1] over repeated pixels. Outside the image are zeros, or with 'edge' the
  pixels of its border, as in torch.nn.functional.interpolate.
  """
  return _DOUBLE.bind(x) if outside == 'constant' else _double(x, outside)


def _double(x, outside='constant'):
  for axis in (1, 2):
    before, after = _neighbours(x, axis, outside)
    pair = jnp.stack([(before + 3 * x) / 4, (3 * x + after) / 4], axis + 1)
    x = pair.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
  return x


def downsample_bilinear(x: jax.Array) -> jax.Array:
  """The filter [1, 3, 3, 1] / 8 along both axes, a quarter of `upsample_bilinear`'s adjoint. -> [B, H/2, W/2, C].

  Raises:
    UserError: an odd side.
  """
  _squares(x)  # refuses odd sides
  return _HALVE.bind(x)


def _halve(x):
  for axis in (1, 2):
    x = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)])
    end = x.shape[axis] - 3
    a, b, c, d = (lax.slice_in_dim(x, i, i + end, 2, axis) for i in range(4))
    x = (a + 3 * (b + c) + d) / 8
  return x


def interpolate(x: jax.Array, sides: Sequence[int], align_corners: bool = False) -> jax.Array:
  """Bilinear interpolation as torch.nn.functional.interpolate has it. [B, H, W, C] -> [B, *sides, C].

  There is no antialiasing.
  With `align_corners` the centres of the outermost pixels stay where they are, else the edges of the image. Both axes
  are products with a matrix: a gather's gradient is slow on most back ends.
  """
  for axis, (n, side) in enumerate(zip(x.shape[1:3], sides)):
    if n == side:
      continue
    matrix = jnp.asarray(_linear(n, side, align_corners), x.dtype)
    x = jnp.einsum('uh,bhwc->buwc' if axis == 0 else 'vw,bhwc->bhvc', matrix, x)
  return x


def _linear(n, side, align_corners):
  """Weights [side, n] of n pixels for each of `side`."""
  if align_corners:
    at = np.arange(side) * (n - 1) / max(side - 1, 1)
  else:
    at = np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1)
  return np.maximum(1 - np.abs(at[:, None] - np.arange(n)), 0)


def resize_bicubic(x: jax.Array | np.ndarray, factor: float) -> jax.Array:
  """MATLAB's imresize of floats: cubic weights, a = -1/2, antialiased. [B, H, W, C] -> [B, ceil(factor H), ..., C].

  Where a picture shrinks, the kernel grows to 4 / factor pixels. Outside the picture it is mirrored, its border pixels
  twice. The low-resolution pictures of the super-resolution literature are made so; Pillow's and JAX's bicubic filters
  leave out what lies outside instead. Values may overshoot.
  """
  for axis in (1, 2):
    matrix = jnp.asarray(_cubic(x.shape[axis], factor), x.dtype)
    x = jnp.einsum(
      'uh,bhwc->buwc' if axis == 1 else 'vw,bhwc->bhvc', matrix, x, precision=lax.Precision.HIGHEST
    )
  return x


def _cubic(n, factor):
  """Weights [ceil(factor n), n] of n pixels for each new one."""
  side, scale = math.ceil(n * factor), min(factor, 1)
  centre = (np.arange(side) + 0.5) / factor - 0.5
  taps = math.ceil(4 / scale) + 2
  places = np.floor(centre - 2 / scale).astype(int)[:, None] + np.arange(taps)
  d = np.abs(scale * (centre[:, None] - places))
  near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
  weights = np.where(d <= 1, near, np.where(d <= 2, far, 0))
  places %= 2 * n
  weights /= weights.sum(1, keepdims=True)
  matrix = np.zeros((side, n))
  np.add.at(matrix, (np.arange(side)[:, None], np.minimum(places, 2 * n - 1 - places)), weights)
  return matrix


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
  """Channels become pixels, in torch's order (arXiv:1609.05158). [B, H, W, C f^2] -> [B, f H, f W, C], f the factor."""
  b, h, w, c = x.shape
  x = x.reshape(b, h, w, c // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
  return x.reshape(b, factor * h, factor * w, -1)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
  """The inverse of `pixel_shuffle`. [B, f H, f W, C] -> [B, H, W, C f^2]."""
  b, h, w, c = x.shape
  x = x.reshape(b, h // factor, factor, w // factor, factor, c).transpose(0, 1, 3, 5, 2, 4)
  return x.reshape(b, h // factor, w // factor, -1)


def adaptive_mean(x: jax.Array, side: int) -> jax.Array:
  """Means over side x side parts of an image, as torch.nn.AdaptiveAvgPool2d. [B, H, W, C] -> [B, side, side, C].

  Part i of n pixels reaches from floor(i n / side) to ceil((i + 1) n / side): neighbours overlap where `side` does not
  divide n, and a pixel stands in several where there are fewer than `side`.
  """
  rows, columns = (jnp.asarray(_parts(n, side), x.dtype) for n in x.shape[1:3])
  return jnp.einsum('uh,vw,bhwc->buvc', rows, columns, x)


def _parts(n, side):
  i, pixels = np.arange(side)[:, None], np.arange(n)
  inside = (pixels >= i * n // side) & (pixels < -(-(i + 1) * n // side))
  return inside / inside.sum(1, keepdims=True)


def smooth(x: jax.Array, padding: int) -> jax.Array:
  """The filter [1, 3, 3, 1] / 8 along both axes of [B, H, W, C], with so many zeros on each side, from 0 to 3.

  H becomes H + 2 padding - 3. StyleGAN2 (arXiv:1912.04958, appendix B) has it around convolutions of stride 2: behind a
  transposed one of 3x3 with padding 1, 2H + 1 -> 2H, and before one of 3x3 with padding 2, H -> H + 1.
  """
  return _SMOOTH.bind(x, padding=padding)


def _sum_neighbours(x, *, padding):
  for axis in (1, 2):
    x = jnp.pad(x, [(padding, padding) if i == axis else (0, 0) for i in range(x.ndim)])
    size = x.shape[axis] - 3
    a, b, c, d = (lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(4))
    x = (a + 3 * (b + c) + d) / 8
  return x


def _define(name, run, sides, adjoint) -> Primitive:
  """A linear map of [B, H, W, C] as a primitive, with the transpose `adjoint`.

  What JAX makes of slices, sums of padded arrays, takes a CPU four times as long.

  Args:
    name: of the primitive.
    run: (x, parameters) -> the output.
    sides: (a side, parameters) -> the output's.
    adjoint: (cotangent, parameters) -> the input's.
  """
  primitive = Primitive(name)

  def output(x, **how):
    return x.update(
      shape=(x.shape[0], *(sides(n, **how) for n in x.shape[1:3]), x.shape[3]), weak_type=False
    )

  def many(args, dims, **how):
    """`jax.vmap`: more images, behind those that are there, so that a batch on several devices stays where it is."""
    x = jnp.moveaxis(args[0], dims[0], 1)
    y = primitive.bind(x.reshape(-1, *x.shape[2:]), **how)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 1

  primitive.def_abstract_eval(output)
  primitive.def_impl(jax.jit(primitive.bind, static_argnames='padding'))
  ad.deflinear2(primitive, lambda ct, x, **how: [adjoint(ct, **how)])
  batching.primitive_batchers[primitive] = many
  mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
  return primitive


_SMOOTH = _define(
  'smooth',
  _sum_neighbours,
  lambda n, *, padding: n + 2 * padding - 3,
  lambda ct, *, padding: smooth(ct, 3 - padding),
)
_DOUBLE = _define('double', _double, lambda n: 2 * n, lambda ct: 4 * _HALVE.bind(ct))
_HALVE = _define('halve', _halve, lambda n: n // 2, lambda ct: _DOUBLE.bind(ct) / 4)


def blur(x: jax.Array) -> jax.Array:
  """The filter [1, 2, 1] / 4 along both axes of [B, H, W, C], with zeros outside (StyleGAN, arXiv:1812.04948)."""
  for axis in (1, 2):
    before, after = _neighbours(x, axis)
    x = (before + 2 * x + after) / 4
  return x


def downsample_blurred(x: jax.Array) -> jax.Array:
  """The filter [1, 2, 1] / 4 along both axes at every second pixel, mirrored outside. -> [B, ceil(H/2), ceil(W/2), C].

  Zhang 2019, arXiv:1904.11486.
  """
  for axis in (1, 2):
    before, after = _neighbours(x, axis, 'reflect')
    every = lambda a, axis=axis: lax.slice_in_dim(a, 0, None, 2, axis)
    x = (every(before) + 2 * every(x) + every(after)) / 4
  return x


def _neighbours(x, axis, outside='constant'):
  """The pixels before and after each along an axis; `outside` is a mode of jnp.pad, by default zeros."""
  pad = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
  x = jnp.pad(x, pad, outside)
  return lax.slice_in_dim(x, 0, -2, axis=axis), lax.slice_in_dim(x, 2, None, axis=axis)


def _squares(x):
  """[B, H, W, C] -> [B, H / 2, 2, W / 2, 2, C]."""
  b, *sides, c = x.shape
  if any(side % 2 for side in sides):
    text = 'x'.join(map(str, sides))
    raise UserError(f'a map of {text} pixels cannot be halved: all sides must be even')
  return x.reshape(b, *(n for side in sides for n in (side // 2, 2)), c)


def _seconds(x):
  """The axes of 2 in `_squares(x)`."""
  return tuple(range(2, 2 * x.ndim - 3, 2))
