"""pix2pix (Isola et al. 2017, arXiv:1611.07004, section 6.1): a U-Net and a discriminator of patches.

All kernels are 4x4, weights come from N(0, 0.02). The generator draws nothing but its dropout, in training and after.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm, instance_norm

INIT = nn.initializers.normal(0.02)


class Generator(nn.Module):
  """The U-Net: pictures [B, H, W, S] and a key for each, [B] -> pictures [B, H, W, channels] in (-1, 1).

  `downs` convolutions of stride 2 down to the smallest map, as many transposed ones up again, and each but the first
  of these sees the map of its size on the way down beside that from below.
  """

  channels: int
  width: int
  downs: int
  norm: str
  dropout_levels: tuple
  dtype: str
  param_dtype: str

  @property
  def multiple(self) -> int:
    """Sides that it takes are multiples of it."""
    return 2**self.downs

  @nn.compact
  def __call__(self, x: jax.Array, keys: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT)
    layer = dict(kernel=4, stride=2, padding=1, use_bias=self.norm == 'instance', **kinds)
    widths = [self.width * min(2**i, 8) for i in range(self.downs)]
    skips = []
    for i, features in enumerate(widths):
      x = Conv(features, **layer)(nn.leaky_relu(x, 0.2) if i else x)
      # One pixel, as the smallest map may be, would be normalised to nothing.
      if 0 < i < self.downs - 1:
        x = normalize(self, x, train)
      skips.append(x)
    x = skips.pop()
    for i, features in enumerate(widths[-2::-1]):
      x = normalize(self, ConvTranspose(features, **layer)(nn.relu(x)), train)
      if i in self.dropout_levels:
        x = drop(x, keys, i)
      x = jnp.concatenate([skips.pop(), x], -1)
    return jnp.tanh(ConvTranspose(self.channels, **{**layer, 'use_bias': True})(nn.relu(x)))


class Discriminator(nn.Module):
  """The PatchGAN: pictures [B, H, W, C] -> logits [B, h, w], one of each patch; `layers` have stride 2.

  Patches have 16, 34, 70, 142 and 286 pixels with 1 to 5 layers; with none, which makes all kernels 1x1, a pixel.
  """

  width: int
  layers: int
  norm: str
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT)
    biased = self.norm == 'instance'
    act = lambda x: nn.leaky_relu(x, 0.2)
    if not self.layers:
      x = act(Conv(self.width, 1, **kinds)(x))
      x = act(normalize(self, Conv(2 * self.width, 1, use_bias=biased, **kinds)(x), train))
      return Conv(1, 1, use_bias=biased, **kinds)(x)[..., 0]
    x = act(Conv(self.width, 4, stride=2, padding=1, **kinds)(x))
    for i in range(1, self.layers + 1):
      stride = 2 if i < self.layers else 1
      layer = dict(kernel=4, stride=stride, padding=1, use_bias=biased, **kinds)
      x = act(normalize(self, Conv(self.width * min(2**i, 8), **layer)(x), train))
    return Conv(1, 4, padding=1, **kinds)(x)[..., 0]


def normalize(module: nn.Module, x: jax.Array, train: bool) -> jax.Array:
  """x through a norm of `module.norm`: 'batch', with scales from N(1, 0.02), or 'instance'."""
  if module.norm == 'instance':
    return instance_norm(x)
  around_one = lambda key, shape, dtype: 1 + 0.02 * jax.random.normal(key, shape, dtype)
  kinds = dict(dtype=module.dtype, param_dtype=module.param_dtype)
  return BatchNorm(scale_init=around_one, **kinds)(x, train=train)


def drop(x: jax.Array, keys: jax.Array, level: int) -> jax.Array:
  """x [B, H, W, C] with half of its values 0 and the others doubled: of each picture by its own key and the level."""
  draw = lambda key: jax.random.bernoulli(jax.random.fold_in(key, level), 0.5, x.shape[1:])
  return jnp.where(jax.vmap(draw)(keys), 2 * x, 0)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 64,
  width_D: int = 64,
  downs: int = 8,
  layers_D: int = 3,
  norm: str = 'batch',
  dropout_levels: Sequence[int] = (0, 1, 2),
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the pictures, a side or (height, width): multiples of 2^downs.
    channels: of the pictures that G makes; those that it takes may have another number.
    width: channels of G's first layer; deeper layers have 2, 4 and 8 times as many.
    width_D: the same for D.
    downs: halvings in G: 8, 7 and 6 at 256, 128 and 64 pixels make the smallest map one pixel.
    layers_D: layers of stride 2 in D: 0, 1, 3 and 5 in the paper, for patches of 1, 16, 70 and 286 pixels.
    norm: 'batch' as in the paper, or 'instance'.
    dropout_levels: layers of G with dropout 0.5, counted up from the smallest map. The authors' first code has it in
      the first three, their later code in (1, 2, 3) with 8 downs, in (1, 2) with 7.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that the halvings do not fit, or a value that is none of these.
  """
  if downs < 2 or min(width, width_D) < 1:
    raise UserError(
      f'networks.downs={downs} must be at least 2, width={width} and width_D={width_D} at least 1'
    )
  sides = media.sides(resolution)
  check_sides(sides, 2**downs, f'networks.name=pix2pix with downs={downs}')
  check_patches(sides, layers_D)
  if norm not in ('batch', 'instance'):
    raise UserError(f"networks.norm={norm!r} is neither 'batch' nor 'instance'")
  levels = tuple(dropout_levels)
  if not set(levels) <= set(range(downs - 1)):
    raise UserError(
      f'networks.dropout_levels={levels} must be among 0 to {downs - 2}, the layers of G but its last'
    )
  kinds = dict(norm=norm, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(channels, width, downs, dropout_levels=levels, **kinds),
    'D': Discriminator(width_D, layers_D, **kinds),
  }


def check_sides(resolution: Sequence[int], multiple: int, who: str) -> None:
  """Raises UserError unless both sides, (height, width), are multiples of `multiple`."""
  if any(side % multiple for side in resolution):
    height, width = resolution
    near = ' and '.join(f'{max(1, round(side / multiple)) * multiple}' for side in resolution)
    raise UserError(
      f'{who} takes sides that are multiples of {multiple}: data.resolution is {height}x{width}; the nearest are {near}'
    )


def check_patches(resolution: Sequence[int], layers: int) -> None:
  """Raises UserError unless a PatchGAN of so many layers of stride 2 has logits for pictures of (height, width)."""
  if not 0 <= layers <= 10:
    raise UserError(f'networks.layers_D={layers} must be from 0 to 10')
  least = 3 * 2**layers
  if layers and min(resolution) < least:
    height, width = resolution
    raise UserError(
      f'networks.layers_D={layers} takes sides from {least}: data.resolution is {height}x{width}; take fewer layers'
    )
