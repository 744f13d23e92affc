"""Real-ESRGAN's compact generator (SRVGGNetCompact of its code), and the U-Net of `networks/real_esrgan.py`.

It is fast, because all layers work on small pictures. It learns the residual to the picture with repeated pixels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, component, media
from ganjax.layers.conv import Conv
from ganjax.layers.resample import pixel_shuffle
from ganjax.networks.pix2pix import check_sides
from ganjax.networks.real_esrgan import Discriminator
from ganjax.networks.srresnet import TORCH_INIT


class Generator(nn.Module):
  """Pictures [B, h, w, C] in [-1, 1] -> [B, scale h, scale w, C], near [-1, 1]."""

  channels: int
  scale: int
  width: int
  layers: int
  dtype: str
  param_dtype: str
  multiple = 1  # sides that it takes are multiples of it

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    layer = lambda features: Conv(
      features, 3, padding=1, kernel_init=TORCH_INIT, dtype=self.dtype, param_dtype=self.param_dtype
    )
    x = (x + 1) / 2
    large = jnp.repeat(jnp.repeat(x, self.scale, 1), self.scale, 2)
    for i in range(self.layers + 1):
      x = layer(self.width)(x)
      quarter = nn.initializers.constant(0.25)
      slope = self.param(f'slope_{i}', quarter, (self.width,), self.param_dtype)
      x = jnp.where(x >= 0, x, slope.astype(x.dtype) * x)  # PReLU, with a slope for each channel
    x = pixel_shuffle(layer(self.channels * self.scale**2)(x), self.scale)
    return 2 * (x + large) - 1


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  scale: int = 4,
  width: int = 64,
  width_D: int = 64,
  layers: int = 32,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the large pictures that are learnt from, a side or (height, width): multiples of 8.
    channels: of the pictures.
    scale: factor by which G enlarges pictures, from 1.
    width: channels of G's layers.
    width_D: channels of D's first layer; deeper layers have 2, 4 and 8 times as many.
    layers: layers of G between the first and the last: 32 in the general model of Real-ESRGAN, 16 in the one for
      animation.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that D's halvings do not fit, or a value that is none of these.
  """
  check_sides(media.sides(resolution), 8, 'networks.name=srvgg')
  component.check_depth(layers=layers)
  if min(scale, width, width_D) < 1 or layers < 0:
    raise UserError(
      f'networks.scale={scale}, width={width} and width_D={width_D} must be at least 1, layers={layers} at least 0'
    )
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  G = Generator(channels, scale, width, layers, **kinds)
  return {'G': G, 'D': Discriminator(width_D, **kinds)}
