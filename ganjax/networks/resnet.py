"""Residual networks of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028) and SNGAN (arXiv:1802.05957, appendix B.4).

Blocks of two 3x3 convolutions (He et al. 2016, arXiv:1603.05027) between nearest-neighbour upsampling in G and mean
pooling in D. Batch norm is in G alone: in D it would couple the samples that a gradient penalty takes one by one.
With classes, G's batch norm in blocks is conditional and D adds a projection (Miyato and Koyama, arXiv:1802.05637).
"""

import flax.linen as nn
import jax.numpy as jnp

from ganjax import UserError
from ganjax.layers.conv import Conv
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.norm import BatchNorm, ConditionalBatchNorm
from ganjax.layers.resample import mean_pool, upsample
from ganjax.layers.spectral import SpectralNorm

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
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x, label, *, train: bool):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)

    def norm(x):
      if self.num_classes:
        return nn.relu(ConditionalBatchNorm(self.num_classes, **kinds)(x, label, train=train))
      return nn.relu(BatchNorm(**kinds)(x, train=train))

    y = upsample(norm(x))
    y = norm(Conv(self.features, 3, padding=1, kernel_init=INNER, **kinds)(y))
    y = Conv(self.features, 3, padding=1, kernel_init=INNER, **kinds)(y)
    # 1x1 convolutions and resampling commute; here and in D the smaller map is convolved.
    return y + upsample(Conv(self.features, 1, kernel_init=OUTER, **kinds)(x))


class DownBlock(nn.Module):
  """[B, H, W, C] -> [B, H/2, W/2, features], or [B, H, W, features] if not `down`."""

  features: int
  down: bool
  first: bool  # of the network: no ReLU of the image, features in both convolutions
  spectral: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    conv = lambda features: wrap(Conv(features, 3, padding=1, kernel_init=INNER, **kinds))
    pool = mean_pool if self.down else lambda x: x
    y = conv(self.features)(x) if self.first else conv(x.shape[-1])(nn.relu(x))
    y = pool(conv(self.features)(nn.relu(y)))
    if self.down or x.shape[-1] != self.features:
      x = wrap(Conv(self.features, 1, kernel_init=OUTER, **kinds))(pool(x))
    return x + y


class Generator(nn.Module):
  """z [B, Z], and labels [B] with classes -> images [B, resolution, resolution, channels] in (-1, 1)."""

  resolution: int
  channels: int
  width: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z, label=None, *, train: bool):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    side, factors, _, _ = SHAPES[self.resolution]
    first, *rest = (self.width * factor for factor in factors)
    x = nn.Dense(side * side * first, kernel_init=OUTER, **kinds)(z).reshape(-1, side, side, first)
    for features in rest:
      x = UpBlock(features, self.num_classes, **kinds)(x, label, train=train)
    x = nn.relu(BatchNorm(**kinds)(x, train=train))
    return jnp.tanh(Conv(self.channels, 3, padding=1, kernel_init=OUTER, **kinds)(x))


class Discriminator(nn.Module):
  """Images [B, resolution, resolution, channels], and labels [B] with classes -> logits [B]."""

  resolution: int
  width: int
  spectral: bool
  pool: str
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x, label=None, *, train: bool):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    _, _, factors, downs = SHAPES[self.resolution]
    for i, factor in enumerate(factors):
      x = DownBlock(factor * self.width, i < downs, i == 0, self.spectral, **kinds)(x)
    x = nn.relu(x)
    x = x.sum((1, 2)) if self.pool == 'sum' else x.mean((1, 2))
    logits = wrap(nn.Dense(1, kernel_init=OUTER, **kinds))(x)[:, 0]
    if self.num_classes:
      table = ClassEmbed(self.num_classes, x.shape[-1], OUTER, **kinds)
      logits += (wrap(table)(label) * x).sum(-1)
    return logits


def build(
  *,
  resolution,
  channels,
  width=256,
  width_D=128,
  spectral=True,
  pool='sum',
  num_classes=0,
  dtype='float32',
  param_dtype='float32',
):
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images: 32, 48, 64 or 128 (the paper's CIFAR-10, STL-10 and ImageNet; 64 of torch-mimicry).
    channels: of the images.
    width: channels of G's last hidden layer: 256 at 32 pixels, else 64, in SNGAN.
    width_D: channels of D's first: 128 at 32 pixels, else 64.
    spectral: whether D's layers are spectrally normalised.
    pool: 'sum' or 'mean' over D's last map; SNGAN sums, WGAN-GP takes the mean.
    num_classes: of the labels for conditional networks, or 0.
    dtype, param_dtype: of activations and of parameters.

  Raises:
    UserError: a value that is none of these.
  """
  if resolution not in SHAPES:
    raise UserError(
      f'networks.name=resnet is of {[*SHAPES]} pixels, not data.resolution={resolution}'
    )
  if pool not in ('sum', 'mean'):
    raise UserError(f"networks.pool={pool!r} is neither 'sum' nor 'mean'")
  if min(width, width_D) < 1 or num_classes < 0:
    raise UserError(
      'networks.width and networks.width_D must be at least 1, networks.num_classes at least 0'
    )
  kinds = dict(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(resolution, channels, width, **kinds),
    'D': Discriminator(resolution, width_D, spectral, pool, **kinds),
  }
