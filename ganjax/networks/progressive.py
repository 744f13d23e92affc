"""Networks that grow (Karras et al. 2017, arXiv:1710.10196, appendix A), with the layers of all levels from the start.

A level is a size of pictures: 4x4, 8x8, ... At each level G has a layer from its map to pictures, and D one from
pictures to its map. A call uses those of its level. A new level fades in by `alpha` (section 2, figure 2): pictures of
G, and maps of D, are alpha times the output of the new layers, plus 1 - alpha times the output of the level below, at
half the size.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.dtypes import widen
from ganjax.layers.equalized import Conv, Dense
from ganjax.layers.pggan import levels, minibatch_stddev, pixel_norm
from ganjax.layers.resample import blur, mean_pool, upsample

GAIN = 2**0.5  # before LeakyReLU


def relu(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, 0.2)


def fade(old: jax.Array, new: jax.Array, alpha: float | jax.Array) -> jax.Array:
  """`alpha` of the new, the rest of the old."""
  return old + alpha * (new - old)


class Generator(nn.Module):
  """z [B, Z] -> images [B, height, width, channels] of a level, not bounded.

  A stage, one a level, is ((height, width), channels of its map).
  """

  channels: int
  stages: tuple
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self,
    z: jax.Array,
    label: jax.Array | None = None,
    *,
    train: bool,
    level: int | None = None,
    alpha: float | jax.Array | None = None,
  ) -> jax.Array:
    """Images of `level`, by default the last, and where it is new with `alpha`, a scalar in [0, 1]."""
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    level = len(self.stages) - 1 if level is None else level
    (first, width), *_ = self.stages

    def layer(x, name, width, resample=None):
      how = dict(padding=1, gain=GAIN, resample=resample, name=name)
      return pixel_norm(relu(Conv(width, 3, **how, **kinds)(x)))

    def picture(x, i):
      return widen(Conv(self.channels, 1, name=f'b{4 << i}_torgb', **kinds)(x))

    # As a convolution over one pixel and zeros, whose kernel has the size of the map: its inputs count as so many.
    how = dict(gain=GAIN / (first[0] * first[1]) ** 0.5, use_bias=False, name='b4_dense')
    x = pixel_norm(widen(z))
    x = Dense(width * first[0] * first[1], param_dtype=self.param_dtype, **how)(x)
    bias = self.param('b4_bias', nn.initializers.zeros, (width,), self.param_dtype)
    x = pixel_norm(relu(x.reshape(len(z), *first, width) + bias)).astype(self.dtype)
    maps = [layer(x, 'b4_conv', width)]
    for i, (_, width) in enumerate(self.stages[1 : level + 1], 1):
      x = layer(maps[-1], f'b{4 << i}_conv0', width, 'up')
      maps.append(layer(x, f'b{4 << i}_conv1', width))
    if self.is_initializing():
      for i, x in enumerate(maps[:-1]):
        picture(x, i)
    new = picture(maps[level], level)
    return new if alpha is None else fade(upsample(picture(maps[level - 1], level - 1)), new, alpha)


class Discriminator(nn.Module):
  """Images [B, height, width, channels] of a level -> logits [B]. With `blurred` maps are blurred before each halving.

  Of those that are, the mean of 2x2 pixels comes before bias and activation, else behind them.
  """

  stages: tuple
  features: int  # of the last layer but one
  group: int
  blurred: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self,
    image: jax.Array,
    label: jax.Array | None = None,
    *,
    train: bool,
    level: int | None = None,
    alpha: float | jax.Array | None = None,
  ) -> jax.Array:
    """Logits of images of `level`, and where it is new with `alpha`, see `Generator`."""
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    widths = [width for _, width in self.stages]
    level = len(widths) - 1 if level is None else level

    def layer(x, name, width, kernel=3, **how):
      how = {'padding': kernel // 2, 'gain': GAIN, **kinds, **how}
      return relu(Conv(width, kernel, name=name, **how)(x))

    def begin(image, i):
      return layer(image, f'b{4 << i}_fromrgb', widths[i], 1)

    x = begin(image, level)
    for i in range(level, 0, -1):
      x = layer(x, f'b{4 << i}_conv0', widths[i])
      if self.blurred:
        x = layer(blur(x), f'b{4 << i}_conv1', widths[i - 1], resample='down')
      else:
        x = mean_pool(layer(x, f'b{4 << i}_conv1', widths[i - 1]))
      if i == level and alpha is not None:
        x = fade(begin(mean_pool(image), i - 1), x, jnp.asarray(alpha, x.dtype))
      elif self.is_initializing():
        image = mean_pool(image)
        begin(image, i - 1)
    own = dict(param_dtype=self.param_dtype)
    x = layer(minibatch_stddev(widen(x), self.group), 'b4_conv', widths[0], dtype=None)
    dense = Dense(self.features, gain=GAIN, name='b4_dense', **own)
    return Dense(1, name='b4_out', **own)(relu(dense(x.reshape(len(x), -1))))[:, 0]


def discriminator(
  stages: tuple,
  width: int,
  channel_base: int,
  mbstd_group: int,
  blurred: bool,
  dtype: str,
  param_dtype: str,
) -> Discriminator:
  """The Discriminator of a pair. Raises UserError for a group of none."""
  if mbstd_group < 1:
    raise UserError(f'networks needs mbstd_group from 1; got {mbstd_group}')
  features = min(channel_base // 2, width)
  return Discriminator(stages, features, mbstd_group, blurred, dtype, param_dtype)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 512,
  channel_base: int = 16384,
  mbstd_group: int = 4,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images of the last level, see `pggan.levels`.
    channels: of the images.
    width: largest number of channels of a map: 512 in the paper, 128 for CIFAR-10.
    channel_base: see `pggan.levels`: 16384 in the paper, 8192 for CIFAR-10.
    mbstd_group: group size of the minibatch standard deviation in D. It must divide all larger batches.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: values that do not fit.
  """
  stages, kinds = levels(media.sides(resolution), width, channel_base), (dtype, param_dtype)
  return {
    'G': Generator(channels, stages, *kinds),
    'D': discriminator(stages, width, channel_base, mbstd_group, False, *kinds),
  }
