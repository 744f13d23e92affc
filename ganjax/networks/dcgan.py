"""DCGAN (Radford et al. 2015, arXiv:1511.06434, section 3).

All-convolutional: stride-2 transposed convolutions up, stride-2 convolutions down, batch norm in both networks but
for the generator's output and the discriminator's input layer, ReLU up, LeakyReLU(0.2) down, weights from N(0, 0.02).
Four resamplings each way, so the smallest map is resolution / 16: 2x2 at 32 pixels (the CIFAR-10 form), 4x4 at 64 (the
paper's figure 1).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm

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
    h, w = (side // 16 for side in self.resolution)
    norm = lambda x: nn.relu(BatchNorm(**kinds)(x, train=train))
    # The first transposed convolution acts on a 1x1 map: a linear layer.
    x = nn.Dense(h * w * 8 * self.width, kernel_init=INIT, **kinds)(z)
    x = norm(x.reshape(-1, h, w, 8 * self.width))
    for factor in (4, 2, 1):
      x = norm(
        ConvTranspose(factor * self.width, 4, stride=2, padding=1, kernel_init=INIT, **kinds)(x)
      )
    x = ConvTranspose(self.channels, 4, stride=2, padding=1, kernel_init=INIT, **kinds)(x)
    return jnp.tanh(x)


class Discriminator(nn.Module):
  """Images [B, height, width, channels] -> logits [B]."""

  width: int
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    for i in range(4):
      x = Conv(self.width * 2**i, 5, stride=2, padding=2, kernel_init=INIT, **kinds)(x)
      if i:
        x = BatchNorm(**kinds)(x, train=train)
      x = nn.leaky_relu(x, 0.2)
    return nn.Dense(1, kernel_init=INIT, **kinds)(x.reshape(x.shape[0], -1))[:, 0]


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 128,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images: a side or (height, width), multiples of 16 from 32.
    channels: of the images.
    width: channels of G's last hidden layer. G's layers have 8, 4, 2, 1 times as many, D's 1/2, 1, 2, 4 times.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a resolution that four halvings do not fit, or an odd width.
  """
  sides = media.sides(resolution)
  if any(side % 16 or side < 32 for side in sides):
    raise UserError(
      f'networks.name=dcgan halves pictures four times: data.resolution={resolution} must be a multiple of 16 from 32'
    )
  if width < 2 or width % 2:
    raise UserError(f'networks.width={width} must be even and at least 2')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(sides, channels, width, **kinds),
    'D': Discriminator(width // 2, **kinds),
  }
