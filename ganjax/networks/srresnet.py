"""SRResNet without batch norm (Ledig et al. 2017, arXiv:1609.04802, section 3; BasicSR's MSRResNet), and a VGG-style D.

The generator takes pictures of any size and enlarges them by `scale`. Inside, pictures are in [0, 1], as the published
weights expect.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from ganjax import UserError, component, media
from ganjax.layers.conv import Conv
from ganjax.layers.norm import BatchNorm
from ganjax.layers.resample import interpolate, pixel_shuffle
from ganjax.networks.pix2pix import check_sides

SCALES = {2: (2,), 3: (3,), 4: (2, 2)}  # enlargements, one after the other
SMALL_INIT = nn.initializers.variance_scaling(2 * 0.1**2, 'fan_in', 'normal')  # a tenth of He's
TORCH_INIT = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
WIDTHS = (1, 2, 4, 8, 8)  # of the discriminator, in widths: each ends in a halving


class Generator(nn.Module):
  """Pictures [B, h, w, C] in [-1, 1] -> [B, scale h, scale w, C], near [-1, 1]; bilinear ones, and what is learnt."""

  channels: int
  scale: int
  width: int
  blocks: int
  dtype: str
  param_dtype: str
  multiple = 1  # sides that it takes are multiples of it

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=SMALL_INIT)
    layer = lambda features: Conv(features, 3, padding=1, **kinds)
    act = lambda x: nn.leaky_relu(x, 0.1)
    x = (x + 1) / 2
    large = interpolate(x, [self.scale * side for side in x.shape[1:3]])
    x = act(layer(self.width)(x))
    for _ in range(self.blocks):
      y = nn.relu(layer(self.width)(x))
      x += layer(self.width)(y)
    for factor in SCALES[self.scale]:
      x = act(pixel_shuffle(layer(self.width * factor**2)(x), factor))
    x = act(layer(self.width)(x))
    return 2 * (layer(self.channels)(x) + large) - 1


class Discriminator(nn.Module):
  """Pictures [B, H, W, C] in [-1, 1] -> logits [B]: five halvings with batch norm, and two linear layers."""

  width: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    act = lambda x: nn.leaky_relu(x, 0.2)
    x = (x + 1) / 2
    for i, factor in enumerate(WIDTHS):
      features = factor * self.width
      x = Conv(features, 3, padding=1, use_bias=not i, kernel_init=TORCH_INIT, **kinds)(x)
      x = act(BatchNorm(**kinds)(x, train=train) if i else x)
      x = Conv(features, 4, 2, 1, use_bias=False, kernel_init=TORCH_INIT, **kinds)(x)
      x = act(BatchNorm(**kinds)(x, train=train))
    x = x.reshape(len(x), -1)
    x = act(nn.Dense(100, kernel_init=TORCH_INIT, **kinds)(x))
    return nn.Dense(1, kernel_init=TORCH_INIT, **kinds)(x)[:, 0]


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  scale: int = 4,
  width: int = 64,
  width_D: int = 64,
  blocks: int = 16,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the large pictures that are learnt from, a side or (height, width): multiples of 32.
    channels: of the pictures.
    scale: factor by which G enlarges pictures: 2, 3 or 4.
    width: channels of all of G's layers.
    width_D: channels of D's first layer; deeper layers have 2, 4 and 8 times as many.
    blocks: residual blocks of G.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that D's halvings do not fit, or a value that is none of these.
  """
  if scale not in SCALES:
    raise UserError(f'networks.scale={scale!r} must be one of {", ".join(map(str, SCALES))}')
  component.check_depth(blocks=blocks)
  if min(width, width_D) < 1 or blocks < 0:
    raise UserError(
      f'networks.width={width} and width_D={width_D} must be at least 1, blocks={blocks} at least 0'
    )
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  D = build_discriminator(resolution, width_D, 'srresnet', **kinds)
  return {'G': Generator(channels, scale, width, blocks, **kinds), 'D': D}


def build_discriminator(
  resolution: int | Sequence[int], width: int, who: str, **kinds: str
) -> Discriminator:
  """The discriminator of pictures of a resolution, for networks of the name `who`."""
  check_sides(media.sides(resolution), 2 ** len(WIDTHS), f'networks.name={who}')
  return Discriminator(width, **kinds)
