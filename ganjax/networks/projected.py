"""Projected GAN's networks (Sauer et al. 2021, arXiv:2111.01007): FastGAN's generator and four discriminators.

The discriminators see four maps of a frozen feature network (`methods/projected.py`), not pictures. Convolutions mix
the maps across channels and scales (section 3.2). Their weights are random and never trained. Sizes follow the
published code. Mixing is linear, so a convolution to fewer channels may come before the upsampling.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.layers.conv import Conv, conv
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.norm import BatchNorm
from ganjax.layers.resample import interpolate, mean_pool
from ganjax.layers.spectral import SpectralNorm
from ganjax.networks import fastgan

MIXED = (
  1,
  2,
  4,
  8,
)  # channels of each scale, the largest map's first, after mixing channels, in widths
# Of each discriminator, in widths: channels of the map that it sees, and after each halving.
HEADS = (1, 1, 2, 4, 8), (1, 2, 4, 8), (2, 4, 8), (4, 8)
CONDITION, EMBEDDING = 64, 128  # channels that a class weighs, and the length of its embedding


class Mix(nn.Module):
  """Random 1x1 convolutions of four maps [B, H, W, C], the largest first, each half the one before.

  Cross-channel mixing to so many channels as `MIXED` says, then cross-scale mixing from the smallest map to the
  largest: what comes from below is added, doubled and convolved. Weights are in the collection `mixing`, in which
  nothing changes; they and biases are uniform in +- 1 / sqrt(channels), PyTorch's first weights.
  """

  width: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, maps: Sequence[jax.Array]) -> list[jax.Array]:
    """-> maps of twice the sides and `HEADS[i][0]` widths of channels."""

    def project(name, x, features):
      def draw(shape):
        bound = x.shape[-1] ** -0.5
        key = self.make_rng('params')
        return jax.random.uniform(key, shape, self.param_dtype, -bound, bound)

      kernel = self.variable('mixing', f'{name}_kernel', draw, (1, 1, x.shape[-1], features))
      bias = self.variable('mixing', f'{name}_bias', draw, (features,))
      x, w, b = nn.dtypes.promote_dtype(x, kernel.value, bias.value, dtype=self.dtype)
      return conv(x, w) + b

    found, below = [], None
    for i in reversed(range(len(maps))):
      x = project(f'channels_{i}', maps[i], MIXED[i] * self.width)
      x = x if below is None else x + below
      below = project(f'scales_{i}', x, HEADS[i][0] * self.width)
      below = interpolate(below, [2 * side for side in below.shape[1:3]], align_corners=True)
      found.append(below)
    return found[::-1]


class Head(nn.Module):
  """A map [B, H, W, C], and labels [B] -> a logit for each place, [B, h, w]; the sides after all halvings, less 3."""

  features: tuple  # channels after each halving
  separable: bool
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    how = dict(kernel_init=fastgan.TORCH_INIT, **kinds)
    layer = lambda *args, **more: SpectralNorm(Conv(*args, **how, **more))(x)
    for features in self.features:
      if self.separable:
        x = layer(x.shape[-1], 3, padding=1, groups=x.shape[-1], use_bias=False)
        x = layer(features, 1, use_bias=False)
      else:
        x = layer(features, 4, stride=2, padding=1)
      x = nn.leaky_relu(BatchNorm(**kinds)(x, train=train), 0.2)
      x = mean_pool(x) if self.separable else x
    if not self.num_classes:
      return layer(1, 4, use_bias=False)[..., 0]
    x = layer(CONDITION, 4, use_bias=False)
    y = ClassEmbed(self.num_classes, EMBEDDING, param_dtype=self.param_dtype)(label)
    y = nn.leaky_relu(nn.Dense(CONDITION, kernel_init=fastgan.TORCH_INIT, **kinds)(y), 0.2)
    return jnp.einsum('bhwc,bc->bhw', x, y) / CONDITION**0.5


class Discriminator(nn.Module):
  """Maps of strides 4, 8, 16 and 32 of the frozen network -> logits [B, N] of all discriminators, side by side.

  Raises:
    UserError: maps too small to be judged: pictures of 128 pixels give one logit each, 224 give 16, 256 give 25.
  """

  width: int
  separable: bool
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, maps: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    logits = []
    for i, x in enumerate(Mix(self.width, **kinds)(maps)):
      features = tuple(factor * self.width for factor in HEADS[i][1:])
      head = Head(features, self.separable, self.num_classes, **kinds)
      logits.append(head(x, label, train=train).reshape(len(x), -1))
    return jnp.concatenate(logits, 1)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 128,
  width_D: int = 64,
  blocks: str = 'double',
  separable: bool = False,
  num_classes: int = 0,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution, channels: of the images.
    width: channels of G: maps of 4, 8, 16, ... pixels have 16, 8, 4, 2, 2, 1, 1/2, ... times as many.
    width_D: channels to which the largest map is mixed; the four discriminators have 1, 2, 4, 8 times as many.
    blocks: blocks of G: 'double' as in the published code's configuration fastgan; 'single' as in its fastgan_lite,
      without noise; 'alternating' as in FastGAN.
    separable: whether D has depthwise and 1x1 convolutions, as in the published code with StyleGAN2's generator.
    num_classes: number of classes; 0: unconditional.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a value that is none of these.
  """
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  if width_D < 1:
    raise UserError(f'networks.width_D={width_D} must be at least 1')
  if channels not in (1, 3):
    raise UserError(f'the frozen network sees pictures of 1 or 3 channels, not {channels}')
  inits = dict(kernel_init=fastgan.TORCH_INIT, scale_init=nn.initializers.ones)
  how = dict(width=width, blocks=blocks, num_classes=num_classes)
  return {
    'G': fastgan.build_generator(resolution, channels, **how, **inits, **kinds),
    'D': Discriminator(width_D, separable, num_classes, **kinds),
  }
