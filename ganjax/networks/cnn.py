"""The small CNN of SNGAN (Miyato et al. 2018, arXiv:1802.05957, appendix B.4, table 3), D with spectral norm or none.

G: a linear layer to resolution / 8, three stride-2 transposed convolutions, a 3x3 convolution, tanh; batch norm, ReLU
before each but the first (the table has none after the linear layer, implementations do). D: seven convolutions, 3x3
and strided 4x4 in turn, LeakyReLU(0.1). Without spectral norm it is the critic of WGAN with clipped weights or a
gradient penalty, which batch norm would break. Weights from N(0, 0.02).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm
from ganjax.layers.spectral import SpectralNorm

INIT = nn.initializers.normal(0.02)


class Generator(nn.Module):
  """z [B, Z] -> images [B, height, width, channels] in (-1, 1)."""

  resolution: tuple  # (height, width)
  channels: int
  width: int
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    h, w = (side // 8 for side in self.resolution)
    norm = lambda x: nn.relu(BatchNorm(**kinds)(x, train=train))
    x = nn.Dense(h * w * 8 * self.width, kernel_init=INIT, **kinds)(z)
    x = x.reshape(-1, h, w, 8 * self.width)
    for factor in (4, 2, 1):
      x = ConvTranspose(factor * self.width, 4, stride=2, padding=1, kernel_init=INIT, **kinds)(
        norm(x)
      )
    return jnp.tanh(Conv(self.channels, 3, padding=1, kernel_init=INIT, **kinds)(norm(x)))


class Discriminator(nn.Module):
  """Images [B, height, width, channels] -> logits [B]."""

  width: int
  spectral: bool
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(kernel_init=INIT, dtype=self.dtype, param_dtype=self.param_dtype)
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    for factor in (1, 2, 4):
      conv = wrap(Conv(factor * self.width, 3, padding=1, **kinds))
      x = nn.leaky_relu(conv(x), 0.1)
      conv = wrap(Conv(2 * factor * self.width, 4, stride=2, padding=1, **kinds))
      x = nn.leaky_relu(conv(x), 0.1)
    x = nn.leaky_relu(wrap(Conv(8 * self.width, 3, padding=1, **kinds))(x), 0.1)
    return wrap(nn.Dense(1, **kinds))(x.reshape(len(x), -1))[:, 0]


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 64,
  spectral: bool = False,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images: a side or (height, width), multiples of 8 from 16.
    channels: of the images.
    width: channels of G's last hidden layer and of D's first; the widest layer has 8 times as many.
    spectral: whether D has spectral normalization, as in SNGAN.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a resolution that three halvings do not fit, or no width.
  """
  sides = media.sides(resolution)
  if any(side % 8 or side < 16 for side in sides):
    raise UserError(
      f'networks.name=cnn halves pictures three times: data.resolution={resolution} must be a multiple of 8 from 16'
    )
  if width < 1:
    raise UserError(f'networks.width={width} must be at least 1')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(sides, channels, width, **kinds),
    'D': Discriminator(width, spectral, **kinds),
  }
