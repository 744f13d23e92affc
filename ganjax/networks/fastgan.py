"""FastGAN (Liu et al. 2021, arXiv:2101.04775, section 3), and the two forms of its generator in Projected GAN's code.

Maps grow from about 4x4 by nearest-neighbour doubling. Each convolution has spectral norm and is followed by batch norm
and a gated linear unit. Skip-layer excitation lets a small map, reduced to 4x4, scale the channels of one that is 16
times as large: 4 to 64, 8 to 128, 16 to 256, 32 to 512. Below 1024 pixels there is no tanh at the end: pictures may
leave [-1, 1].

The discriminator judges a picture and a smaller one, which the generator makes from a smaller map, and learns to decode
real pictures from its maps (section 3.2).
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.norm import BatchNorm, ConditionalBatchNorm
from ganjax.layers.resample import adaptive_mean, mean_pool
from ganjax.layers.spectral import SpectralNorm
from ganjax.wording import closest

# Channels, in widths, of maps whose smaller side is 4, 8, 16, ..., 1024.
FACTORS = 16, 8, 4, 2, 2, 1, 1 / 2, 1 / 4, 1 / 8
SKIP = 4  # doublings from the map that scales to the one that is scaled
LAST_SCALED = 7  # 512
BLOCKS = 'double', 'single', 'alternating'

# PyTorch's first weights of a layer: uniform in +- 1 / sqrt(fan_in). Of a transposed convolution it takes the outputs.
TORCH_INIT = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
INIT, SCALE_INIT = nn.initializers.normal(0.02), lambda *a: 1 + nn.initializers.normal(0.02)(*a)


def conv(features: int, size: int, **how: Any) -> SpectralNorm:
  """A convolution without bias, with spectral norm."""
  return SpectralNorm(Conv(features, size, **{'use_bias': False, **how}))


def glu(x: jax.Array) -> jax.Array:
  """[..., 2C] -> [..., C]: the first half times the sigmoid of the second."""
  x, gate = jnp.split(x, 2, -1)
  return x * nn.sigmoid(gate)


class Excite(nn.Module):
  """Skip-layer excitation (section 3.1): a small map [B, h, w, C], a large one [B, H, W, features] -> the large one."""

  features: int
  how: dict  # of convolutions: kernel_init, dtype, param_dtype

  @nn.compact
  def __call__(self, small: jax.Array, large: jax.Array) -> jax.Array:
    x = conv(self.features, 4, **self.how)(adaptive_mean(small, 4))
    x = conv(self.features, 1, **self.how)(nn.swish(x))
    return large * nn.sigmoid(x)


class UpBlock(nn.Module):
  """[B, H, W, C] -> [B, 2H, 2W, features], by one convolution, or by two with noise after each."""

  features: int
  double: bool
  scale_init: Callable
  how: dict

  @nn.compact
  def __call__(
    self, x: jax.Array, condition: jax.Array | None, keys: jax.Array | None, *, train: bool
  ) -> jax.Array:
    """condition: vectors [B, E] or None; keys [B]: of each picture's noise."""
    kinds = {k: v for k, v in self.how.items() if k != 'kernel_init'}
    shared = None
    for number in range(1 + self.double):
      resample = None if number else 'up'
      x = conv(2 * self.features, 3, padding=1, resample=resample, **self.how)(x)
      if self.double:
        # With classes one weight for both, as in Projected GAN's code.
        if number == 0 or condition is None:
          zeros = nn.initializers.zeros
          shared = self.param(f'noise_{number}', zeros, (), kinds['param_dtype'])
        draw = lambda key, n=number, s=x.shape[1:3]: jax.random.normal(
          jax.random.fold_in(key, n), (*s, 1)
        )
        x = x + shared.astype(x.dtype) * jax.vmap(draw)(keys).astype(x.dtype)
      if condition is None:
        x = BatchNorm(scale_init=self.scale_init, **kinds)(x, train=train)
      else:
        how = dict(wrap=SpectralNorm, kernel_init=self.how['kernel_init'], use_bias=True)
        x = ConditionalBatchNorm(**how, **kinds)(x, condition, train=train)
      x = glu(x)
    return x


