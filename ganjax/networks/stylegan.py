"""StyleGAN's networks (Karras et al. 2018, arXiv:1812.04948, section 2 and appendix C), which grow.

G maps z to a style w; behind every convolution noise is added to its map, and w says what mean and deviation each of
its channels then has in each picture (adaptive instance normalisation). Pictures grow from a learned constant. Maps are
blurred where they have been doubled, and in D where they will be halved. D is otherwise that of progressive growing.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.dtypes import widen
from ganjax.layers import styles
from ganjax.layers.equalized import Conv, Dense
from ganjax.layers.norm import instance_norm
from ganjax.layers.pggan import levels, pixel_norm
from ganjax.layers.resample import blur, upsample
from ganjax.networks.progressive import GAIN, discriminator, fade, relu

MOST_LAYERS = 64  # of a mapping: each is traced


class Mapping(nn.Module):
  """z [B, Z] -> [B, features], in float32 at least; layers learn a hundred times more slowly than others."""

  features: int
  layers: int
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    how = dict(lr_multiplier=0.01, gain=GAIN, param_dtype=self.param_dtype)
    x = pixel_norm(widen(z))
    for i in range(self.layers):
      x = relu(Dense(self.features, name=f'fc{i}', **how)(x))
    return x


class Styled(nn.Module):
  """What follows a convolution: noise, bias, activation, adaptive instance normalisation (equation 1).

  For noise and seeds see `styles.noise_of`.
  """

  param_dtype: str

  @nn.compact
  def __call__(
    self, x: jax.Array, w: jax.Array, noise: jax.Array | None, seeds: jax.Array | None
  ) -> jax.Array:
    zeros, shape = nn.initializers.zeros, x.shape[-1:]
    noise = styles.noise_of(self, x.shape[1:3], noise, seeds, self.param_dtype)
    strength = self.param('noise_strength', zeros, shape, self.param_dtype)
    bias = self.param('bias', zeros, shape, self.param_dtype)
    x = x + (noise[..., None] * strength + bias).astype(x.dtype)
    x = instance_norm(relu(x), eps=1e-8)
    of_w = Dense(2 * shape[0], param_dtype=self.param_dtype, name='affine')(w).astype(x.dtype)
    scale, shift = jnp.split(of_w[:, None, None], 2, -1)
    return x * (scale + 1) + shift


class Synthesis(nn.Module):
  """Styles [B, 2 * stages, W] -> images [B, height, width, channels] of a level.

  A stage, one a level, is ((height, width), channels of its map). Styles of its level and of lower ones are in use.
  For noise see `styles.draw_noise`.
  """

  channels: int
  stages: tuple
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self,
    w: jax.Array,
    seeds: jax.Array | None = None,
    level: int | None = None,
    alpha: float | jax.Array | None = None,
  ) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    level = len(self.stages) - 1 if level is None else level
    noise = self.noise(len(w), seeds, level)

    def styled(x, i, j):
      name = f'b{4 << i}_style{j}'
      own = Styled(self.param_dtype, name=name)
      return own(x, w[:, 2 * i + j], noise and noise[name], seeds)

    def conv(x, i, j, **how):
      how = dict(padding=1, gain=GAIN, use_bias=False, name=f'b{4 << i}_conv{j}', **how)
      return Conv(self.stages[i][1], 3, **how, **kinds)(x)

    def picture(x, i):
      return widen(Conv(self.channels, 1, name=f'b{4 << i}_torgb', **kinds)(x))

    size, width = self.stages[0]
    x = self.param('const', nn.initializers.ones, (*size, width), self.param_dtype)
    x = styled(jnp.broadcast_to(x.astype(self.dtype), (len(w), *x.shape)), 0, 0)
    maps = [styled(conv(x, 0, 1), 0, 1)]
    for i in range(1, level + 1):
      x = styled(blur(conv(maps[-1], i, 0, resample='up')), i, 0)
      maps.append(styled(conv(x, i, 1), i, 1))
    if self.is_initializing():
      for i, x in enumerate(maps[:-1]):
        picture(x, i)
    new = picture(maps[level], level)
    return new if alpha is None else fade(upsample(picture(maps[level - 1], level - 1)), new, alpha)

  def noise(self, batch: int, seeds: jax.Array | None, level: int) -> dict[str, jax.Array] | None:
    """{name of a layer: noise [B, H, W]}, or None where it is constant."""
    sizes = {
      f'b{4 << i}_style{j}': size
      for i, (size, _) in enumerate(self.stages[: level + 1])
      for j in (0, 1)
    }
    return styles.draw_noise(self, sizes, batch, seeds, self.param_dtype)


class Generator(nn.Module):
  """z [B, Z] -> images [B, height, width, channels] of a level, not bounded.

  The mean of w over training lies in the collection 'styles'; calls of `map` in train mode move it.
  """

  channels: int
  stages: tuple
  w_dim: int
  mapping_layers: int
  dtype: str
  param_dtype: str

  takes = ('noise',)  # what `synthesize` takes beside styles

  def setup(self) -> None:
    self.mapping = Mapping(self.w_dim, self.mapping_layers, self.param_dtype)
    self.synthesis = Synthesis(self.channels, self.stages, self.dtype, self.param_dtype)
    zeros = lambda: jnp.zeros((self.w_dim,), self.param_dtype)
    self.w_avg = self.variable('styles', 'w_avg', zeros)

  @property
  def num_styles(self) -> int:
    return self.styles_at(len(self.stages) - 1)

  def styles_at(self, level: int) -> int:
    """Styles that are in use at a level."""
    return 2 * (level + 1)

  def map(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    """Styles w [B, num_styles, w_dim], the same for all layers."""
    w = self.mapping(z)
    if train:
      self.w_avg.value = styles.move_mean(self.w_avg.value, w)
    return jnp.broadcast_to(w[:, None], (len(w), self.num_styles, self.w_dim))

  def affines(self, params: dict) -> list:
    """The weights [w_dim, 2 C] that the style of each layer goes through, to scales and shifts."""
    own = params['synthesis']
    layers = [f'b{4 << i}_style{j}' for i in range(len(self.stages)) for j in (0, 1)]
    return [own[name]['affine']['kernel'] for name in layers]

  def truncate(
    self,
    w: jax.Array,
    truncation: float | jax.Array,
    cutoff: int | jax.Array | None = None,
    centre: jax.Array | None = None,
    *,
    train: bool = False,
  ) -> jax.Array:
    """Towards the mean style, or `centre` [B, W], see `styles.truncate`. `train` changes nothing."""
    centre = self.w_avg.value if centre is None else centre[:, None]
    return styles.truncate(w, centre, truncation, cutoff)

  def synthesize(
    self,
    w: jax.Array,
    *,
    train: bool,
    noise: jax.Array | None = None,
    level: int | None = None,
    alpha: float | jax.Array | None = None,
  ) -> jax.Array:
    """Styles [B, num_styles, w_dim] -> images, with the noise of seeds, int32 [B], see `Synthesis`."""
    return self.synthesis(w, noise, level, alpha)

  def __call__(
    self,
    z: jax.Array,
    label: jax.Array | None = None,
    *,
    train: bool,
    truncation: float | jax.Array | None = None,
    cutoff: int | jax.Array | None = None,
    **grown: Any,
  ) -> jax.Array:
    """Images; `noise`, `level` and `alpha` are those of `synthesize`."""
    w = self.map(z, label, train=train)
    w = w if truncation is None else self.truncate(w, truncation, cutoff)
    return self.synthesize(w, train=train, **grown)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 512,
  channel_base: int = 16384,
  w_dim: int = 512,
  mapping_layers: int = 8,
  mbstd_group: int = 4,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images of the last level, see `pggan.levels`.
    channels: of the images.
    width: largest number of channels of a map, 512 in the paper.
    channel_base: see `pggan.levels`: 16384 in the paper.
    w_dim: length of a style vector w.
    mapping_layers: layers of G's mapping network.
    mbstd_group: group size of the minibatch standard deviation in D. It must divide all larger batches.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: values that do not fit.
  """
  stages, kinds = levels(media.sides(resolution), width, channel_base), (dtype, param_dtype)
  if w_dim < 1 or not 1 <= mapping_layers <= MOST_LAYERS:
    raise UserError(
      f'networks needs w_dim from 1, and mapping_layers from 1 to {MOST_LAYERS}; got {w_dim}, {mapping_layers}'
    )
  return {
    'G': Generator(channels, stages, w_dim, mapping_layers, *kinds),
    'D': discriminator(stages, width, channel_base, mbstd_group, True, *kinds),
  }
