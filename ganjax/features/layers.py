"""Layers of frozen networks: convolutions with their batch norms folded in, depthwise convolutions fast on CPU, pools.

A frozen batch norm is one multiplication and one addition for each channel, which the convolution before it takes over:
`convert` makes such weights of PyTorch's. All layers work in their input's dtype and in channels-last layout.
"""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax

from ganjax.dtypes import wide
from ganjax.layers.conv import conv
from ganjax.weights.files import take

Pads = tuple[tuple[int, int], ...]  # zeros before and after the rows, and the columns


class Conv(nn.Module):
  """Convolution or, if `depthwise`, one filter for each channel; then bias and activation.

  Kernel and pads have a number for each spatial axis: two for pictures, three for clips.
  """

  features: int
  kernel: tuple[int, ...] = (1, 1)
  stride: int = 1
  pads: Pads = ((0, 0), (0, 0))
  act: Callable = nn.relu
  depthwise: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, h, v, features]; [B, T, H, W, C] -> [B, t, h, v, features]."""
    channels = 1 if self.depthwise else x.shape[-1]
    w, b = _weights(self, (*self.kernel, channels, self.features), x.dtype)
    if max(self.kernel) == 1 and self.stride == 1:
      y = jnp.dot(x, w.reshape(w.shape[-2:]), precision=precision(x.dtype))
    else:
      cpu = self._ours if self.depthwise or self.stride > 1 else self._native
      y = lax.platform_dependent(x, w, cpu=cpu, default=self._native)
    return self.act(y + b)

  def _native(self, x, w):
    axes = 'DHW'[-len(self.kernel) :]
    return lax.conv_general_dilated(
      x,
      w,
      (self.stride,) * len(axes),
      self.pads,
      dimension_numbers=(f'N{axes}C', f'{axes}IO', f'N{axes}C'),
      feature_group_count=self.features if self.depthwise else 1,
      precision=precision(x.dtype),
    )

  def _ours(self, x, w):
    """By `layers/conv.py`: XLA's own take, depthwise, 5 to 30 times as long, and so do gradients where they stride."""
    x = jnp.pad(x, ((0, 0), *self.pads, (0, 0)))
    return conv(x, w, self.stride, groups=self.features if self.depthwise else 1)


class Linear(nn.Module):
  """x @ kernel, and that plus the bias."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[B, C] -> two arrays [B, features]: without and with the bias."""
    w, b = _weights(self, (x.shape[1], self.features), x.dtype)
    y = jnp.dot(x, w, precision=precision(x.dtype))
    return y, y + b


class InvertedResidual(nn.Module):
  """MobileNetV2's block (arXiv:1801.04381, section 3.3): 1x1 to more channels, depthwise, 1x1 to `features`."""

  features: int
  kernel: int
  stride: int
  expansion: int
  same: bool  # TensorFlow's padding

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
    kernel, width = (self.kernel, self.kernel), x.shape[3] * self.expansion
    around = pads(kernel, x.shape[1:3] if self.same else None, self.stride)
    y = Conv(width, act=nn.relu6, name='expand')(x) if self.expansion > 1 else x
    y = Conv(width, kernel, self.stride, around, nn.relu6, True, name='depthwise')(y)
    y = Conv(self.features, act=lambda y: y, name='project')(y)
    return x + y if self.stride == 1 and x.shape == y.shape else y


def precision(dtype: jax.typing.DTypeLike) -> lax.Precision:
  """float32 means float32: GPUs and TPUs would otherwise round to TF32 and bfloat16 (0.7 % in Inception's features)."""
  return lax.Precision.DEFAULT if dtype == jnp.bfloat16 else lax.Precision.HIGHEST


def _weights(module, shape, dtype):
  """Kernel and bias of a layer, in its input's dtype."""
  zeros = nn.initializers.zeros  # the values always come from a file
  w, b = module.param('kernel', zeros, shape), module.param('bias', zeros, shape[-1:])
  return w.astype(dtype), b.astype(dtype)