class Generator(nn.Module):
  """z [B, Z], and labels [B] where there are classes -> images [B, *resolution, channels], about in [-1, 1].

  With `both` (images, the same `shrink` times smaller). Noise is drawn by the bits of z: fresh for each z, and the same
  for the same one.
  """

  resolution: tuple
  channels: int
  width: int
  blocks: str
  num_classes: int
  shrink: int  # 0: there is no smaller picture
  kernel_init: Callable
  scale_init: Callable
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, z: jax.Array, label: jax.Array | None = None, *, train: bool, both: bool = False
  ) -> jax.Array | tuple[jax.Array, jax.Array]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    how = dict(kernel_init=self.kernel_init, **kinds)
    condition = None
    if self.num_classes:
      condition = ClassEmbed(self.num_classes, z.shape[1], param_dtype=self.param_dtype)(label)
    keys = _keys(z)
    z = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), 1, keepdims=True) + 1e-8)
    doublings, start = layout(self.resolution)
    first, *rest = channels(self.width, doublings)
    x = SpectralNorm(ConvTranspose(2 * first, start, use_bias=False, **how))(z[:, None, None])
    maps = [glu(BatchNorm(scale_init=self.scale_init, **kinds)(x, train=train))]
    for level, features in enumerate(rest, 1):
      double = {'double': True, 'single': False, 'alternating': level % 2 == 1}[self.blocks]
      each = jax.vmap(jax.random.fold_in, (0, None))(keys, level)
      block = UpBlock(features, double, self.scale_init, how)
      x = block(maps[-1], condition, each, train=train)
      if SKIP <= level <= LAST_SCALED:
        x = Excite(features, how)(maps[level - SKIP], x)
      maps.append(x)
    # FastGAN's own last layers have no biases.
    image = conv(self.channels, 3, padding=1, use_bias=not self.shrink, **how)(maps[-1])
    if not self.shrink:
      return image
    small = conv(self.channels, 1, **how)(maps[-self.shrink.bit_length()])
    if min(self.resolution) >= 1024:
      image, small = jnp.tanh(image), jnp.tanh(small)
    return (image, small) if both else image


def _keys(z):
  """A random key of each row, by its first two numbers."""
  bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(z[:, :2]).astype('float32'), 'uint32')
  fold = lambda row: jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row[0]), row[-1])
  return jax.vmap(fold)(bits)


