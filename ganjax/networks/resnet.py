"""Residual networks of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028), SNGAN (arXiv:1802.05957, B.4) and SAGAN.

Blocks of two 3x3 convolutions (He et al. 2016, arXiv:1603.05027), with nearest-neighbour upsampling in G and mean
pooling in D. Only G has batch norm: in D it would couple the samples of a gradient penalty. With classes, the batch
norm of G's blocks is conditional, and D has a head for classes (a projection: Miyato and Koyama, arXiv:1802.05637).
SAGAN (Zhang et al. 2018, arXiv:1805.08318, section 4) adds self-attention, and spectral norm in G's layers but not in
the tables of its batch norms.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.layers.attention import SelfAttention
from ganjax.layers.conv import Conv
from ganjax.layers.heads import HEADS, apply_head
from ganjax.layers.norm import BatchNorm, ConditionalBatchNorm
from ganjax.layers.resample import upsample_bilinear
from ganjax.layers.spectral import SpectralNorm
from ganjax.wording import closest

# Glorot's uniform weights, sqrt(2) larger within blocks, as in the code of both papers' recipes.
OUTER = nn.initializers.variance_scaling(1.0, 'fan_avg', 'uniform')
INNER = nn.initializers.variance_scaling(2.0, 'fan_avg', 'uniform')

# Resolution: G's smallest side and channels, D's channels and how many of its blocks halve. Channels are in widths.
SHAPES = {
  32: (4, (1, 1, 1, 1), (1, 1, 1, 1), 2),
  48: (6, (8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
  64: (4, (16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),
  128: (4, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
}


class UpBlock(nn.Module):
  """[B, H, W, C] -> [B, 2H, 2W, features]."""

  features: int
  num_classes: int
  spectral: bool
  bilinear: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    double = functools.partial(upsample_bilinear, outside='edge')
    up = None if self.bilinear else 'up'

    def conv(resample=None):
      how = dict(padding=1, resample=resample, kernel_init=INNER)
      return wrap(Conv(self.features, 3, **how, **kinds))

    def norm(x):
      if self.num_classes:
        return nn.relu(ConditionalBatchNorm(self.num_classes, **kinds)(x, label, train=train))
      return nn.relu(BatchNorm(**kinds)(x, train=train))

    y = norm(x)
    y = conv(up)(double(y) if self.bilinear else y)
    y = conv()(norm(y))
    x = wrap(Conv(self.features, 1, resample=up, kernel_init=OUTER, **kinds))(x)
    return y + (double(x) if self.bilinear else x)


class DownBlock(nn.Module):
  """[B, H, W, C] -> [B, H/2, W/2, features], or [B, H, W, features] if not `down`."""

  features: int
  down: bool
  first: bool  # of the network: no ReLU of the image, features in both convolutions
  wide: bool  # features in both convolutions of the others too
  spectral: bool
  relu_skip: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    wrap = SpectralNorm if self.spectral else lambda layer: layer

    def conv(features, resample=None):
      how = dict(padding=1, resample=resample, kernel_init=INNER)
      return wrap(Conv(features, 3, **how, **kinds))

    down = 'down' if self.down else None
    x = nn.relu(x) if self.relu_skip and not self.first else x
    hidden = self.features if self.first or self.wide else x.shape[-1]
    y = conv(hidden)(x if self.first else nn.relu(x))
    y = conv(self.features, down)(nn.relu(y))
    if down or x.shape[-1] != self.features:
      x = wrap(Conv(self.features, 1, resample=down, kernel_init=OUTER, **kinds))(x)
    return x + y


class Generator(nn.Module):
  """z [B, Z], and labels [B] with classes -> images [B, resolution, resolution, channels] in (-1, 1)."""

  resolution: int
  channels: int
  width: int
  spectral: bool
  attention: int
  bilinear: bool
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    side, factors, _, _ = SHAPES[self.resolution]
    first, *rest = (self.width * factor for factor in factors)
    x = wrap(nn.Dense(side * side * first, kernel_init=OUTER, **kinds))(z)
    x = x.reshape(-1, side, side, first)
    for features in rest:
      block = UpBlock(features, self.num_classes, self.spectral, self.bilinear, **kinds)
      x = block(x, label, train=train)
      if x.shape[1] == self.attention:
        x = SelfAttention(wrap, OUTER, **kinds)(x)
    x = nn.relu(BatchNorm(**kinds)(x, train=train))
    return jnp.tanh(wrap(Conv(self.channels, 3, padding=1, kernel_init=OUTER, **kinds))(x))


class Discriminator(nn.Module):
  """Images [B, resolution, resolution, channels], and labels [B] for a projection -> what `apply_head` returns."""

  resolution: int
  width: int
  wide: bool
  spectral: bool
  pool: str
  attention: int
  relu_skip: bool
  head: str
  embed_dim: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, x: jax.Array, label: jax.Array | None = None, *, train: bool
  ) -> jax.Array | tuple:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    _, _, factors, downs = SHAPES[self.resolution]
    for i, factor in enumerate(factors):
      how = i < downs, i == 0, self.wide, self.spectral, self.relu_skip
      x = DownBlock(factor * self.width, *how, **kinds)(x)
      if i < downs and x.shape[1] == self.attention:
        x = SelfAttention(wrap, OUTER, **kinds)(x)
    x = nn.relu(x)
    x = x.sum((1, 2)) if self.pool == 'sum' else x.mean((1, 2))
    heads = dict(head=self.head, num_classes=self.num_classes, embed_dim=self.embed_dim)
    return apply_head(x, label, wrap=wrap, kernel_init=OUTER, **heads, **kinds)


def build(
  *,
  resolution: int,
  channels: int,
  width: int = 256,
  width_D: int = 128,
  wide: bool = False,
  spectral: bool = True,
  spectral_G: bool = False,
  pool: str = 'sum',
  attention: int = 0,
  bilinear: bool = False,
  relu_skip: bool = False,
  num_classes: int = 0,
  head: str = 'projection',
  embed_dim: int = 512,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images: 32, 48, 64 or 128 (the paper's CIFAR-10, STL-10 and ImageNet; 64 of torch-mimicry).
    channels: of the images.
    width: channels of G's last hidden layer. SNGAN: 256 at 32 pixels, else 64.
    width_D: channels of D's first layer: 128 at 32 pixels, else 64.
    wide: whether both 3x3 convolutions of D's blocks have as many channels as the block, as in SAGAN's code. If not,
      the first has as many as the block's input.
    spectral: whether D has spectral normalization.
    spectral_G: whether G has spectral normalization, as in SAGAN.
    pool: 'sum' or 'mean' over D's last map: SNGAN has the sum, WGAN-GP the mean.
    attention: side of the maps with self-attention, in D the first maps of that side; 0: none. SAGAN has 32 at 128
      pixels.
    bilinear: whether G upsamples bilinearly, as in torch-mimicry, instead of repeating pixels.
    relu_skip: whether D's residual shortcuts see relu(x), as in torch-mimicry.
    num_classes: number of classes of conditional networks; 0: unconditional.
    head, embed_dim: D's head for classes, and the embedding length of head 'proxy'; see `apply_head`.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a value that is none of these.
  """
  if resolution not in SHAPES:
    raise UserError(
      f'networks.name=resnet is of {[*SHAPES]} pixels, not data.resolution={resolution}'
    )
  if pool not in ('sum', 'mean'):
    raise UserError(f"networks.pool={pool!r} is neither 'sum' nor 'mean'")
  if min(width, width_D) < 1:
    raise UserError('networks.width and networks.width_D must be at least 1')
  check_head(head, num_classes, embed_dim)
  _, ups, _, downs = SHAPES[resolution]
  check_attention(attention, resolution, len(ups) - 1, downs)
  kinds = dict(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(resolution, channels, width, spectral_G, attention, bilinear, **kinds),
    'D': Discriminator(
      resolution, width_D, wide, spectral, pool, attention, relu_skip, head, embed_dim, **kinds
    ),
  }


def check_head(head: str, num_classes: int, embed_dim: int) -> None:
  """Raises UserError for a head that is not known or has no classes, and for sizes below 1 (0 classes: no labels)."""
  if head not in HEADS:
    raise UserError(
      f'networks.head={head!r} is not known{closest(head, HEADS)}; heads are {", ".join(HEADS)}'
    )
  if num_classes < 0 or embed_dim < 1:
    raise UserError(
      f'networks.num_classes={num_classes} must be at least 0, networks.embed_dim={embed_dim} at least 1'
    )
  if head != 'projection' and not num_classes:
    raise UserError(f'networks.head={head!r} tells classes apart: networks.num_classes must be set')


def check_attention(side: int, resolution: int, ups: int, downs: int) -> None:
  """Raises UserError for a side, if not 0, of no map within both a G of `ups` doublings and a D of `downs` halvings."""
  sides = [resolution >> i for i in range(1, min(ups - 1, downs) + 1)]
  if side and side not in sides:
    raise UserError(
      f'networks.attention={side} must be 0 or the side of a map in both networks: {sides}'
    )