def pads(kernel: Sequence[int], size: Sequence[int] | None = None, stride: int = 1) -> Pads:
  """Zeros for an output of ceil(size / stride): kernel // 2 on each side, or TensorFlow's SAME if `size` is given."""
  if size is None:
    return tuple((k // 2, k // 2) for k in kernel)
  sums = [max((math.ceil(n / stride) - 1) * stride + k - n, 0) for n, k in zip(size, kernel)]
  return tuple((p // 2, p - p // 2) for p in sums)


def windows(x: jax.Array, kernel: Sequence[int], stride: int = 1) -> list[jax.Array]:
  """The pixels of x [B, H, W, C] that each tap of a kernel meets: kh * kw arrays [B, h, v, C], views once compiled."""
  spans = [
    [slice(start, start + stride * ((n - k) // stride) + 1, stride) for start in range(k)]
    for n, k in zip(x.shape[1:3], kernel)
  ]
  return [x[:, rows, columns] for rows in spans[0] for columns in spans[1]]


def max_pool(x: jax.Array, stride: int) -> jax.Array:
  """3 x 3 maxima: of stride 2 without padding, of stride 1 with. As elementwise maxima, 3 to 8 times as fast on CPU."""
  around = [(0, 0)] * 4 if stride == 2 else ((0, 0), (1, 1), (1, 1), (0, 0))
  x = jnp.pad(x, around, constant_values=-jnp.inf)
  return functools.reduce(jnp.maximum, windows(x, (3, 3), stride))


def average_pool(x: jax.Array) -> jax.Array:
  """3 x 3 means of stride 1 over those pixels only that lie in the image."""
  total = sum(windows(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3)))
  rows, columns = (3.0 - (np.arange(n) == 0) - (np.arange(n) == n - 1) for n in x.shape[1:3])
  return total * jnp.asarray(1 / np.outer(rows, columns)[:, :, None], x.dtype)


def mean(x: jax.Array) -> jax.Array:
  """The mean over rows and columns: [B, H, W, C] -> [B, C], summed in float32 at least."""
  return jnp.mean(x, (1, 2), dtype=wide(x.dtype))


def convert(
  network: nn.Module,
  size: int | Sequence[int],
  tensors: dict[str, np.ndarray],
  names: Callable[[str], tuple[str, str | None]],
  eps: float,
) -> dict:
  """Variables of a network of `Conv` and `Linear` from a PyTorch state_dict.

  Args:
    network: module that takes [B, size, size, 3], or [B, *size, 3].
    size: in pixels; of clips frames, rows and columns.
    tensors: name -> np.ndarray; float64 gives float64 variables.
    names: path of a layer, 'block_3/conv' -> the prefixes of its convolution and of its batch norm, or None for that.
    eps: what the batch norms add to the variance.

  Raises:
    UserError: a tensor that is missing or has another shape.
  """
  size = (size, size) if isinstance(size, int) else size
  x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
  shapes = jax.eval_shape(network.init, jax.random.key(0), x)['params']
  params = {}
  for path, leaf in traverse_util.flatten_dict(shapes).items():
    if path[-1] != 'kernel':
      continue
    conv, norm = names('/'.join(path[:-1]))
    axes = len(leaf.shape) - 2
    order = (axes + 1, axes, *range(axes))  # HWIO -> OIHW
    w = take(tensors, f'{conv}.weight', tuple(leaf.shape[i] for i in order))
    vector = functools.partial(take, tensors, shape=w.shape[:1])
    if norm is None:
      w, b = w.astype(np.float64), vector(f'{conv}.bias')
    else:
      scale, shift, average, var = (
        vector(f'{norm}.{n}').astype(np.float64)
        for n in ('weight', 'bias', 'running_mean', 'running_var')
      )
      scale = scale / np.sqrt(var + eps)
      w, b = np.moveaxis(np.moveaxis(w, 0, -1) * scale, -1, 0), shift - average * scale
    dtype = tensors[f'{conv}.weight'].dtype
    kernel = w.transpose(np.argsort(order))
    params[*path[:-1], 'kernel'] = np.ascontiguousarray(kernel, dtype)
    params[*path[:-1], 'bias'] = b.astype(dtype)
  return {'params': traverse_util.unflatten_dict(params)}
