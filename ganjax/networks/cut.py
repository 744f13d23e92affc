"""CUT (Park et al. 2020, arXiv:2007.15651, appendix C): a generator whose features are compared, and their projection.

The generator is CycleGAN's ResNet, the discriminator a PatchGAN with instance norm. Both blur where they halve or
double maps (Zhang 2019, arXiv:1904.11486): convolutions have stride 1. Weights are Xavier's times 0.02.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, component, media
from ganjax.dtypes import widen
from ganjax.layers.conv import Conv
from ganjax.layers.norm import instance_norm
from ganjax.layers.resample import downsample_blurred, upsample_bilinear
from ganjax.networks.pix2pix import check_patches, check_sides

INIT = nn.initializers.variance_scaling(0.02**2, 'fan_avg', 'normal')


class Generator(nn.Module):
  """Pictures [B, H, W, S] -> pictures [B, H, W, channels] in (-1, 1), or the features that are compared.

  These are five maps [B, h, w, C]: the picture with its mirrored border, the outputs of the two convolutions before
  the map is halved, and of the first and the fifth (or last) residual block.
  """

  channels: int
  width: int
  blocks: int
  dtype: str
  param_dtype: str
  multiple = 4  # sides that it takes are multiples of it

  @property
  def feature_widths(self) -> tuple[int, ...]:
    """Channels of the four features behind the picture."""
    return 2 * self.width, *[4 * self.width] * 3

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, features: bool = False
  ) -> jax.Array | tuple[jax.Array, ...]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT)
    norm = lambda x: nn.relu(instance_norm(x))
    mirrored = lambda width: Conv(width, 3, padding=1, outside='reflect', **kinds)
    pad = lambda x: jnp.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)), 'reflect')
    x = pad(x)
    seen = [x]
    x = norm(Conv(self.width, 7, **kinds)(x))
    for factor in (2, 4):
      x = Conv(factor * self.width, 3, padding=1, **kinds)(x)
      seen.append(x)
      x = downsample_blurred(norm(x))
    for i in range(self.blocks):
      y = norm(mirrored(4 * self.width)(x))
      x += instance_norm(mirrored(4 * self.width)(y))
      if i in (0, min(4, self.blocks - 1)):
        seen.append(x)
    if features:
      return tuple(seen)
    for factor in (2, 1):
      x = norm(Conv(factor * self.width, 3, padding=1, **kinds)(upsample_bilinear(x, 'edge')))
    return jnp.tanh(Conv(self.channels, 7, **kinds)(pad(x)))


class Discriminator(nn.Module):
  """Pictures [B, H, W, C] -> logits [B, h, w]; `layers` times maps are halved."""

  width: int
  layers: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(
      kernel=4, padding=1, dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT
    )
    act = lambda x: nn.leaky_relu(x, 0.2)
    x = downsample_blurred(act(Conv(self.width, **kinds)(x)))
    for i in range(1, self.layers + 1):
      x = act(instance_norm(Conv(self.width * min(2**i, 8), **kinds)(x)))
      x = downsample_blurred(x) if i < self.layers else x
    return Conv(1, **kinds)(x)[..., 0]


class Projection(nn.Module):
  """Places of several maps, [B, P, C] each -> unit vectors [B, P, features], by two layers of each map's own."""

  features: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> tuple[jax.Array, ...]:
    dense = lambda x: nn.Dense(
      self.features, dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT
    )(x)
    rows = [widen(dense(nn.relu(dense(x)))) for x in maps]
    # The authors' 1e-7 beside the length; the maximum within the root keeps the gradient of a zero vector finite.
    length = lambda x: jnp.sqrt(jnp.maximum(jnp.sum(x**2, -1, keepdims=True), 1e-30))
    return tuple(x / (length(x) + 1e-7) for x in rows)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 64,
  width_D: int = 64,
  blocks: int = 9,
  layers_D: int = 3,
  features: int = 256,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The networks {'G', 'D', 'F'}.

  Args:
    resolution: of the pictures, a side or (height, width): multiples of 4 from 8.
    channels: of the pictures of both domains.
    width: channels of G's first layer; the residual blocks have 4 times as many.
    width_D: channels of D's first layer.
    blocks: residual blocks, 9 in the paper.
    layers_D: layers of D that halve maps.
    features: length of the vectors that PatchNCE compares.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that do not fit, or a size below 1.
  """
  sides = media.sides(resolution)
  check_sides(sides, 4, 'networks.name=cut')
  check_patches(sides, layers_D)
  if min(sides) < 8 or not layers_D:
    raise UserError('networks.name=cut takes sides from 8 and layers_D from 1')
  component.check_depth(blocks=blocks)
  if min(width, width_D, features) < 1 or blocks < 2:
    raise UserError(
      f'networks.width={width}, width_D={width_D}, features={features} must be at least 1, blocks={blocks} at least 2'
    )
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(channels, width, blocks, **kinds),
    'D': Discriminator(width_D, layers_D, **kinds),
    'F': Projection(features, **kinds),
  }
