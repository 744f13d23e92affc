"""Lines of text, character by character: the residual 1-D networks of WGAN-GP (Gulrajani et al., arXiv:1704.00028).

They follow the section on discrete data and the authors' gan_language.py: five blocks of two convolutions of 5 taps.
A block adds 0.3 times their output to its input. G ends in a softmax over the characters of each place. D sees real
lines as one-hot vectors, and G's lines as probabilities. Initial weights are uniform, with variance 2 over the mean of
both fans for convolutions, and 1 over it for linear layers.
"""

import flax.linen as nn
import jax

from ganjax import UserError, media
from ganjax.layers.conv import Conv
from ganjax.media.line import SYMBOLS

LINEAR = nn.initializers.glorot_uniform()
INIT = nn.initializers.variance_scaling(2.0, 'fan_avg', 'uniform')
BLOCKS, TAPS, SHARE = 5, 5, 0.3


def blocks(x: jax.Array, features: int, **kinds: str) -> jax.Array:
  """Five residual blocks [B, L, features] -> the same. Called in a compact method, whose module has the layers."""
  conv = lambda x: Conv(features, TAPS, padding=TAPS // 2, kernel_init=INIT, **kinds)(nn.relu(x))
  for _ in range(BLOCKS):
    x = x + SHARE * conv(conv(x))
  return x


class Generator(nn.Module):
  """z [B, Z] -> shares [B, L, 96] of the characters at each place, which add up to 1."""

  length: int
  width: int
  dtype: str
  param_dtype: str
  num_classes = 0
  makes = 'line'

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    x = nn.Dense(self.length * self.width, kernel_init=LINEAR, **kinds)(z)
    x = blocks(x.reshape(-1, self.length, self.width), self.width, **kinds)
    return nn.softmax(Conv(SYMBOLS, 1, kernel_init=INIT, **kinds)(x))


class Discriminator(nn.Module):
  """Lines [B, L, 96] -> logits [B]."""

  width: int
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    x = blocks(Conv(self.width, 1, kernel_init=INIT, **kinds)(x), self.width, **kinds)
    return nn.Dense(1, kernel_init=LINEAR, **kinds)(x.reshape(len(x), -1))[:, 0]


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 512,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    fields: of the data, of which `line` says the length.
    width: channels of all layers, 512 in the authors' code.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: data without lines, or a width below 1.
  """
  if 'line' not in fields:
    raise UserError(
      f'networks.name=characters makes lines, and the data have {", ".join(fields)}: take data.dataset=lines'
    )
  if width < 1:
    raise UserError(f'networks.width={width} must be at least 1')
  kinds = dict(width=width, dtype=dtype, param_dtype=param_dtype)
  return {'G': Generator(fields['line'].shape[0], **kinds), 'D': Discriminator(**kinds)}