def layout(resolution: Sequence[int]) -> tuple:
  """(How often maps double, the sides of the first): the smaller side is 4 to 7 there."""
  doublings = max((min(resolution) // 4).bit_length() - 1, 0)
  return doublings, tuple(side >> doublings for side in resolution)


def channels(width: int, doublings: int) -> list:
  """Channels of the first map and after each doubling."""
  return [max(int(width * factor), 1) for factor in FACTORS[: doublings + 1]]


def build_generator(
  resolution: int | Sequence[int],
  channels: int,
  *,
  width: int,
  blocks: str,
  num_classes: int = 0,
  shrink: int = 0,
  kernel_init: nn.initializers.Initializer,
  scale_init: nn.initializers.Initializer,
  dtype: str,
  param_dtype: str,
) -> Generator:
  """The generator, checked.

  Raises:
    UserError: sides that do not double from a first map, or other values that make no network.
  """
  sides = media.sides(resolution)
  doublings, start = layout(sides)
  if not 1 <= doublings < len(FACTORS) or any(a << doublings != b for a, b in zip(start, sides)):
    raise UserError(
      f'FastGAN doubles maps from 4 to 7 pixels at the smaller side: data.resolution={resolution} '
      f'must be a multiple of {2 ** max(doublings, 1)}, from 8 and below 2048'
    )
  if blocks not in BLOCKS:
    raise UserError(
      f'networks.blocks={blocks!r} is not known{closest(blocks, BLOCKS)}; there are {", ".join(BLOCKS)}'
    )
  if width < 1 or num_classes < 0:
    raise UserError(
      f'networks.width={width} must be at least 1, networks.num_classes={num_classes} at least 0'
    )
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  inits = dict(kernel_init=kernel_init, scale_init=scale_init)
  return Generator(sides, channels, width, blocks, num_classes, shrink, **inits, **kinds)


class Down(nn.Module):
  """[B, H, W, C] -> [B, H/2, W/2, features] by 4x4; if `deep`, the mean of two convolutions and of a pooled 1x1 one."""

  features: int
  deep: bool
  how: dict

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = {k: v for k, v in self.how.items() if k != 'kernel_init'}
    norm = lambda y: nn.leaky_relu(BatchNorm(scale_init=SCALE_INIT, **kinds)(y, train=train), 0.2)
    y = norm(conv(self.features, 4, stride=2, padding=1, **self.how)(x))
    if not self.deep:
      return y
    y = norm(conv(self.features, 3, padding=1, **self.how)(y))
    return (y + norm(conv(self.features, 1, **self.how)(mean_pool(x)))) / 2


class Decoder(nn.Module):
  """A map, reduced to 8x8 -> a picture in (-1, 1), `doublings` times doubled; its widths are fixed."""

  channels: int
  doublings: int
  how: dict

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    x = adaptive_mean(x, 8)
    for features in (128, 64, 64, 32)[: self.doublings]:
      x = UpBlock(features, False, SCALE_INIT, self.how)(x, None, None, train=train)
    return jnp.tanh(conv(self.channels, 3, padding=1, **self.how)(x))


class Discriminator(nn.Module):
  """(images, the small ones) -> logits [B, 50]: of 5x5 places in each. With `part` reconstructions too.

  `part`, an int from 0 to 3: the quarter that is decoded apart: top left, top right, bottom left, bottom right. Then
  it returns (logits, pictures decoded from the image, from the small one and from that quarter of the image).
  """

  resolution: int
  channels: int
  width: int
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(
    self, images: Sequence[jax.Array], part: jax.Array | int | None = None, *, train: bool
  ) -> jax.Array | tuple[jax.Array, ...]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    how = dict(kernel_init=INIT, **kinds)
    # Channels of a map that was made from one of `side` pixels.
    count = lambda side: max(int(self.width * min(16, 128 / side)), 1)
    lrelu = lambda x: nn.leaky_relu(x, 0.2)
    down = lambda x, features, deep: Down(features, deep, how)(x, train=train)
    x, small = images
    side = self.resolution
    if side <= 256:
      x = lrelu(conv(count(2 * side), 3, padding=1, **how)(x))
    else:
      x = lrelu(conv(count(side), 4, stride=2, padding=1, **how)(x))
      x = down(x, count(512), False) if side > 512 else x
    maps = [x]
    while maps[-1].shape[1] > 8:
      x = down(maps[-1], count(maps[-1].shape[1]), True)
      maps.append(Excite(x.shape[-1], how)(maps[-3], x) if len(maps) > 2 else x)
    norm = BatchNorm(scale_init=SCALE_INIT, **kinds)
    x = lrelu(norm(conv(count(8), 1, **how)(maps[-1]), train=train))
    logits = [conv(1, 4, **how)(x)]
    small = lrelu(conv(count(2 * small.shape[1]), 4, stride=2, padding=1, **how)(small))
    while small.shape[1] > 8:
      small = down(small, count(2 * small.shape[1]), False)
    logits.append(conv(1, 4, **how)(small))
    logits = jnp.concatenate([x.reshape(len(x), -1) for x in logits], 1)
    if part is None:
      return logits
    quarter = quarter_of(maps[-2], part)
    doublings = min(side, 128).bit_length() - 4
    decoded = [
      Decoder(self.channels, doublings, how)(x, train=train) for x in (maps[-1], small, quarter)
    ]
    return logits, *decoded


def quarter_of(x: jax.Array, part: jax.Array | int) -> jax.Array:
  """The quarter `part` (see `Discriminator`) of [B, H, W, C]."""
  b, h, w, c = x.shape
  at = 0, part // 2 * (h // 2), part % 2 * (w // 2), 0
  return jax.lax.dynamic_slice(x, at, (b, h // 2, w // 2, c))


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 64,
  width_D: int = 64,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}, with FastGAN's first weights, N(0, 0.02), and 1 + N(0, 0.02) of batch norms.

  Args:
    resolution: of the images, which are square: 32, 64, ..., 1024. The small ones have half of it, at most 128.
    channels: of the images.
    width, width_D: channels of G, see `FACTORS`, and of D: maps made from 256, 128, ..., 8 pixels have 1/2, 1, 2, 4, 8,
      16 times as many.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a resolution or width that is none of these.
  """
  side, across = media.sides(resolution)
  if side != across or side not in [2**n for n in range(5, 11)]:
    raise UserError(
      f'networks.name=fastgan is of 32, 64, ..., 1024 pixels a side, not data.resolution={resolution}'
    )
  if width_D < 1:
    raise UserError(f'networks.width_D={width_D} must be at least 1')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  how = dict(width=width, blocks='alternating', shrink=shrink_of(side))
  inits = dict(kernel_init=INIT, scale_init=SCALE_INIT)
  return {
    'G': build_generator(side, channels, **how, **inits, **kinds),
    'D': Discriminator(side, channels, width_D, **kinds),
  }


def shrink_of(side: int) -> int:
  """How many times smaller the small picture is."""
  return max(side // 128, 2)
