"""R3GAN's networks (Huang, Gokaslan, Kuleshov and Tompkin 2024, arXiv:2501.05441, section 3, Config E).

G and D mirror each other: stages of residual blocks at 4, 8, ..., resolution, with bilinear resampling between them. A
block is an inverted bottleneck: a 1x1, a grouped 3x3 and a 1x1 convolution. There is no normalization. The last
convolution of a block starts at zero and the others are small, so blocks start as the identity (fix-up, Zhang et al.,
arXiv:1901.09321).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.layers.conv import Conv
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.resample import downsample_bilinear, upsample_bilinear

MOST_BLOCKS = 16  # a resolution: each is traced
PLAIN = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')


class Block(nn.Module):
  """x + f(x), [B, H, W, C] -> [B, H, W, C]."""

  hidden: int
  groups: int
  depth: int  # blocks in the network
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    # He's variance for LeakyReLU(0.2), each weight depth^(-1/4) as large.
    scale = 2 / (1 + 0.2**2) / self.depth**0.5
    kinds['kernel_init'] = nn.initializers.variance_scaling(scale, 'fan_in', 'normal')
    y = nn.leaky_relu(Conv(self.hidden, 1, **kinds)(x), 0.2)
    y = nn.leaky_relu(Conv(self.hidden, 3, padding=1, groups=self.groups, **kinds)(y), 0.2)
    kinds['kernel_init'] = nn.initializers.zeros
    return x + Conv(x.shape[-1], 1, use_bias=False, **kinds)(y)


class Generator(nn.Module):
  """z [B, Z], and labels with classes -> images [B, resolution, resolution, channels], not bounded."""

  channels: int
  stages: tuple  # (width, hidden, groups) of each, from 4x4 up
  blocks: int
  num_classes: int
  embed_dim: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    if self.num_classes:
      init = nn.initializers.normal(self.num_classes**-0.5)
      embed = ClassEmbed(self.num_classes, self.embed_dim, init, **kinds)
      z = jnp.concatenate([z, embed(label)], -1)
    plain = dict(use_bias=False, kernel_init=PLAIN, **kinds)
    width = self.stages[0][0]
    basis = self.param('basis', nn.initializers.normal(1.0), (4, 4, width), self.param_dtype)
    modulation = nn.Dense(width, **plain)(z)
    x = basis.astype(modulation.dtype) * modulation[:, None, None]
    for i, (width, *shape) in enumerate(self.stages):
      if i:
        x = Conv(width, 1, **plain)(x) if width != x.shape[-1] else x
        x = upsample_bilinear(x)
      for _ in range(self.blocks):
        x = Block(*shape, self.blocks * len(self.stages), **kinds)(x)
    return Conv(self.channels, 1, **plain)(x)


class Discriminator(nn.Module):
  """Images [B, resolution, resolution, channels], and labels with classes -> logits [B]."""

  stages: tuple
  blocks: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    plain = dict(use_bias=False, kernel_init=PLAIN, **kinds)
    for i, (width, *shape) in enumerate(reversed(self.stages)):
      x = downsample_bilinear(x) if i else x
      x = Conv(width, 1, **plain)(x) if not i or width != x.shape[-1] else x
      for _ in range(self.blocks):
        x = Block(*shape, self.blocks * len(self.stages), **kinds)(x)
    width = x.shape[-1]
    basis = self.param('basis', nn.initializers.normal(1 / 4), (4, 4, width), self.param_dtype)
    x = jnp.einsum('bhwc,hwc->bc', x, basis.astype(x.dtype))
    if not self.num_classes:
      return nn.Dense(1, **plain)(x)[:, 0]
    init = nn.initializers.normal((self.num_classes * width) ** -0.5)
    embed = ClassEmbed(self.num_classes, width, init, **kinds)
    return (embed(label) * nn.Dense(width, **plain)(x)).sum(-1)


def build(
  *,
  resolution: int,
  channels: int,
  width: int | Sequence[int] = 768,
  blocks: int = 2,
  cardinality: int = 96,
  expansion: int = 2,
  num_classes: int = 0,
  embed_dim: int = 64,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images, 4 * 2^k from 8.
    channels: of the images.
    width: channels of every stage, or a tuple with the channels at 4, 8, ..., resolution.
    blocks: residual blocks per stage.
    cardinality: groups of the 3x3 convolutions in the widest stage. A narrower stage has fewer groups of the same size.
    expansion: channels of the 3x3 convolutions, in units of the width.
    num_classes: number of classes of conditional networks; 0: unconditional.
    embed_dim: length of the class embedding that is joined with G's latent; D's has the width of its last stage.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: values that do not fit.
  """
  count = resolution.bit_length() - 2 if isinstance(resolution, int) else 0
  if count < 2 or resolution != 4 * 2 ** (count - 1):
    raise UserError(
      f'networks.name=r3gan doubles 4 pixels: data.resolution={resolution} must be 8, 16, 32, ...'
    )
  widths = (width,) * count if isinstance(width, int) else tuple(width)
  if len(widths) != count or min(*widths, blocks, cardinality, expansion, embed_dim) < 1:
    raise UserError(
      f'networks needs width, blocks, cardinality, expansion, embed_dim from 1, and one width or {count} at '
      f'data.resolution={resolution}; got width={width}'
    )
  if blocks > MOST_BLOCKS:
    raise UserError(f'networks.blocks={blocks} must be at most {MOST_BLOCKS} a resolution')
  if num_classes < 0:
    raise UserError(f'networks.num_classes={num_classes} must be at least 0')
  group, rest = divmod(max(widths) * expansion, cardinality)
  if rest or any(w * expansion % group for w in widths):
    raise UserError(
      f'networks.cardinality={cardinality} must divide expansion={expansion} times the largest width, and the size of '
      f'these groups that of every width; got width={width}'
    )
  stages = tuple((w, w * expansion, w * expansion // group) for w in widths)
  kinds = dict(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(channels, stages, blocks, embed_dim=embed_dim, **kinds),
    'D': Discriminator(stages, blocks, **kinds),
  }
