"""DF-GAN (Tao et al. 2022, arXiv:2008.05865, section 3): pictures from the vector of a text, without normalization.

Every layer of the generator scales and shifts its channels. Small networks compute scale and shift from noise and text.
The discriminator gives one logit: whether the picture is real and matches the text.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv
from ganjax.layers.resample import mean_pool, upsample
from ganjax.networks.srresnet import TORCH_INIT


class Affine(nn.Module):
  """x [B, H, W, C] times g(c) plus b(c), each a network of one hidden layer of C; at the start x itself."""

  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, c: jax.Array) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    features = x.shape[-1]

    def make(bias):
      hidden = nn.relu(nn.Dense(features, kernel_init=TORCH_INIT, **kinds)(c))
      zeros = nn.initializers.zeros
      return nn.Dense(features, kernel_init=zeros, bias_init=bias, **kinds)(hidden)[:, None, None]

    scale, shift = make(nn.initializers.ones), make(nn.initializers.zeros)
    return scale * x + shift


class Up(nn.Module):
  """A block of G (figure 4): the map doubled, twice modulated by two affine layers and convolved, beside a shortcut.

  Repeating pixels goes with all that looks at one pixel at a time, and so is done after the affine layers and the
  shortcut's convolution: the same values from a quarter of the work.
  """

  features: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, c: jax.Array) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    layer = dict(kernel_init=TORCH_INIT, **kinds)

    def modulate(x):
      for _ in range(2):
        x = act(Affine(**kinds)(x, c))
      return x

    y = Conv(self.features, 3, padding=1, resample='up', **layer)(modulate(x))
    y = Conv(self.features, 3, padding=1, **layer)(modulate(y))
    if x.shape[-1] != self.features:
      x = Conv(self.features, 1, **layer)(x)
    return y + upsample(x)


class Down(nn.Module):
  """A block of D: two convolutions, the first of stride 2, times a number that starts at 0, beside a shortcut."""

  features: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=TORCH_INIT)
    y = act(Conv(self.features, 4, stride=2, padding=1, use_bias=False, **kinds)(x))
    y = act(Conv(self.features, 3, padding=1, use_bias=False, **kinds)(y))
    gain = self.param('gain', nn.initializers.zeros, (), self.param_dtype)
    x = mean_pool(x)  # before the convolution, with which it commutes
    if x.shape[-1] != self.features:
      x = Conv(self.features, 1, **kinds)(x)
    return x + gain.astype(y.dtype) * y


class Generator(nn.Module):
  """z [B, Z] and vectors of texts [B, E] -> pictures [B, S, S, channels] in (-1, 1)."""

  channels: int
  widths: tuple  # of the maps, from the smallest, 4x4
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, sentence: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    c = jnp.concatenate([z, sentence], 1)
    x = nn.Dense(4 * 4 * self.widths[0], kernel_init=TORCH_INIT, **kinds)(z)
    x = x.reshape(-1, 4, 4, self.widths[0])
    for features in self.widths[1:]:
      x = Up(features, **kinds)(x, c)
    return jnp.tanh(Conv(self.channels, 3, padding=1, kernel_init=TORCH_INIT, **kinds)(act(x)))


class Discriminator(nn.Module):
  """Pictures [B, S, S, C] and vectors of texts [B, E] -> logits [B]."""

  widths: tuple  # of the maps, from the largest
  last: int  # width of the layer behind the text
  dtype: str
  param_dtype: str

  def setup(self) -> None:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    layer = dict(kernel_init=TORCH_INIT, **kinds)
    self.first = Conv(self.widths[0], 3, padding=1, **layer)
    self.blocks = [Down(features, **kinds) for features in self.widths[1:]]
    self.joint = Conv(self.last, 3, padding=1, use_bias=False, **layer)
    self.logit = Conv(1, 4, use_bias=False, **layer)

  def __call__(self, image: jax.Array, sentence: jax.Array, *, train: bool) -> jax.Array:
    return self.judge(self.look(image, train=train), sentence, train=train)

  def look(self, image: jax.Array, *, train: bool) -> jax.Array:
    """Pictures -> features [B, 4, 4, F], which no text has part in."""
    x = self.first(image)
    for block in self.blocks:
      x = block(x)
    return x

  def judge(self, features: jax.Array, sentence: jax.Array, *, train: bool) -> jax.Array:
    """Features and vectors of texts -> logits [B]."""
    there = jnp.broadcast_to(sentence[:, None, None], (*features.shape[:3], sentence.shape[1]))
    x = jnp.concatenate([features, there.astype(features.dtype)], -1)
    return self.logit(act(self.joint(x)))[:, 0, 0, 0]


def act(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, 0.2)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 32,
  width_D: int | None = None,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}; D holds what the authors' code has as two networks, D and C.

  Args:
    resolution: side of the pictures, 2^n from 8.
    channels: of the pictures.
    width: channels of G's largest maps; smaller maps have 2, 4 and 8 times as many.
    width_D: the same for D; by default as in G.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures of another size.
  """
  height, wide = media.sides(resolution)
  levels = int(math.log2(height))
  if height != wide or 2**levels != height or height < 8:
    raise UserError(
      f'networks.name=dfgan makes squares whose sides are 8, 16, 32 and so on, not data.resolution={resolution}'
    )
  width_D = width_D or width
  if min(width, width_D) < 1:
    raise UserError(f'networks.width={width} and width_D={width_D} must be at least 1')
  widths = lambda width: tuple(width * min(2**i, 8) for i in range(levels - 1))
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(channels, widths(width)[::-1], **kinds),
    'D': Discriminator(widths(width_D), 2 * width_D, **kinds),
  }
