"""Layers of an equalised learning rate (Karras et al. 2017, arXiv:1710.10196, section 4.1).

Weights are stored as drawn from N(0, 1), and scaled where they are used by gain / sqrt(inputs), so that Adam moves all
of them at one speed. Progressive growing and StyleGAN have a `gain` of sqrt(2) before LeakyReLU(0.2). StyleGAN2 has one
of 1, and what comes out of a layer goes through `activate`, which keeps the variance.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax.layers.conv import add_neighbours, conv, conv_of_doubled, halved_conv

NORMAL = nn.initializers.normal(1.0)


def activate(x: jax.Array, *, gain: float = 1.0, clamp: float = 0.0) -> jax.Array:
  """sqrt(2) * LeakyReLU(0.2), times `gain`, held in [-clamp gain, clamp gain]; a clamp of 0 holds nothing."""
  return limit(nn.leaky_relu(x, 0.2) * (2**0.5 * gain), gain * clamp)


def limit(x: jax.Array, clamp: float) -> jax.Array:
  """x in [-clamp, clamp], or where `clamp` is 0 as it is."""
  return jnp.clip(x, -clamp, clamp) if clamp else x


class Dense(nn.Module):
  """[B, inputs] -> [B, features], in float32 at least and with all of its bits.

  `kernel` [inputs, features], drawn from N(0, 1) / m, is used as kernel * m * gain / sqrt(inputs), and `bias` as
  bias * m, where m is the `lr_multiplier`: with 0.01 both learn a hundred times more slowly.
  """

  features: int
  lr_multiplier: float = 1.0
  gain: float = 1.0
  use_bias: bool = True
  bias_init: float = 0.0
  param_dtype: jax.typing.DTypeLike = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    m, inputs = self.lr_multiplier, x.shape[-1]
    init = nn.initializers.normal(1 / m)
    kernel = self.param('kernel', init, (inputs, self.features), self.param_dtype)
    start = nn.initializers.constant(self.bias_init)
    bias = self.use_bias and self.param('bias', start, (self.features,), self.param_dtype)
    x, kernel = nn.dtypes.promote_dtype(x, kernel)
    scale = m * self.gain * inputs**-0.5
    y = jnp.matmul(x, kernel * scale, precision=lax.Precision.HIGHEST)
    return y + bias.astype(y.dtype) * m if self.use_bias else y


class Conv(nn.Module):
  """`conv` of pictures with `kernel` [k, k, C, features] from N(0, 1), used as gain kernel / sqrt(C k^2), and `bias`.

  With `resample` 'up' it is that of `upsample(x)`, with 'down' its output goes through `mean_pool`: see
  `layers.conv.Conv`.
  """

  features: int
  kernel: int
  stride: int = 1
  padding: int = 0
  gain: float = 1.0
  resample: str | None = None
  use_bias: bool = True
  dtype: jax.typing.DTypeLike | None = None  # None: that of input and parameters together
  param_dtype: jax.typing.DTypeLike = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, h, w, features]."""
    shape = (self.kernel, self.kernel, x.shape[-1], self.features)
    w = self.param('kernel', NORMAL, shape, self.param_dtype)
    zeros = nn.initializers.zeros
    b = self.param('bias', zeros, shape[-1:], self.param_dtype) if self.use_bias else None
    w = w * (self.gain * (self.kernel**2 * shape[2]) ** -0.5)
    w = add_neighbours(w) if self.resample else w
    x, w, b = nn.dtypes.promote_dtype(x, w, b, dtype=self.dtype)
    if self.resample:
      form = {'up': conv_of_doubled, 'down': halved_conv}[self.resample]
      y = form(x, w, (self.padding, self.padding))
    else:
      y = conv(x, w, self.stride, self.padding)
    return y if b is None else y + b
