"""Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833, section 3.4): ESRGAN's generator, and a U-Net that judges pixels."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from ganjax import UserError, media
from ganjax.layers.conv import Conv
from ganjax.layers.resample import interpolate
from ganjax.layers.spectral import SpectralNorm
from ganjax.networks import rrdb
from ganjax.networks.pix2pix import check_sides
from ganjax.networks.srresnet import TORCH_INIT


class Discriminator(nn.Module):
  """Pictures [B, H, W, C] in [-1, 1] -> logits [B, H, W], one a pixel: three halvings, and three doublings.

  Layers are under spectral norm but the first and the last. The maps on the way up have those of their size on the way
  down added.
  """

  width: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(kernel_init=TORCH_INIT, dtype=self.dtype, param_dtype=self.param_dtype)
    act = lambda x: nn.leaky_relu(x, 0.2)
    layer = lambda x, features, *how: act(
      SpectralNorm(Conv(features, *how, use_bias=False, **kinds))(x)
    )
    x = act(Conv(self.width, 3, padding=1, **kinds)((x + 1) / 2))
    seen = []
    for factor in (2, 4, 8):
      seen.append(x)
      x = layer(x, factor * self.width, 4, 2, 1)
    for factor in (4, 2, 1):
      x = interpolate(x, [2 * side for side in x.shape[1:3]])
      x = layer(x, factor * self.width, 3, 1, 1) + seen.pop()
    for _ in range(2):
      x = layer(x, self.width, 3, 1, 1)
    return Conv(1, 3, padding=1, **kinds)(x)[..., 0]


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  scale: int = 4,
  width: int = 64,
  growth: int = 32,
  width_D: int = 64,
  blocks: int = 23,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}; G is ESRGAN's.

  Args:
    resolution: of the large pictures that are learnt from, a side or (height, width): multiples of 8.
    channels: of the pictures.
    scale, width, growth, blocks: settings of G, see `networks/rrdb.py`.
    width_D: channels of D's first layer; deeper layers have 2, 4 and 8 times as many.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that D's halvings do not fit, or a value that is none of these.
  """
  check_sides(media.sides(resolution), 8, 'networks.name=real_esrgan')
  if width_D < 1:
    raise UserError(f'networks.width_D={width_D} must be at least 1')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  G = rrdb.build_generator(channels, scale, width, growth, blocks, **kinds)
  return {'G': G, 'D': Discriminator(width_D, **kinds)}
