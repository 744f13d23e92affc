"""AdaIN's decoder (Huang and Belongie 2017, arXiv:1703.06868, section 6.1): the mirror of VGG19 up to relu4_1.

Pixels are repeated where the encoder pools, borders are mirrored, and nothing is normalised. Inside pictures are in
[0, 1], as the published weights have them.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from ganjax import UserError, media
from ganjax.layers.conv import Conv
from ganjax.layers.resample import upsample
from ganjax.networks.pix2pix import check_sides
from ganjax.networks.srresnet import TORCH_INIT

LEVELS = (4, 3), (2, 1), (1, 1)  # widths, and convolutions that keep them


class Decoder(nn.Module):
  """Features [B, H, W, F] -> pictures [B, 8 H, 8 W, channels], near [-1, 1]."""

  channels: int
  width: int
  dtype: str
  param_dtype: str
  multiple = (
    16  # divides sides of pictures: features of 2x2 and more can be mirrored at their borders
  )

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=TORCH_INIT)
    layer = lambda features: Conv(features, 3, padding=1, outside='reflect', **kinds)
    x = nn.relu(layer(4 * self.width)(x))
    for (factor, count), after in zip(LEVELS, (*LEVELS[1:], None)):
      x = upsample(x)
      for _ in range(count):
        x = nn.relu(layer(factor * self.width)(x))
      if after:
        x = nn.relu(layer(after[0] * self.width)(x))
    return 2 * layer(self.channels)(x) - 1


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 64,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The network {'G'}, the decoder.

  Args:
    resolution: of the pictures, a side or (height, width): multiples of 16.
    channels: of the pictures.
    width: channels of the decoder's largest maps; smaller maps have 2 and 4 times as many.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that do not fit, or a width below 1.
  """
  check_sides(media.sides(resolution), Decoder.multiple, 'networks.name=adain')
  if width < 1:
    raise UserError(f'networks.width={width} must be at least 1')
  return {'G': Decoder(channels, width, dtype, param_dtype)}
