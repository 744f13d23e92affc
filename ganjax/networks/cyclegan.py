"""CycleGAN (Zhu et al. 2017, arXiv:1703.10593, section 7.2): two ResNet generators and two PatchGAN discriminators.

Instance norm everywhere, weights from N(0, 0.02). The discriminators are the PatchGANs of pix2pix.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, component, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import instance_norm
from ganjax.networks.pix2pix import INIT, Discriminator, check_patches, check_sides


class Generator(nn.Module):
  """Pictures [B, H, W, S] -> pictures [B, H, W, channels] in (-1, 1): two halvings, residual blocks, two doublings."""

  channels: int
  width: int
  blocks: int
  dtype: str
  param_dtype: str
  multiple = 4  # sides that it takes are multiples of it

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT)
    norm = lambda x: nn.relu(instance_norm(x))
    mirrored = lambda features, kernel: Conv(
      features, kernel, padding=kernel // 2, outside='reflect', **kinds
    )
    x = norm(mirrored(self.width, 7)(x))
    for factor in (2, 4):
      x = norm(Conv(factor * self.width, 3, stride=2, padding=1, **kinds)(x))
    for _ in range(self.blocks):
      y = norm(mirrored(4 * self.width, 3)(x))
      x += instance_norm(mirrored(4 * self.width, 3)(y))  # no ReLU after the sum
    for factor in (2, 1):
      x = norm(ConvTranspose(factor * self.width, 3, stride=2, padding=1, extra=1, **kinds)(x))
    return jnp.tanh(mirrored(self.channels, 7)(x))


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 64,
  width_D: int = 64,
  blocks: int = 9,
  layers_D: int = 3,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The networks {'G_AB', 'G_BA', 'D_A', 'D_B'}.

  Args:
    resolution: of the pictures, a side or (height, width): multiples of 4 from 8.
    channels: of the pictures of both domains.
    width: channels of the generators' first layer; the residual blocks have 4 times as many.
    width_D: channels of the first layer of each discriminator.
    blocks: residual blocks: 6 at 128 pixels, 9 at 256 and more.
    layers_D: layers of stride 2 in the discriminators, see `networks/pix2pix.py`.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that do not fit, or a size below 1.
  """
  sides = media.sides(resolution)
  check_sides(sides, 4, 'networks.name=cyclegan')
  check_patches(sides, layers_D)
  if min(sides) < 8:
    raise UserError('networks.name=cyclegan takes sides from 8: smaller maps cannot be mirrored')
  component.check_depth(blocks=blocks)
  if min(width, width_D) < 1 or blocks < 0:
    raise UserError(
      f'networks.width={width} and width_D={width_D} must be at least 1, blocks={blocks} at least 0'
    )
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  G = Generator(channels, width, blocks, **kinds)
  D = Discriminator(width_D, layers_D, 'instance', **kinds)
  return {'G_AB': G, 'G_BA': G, 'D_A': D, 'D_B': D}
