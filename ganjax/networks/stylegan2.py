"""StyleGAN2's networks (Karras et al. 2019, arXiv:1912.04958, section 2 and appendix B) as StyleGAN2-ADA has them.

G maps z to a style w, which scales the channels of every convolution; noise is added to each map. Pictures grow from a
learned constant in stages of twice the size, at each of which (architecture 'skip') an image is added to the image so
far. D goes the same way down. The widths are those of the authors' code (arXiv:2006.06676, appendix C).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from ganjax import UserError, media
from ganjax.dtypes import widen
from ganjax.layers import styles
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.equalized import NORMAL, Conv, Dense, activate, limit
from ganjax.layers.modulated import ModulatedConv
from ganjax.layers.pggan import levels, minibatch_stddev, pixel_norm
from ganjax.layers.resample import downsample_bilinear, smooth, upsample_bilinear
from ganjax.wording import closest

ARCHITECTURES = 'skip', 'resnet', 'orig'
MOST_LAYERS = 64  # of a mapping: each is traced
HALF = 0.5**0.5


class Mapping(nn.Module):
  """z [B, Z], a label, or both -> [B, features], in float32 at least.

  Either is brought to a mean square of 1. Layers learn a hundred times more slowly than others; that of the label does
  not.
  """

  features: int
  layers: int
  num_classes: int
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array | None, label: jax.Array | None) -> jax.Array:
    kinds = dict(param_dtype=self.param_dtype)
    parts = [] if z is None else [pixel_norm(widen(z))]
    if self.num_classes:
      rows = ClassEmbed(self.num_classes, self.features, NORMAL, name='embed', **kinds)(label)
      bias = self.param('embed_bias', nn.initializers.zeros, (self.features,), self.param_dtype)
      parts.append(pixel_norm(widen(rows) * self.num_classes**-0.5 + bias))
    x = jnp.concatenate(parts, -1)
    for i in range(self.layers):
      x = activate(Dense(self.features, lr_multiplier=0.01, name=f'fc{i}', **kinds)(x))
    return x


class StyledConv(nn.Module):
  """Modulated convolution, noise, bias, activation.

  Without noise [B, H, W], and where there is a seed below 0, the noise is constant.
  """

  features: int
  up: bool
  gain: float
  clamp: float
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, x: jax.Array, w: jax.Array, noise: jax.Array | None, seeds: jax.Array | None
  ) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    x = ModulatedConv(self.features, up=self.up, name='conv', **kinds)(x, w)
    zeros = nn.initializers.zeros
    noise = styles.noise_of(self, x.shape[1:3], noise, seeds, self.param_dtype)
    strength = self.param('noise_strength', zeros, (), self.param_dtype)
    bias = self.param('bias', zeros, (self.features,), self.param_dtype)
    x = x + (strength * noise)[..., None].astype(x.dtype) + bias.astype(x.dtype)
    return activate(x, gain=self.gain, clamp=self.clamp)


class Synthesis(nn.Module):
  """Styles [B, 2 * stages, W] -> images [B, height, width, channels].

  A stage is ((height, width), channels); the first is that of the constant. Noise is that of `seeds`, int32 [B], of
  each image its own; or drawn where there is an rng 'noise'; else, and of a seed below 0, it is constant, what the
  collection 'noise' holds.
  """

  channels: int
  stages: tuple
  architecture: str
  clamp: float
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, w: jax.Array, seeds: jax.Array | None = None) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    noise, at, image = self._noise(len(w), seeds), 0, None
    (size, width), *_ = self.stages
    x = self.param('const', NORMAL, (*size, width), self.param_dtype)
    x = jnp.broadcast_to(x.astype(self.dtype), (len(w), *x.shape))

    def layer(x, name, up, gain=1.0):
      nonlocal at
      at += 1
      own = StyledConv(width, up, gain, self.clamp, name=name, **kinds)
      return own(x, w[:, at - 1], noise and noise[name], seeds)

    for i, (_, width) in enumerate(self.stages):
      block, before = f'b{4 << i}', x
      residual = self.architecture == 'resnet' and i > 0
      x = layer(x, f'{block}_conv0', up=True) if i else x
      x = layer(x, f'{block}_conv1', up=False, gain=HALF if residual else 1.0)
      if residual:
        skip = Conv(width, 1, use_bias=False, name=f'{block}_skip', **kinds)(before)
        x = x + upsample_bilinear(skip) * HALF
      if self.architecture == 'skip' or i == len(self.stages) - 1:
        # The style of the next stage's first convolution; images are summed in float32.
        own = ModulatedConv(self.channels, 1, demodulate=False, name=f'{block}_torgb', **kinds)
        bias = self.param(
          f'{block}_torgb_bias', nn.initializers.zeros, (self.channels,), self.param_dtype
        )
        new = widen(limit(own(x, w[:, at]) + bias.astype(self.dtype), self.clamp))
        image = new if image is None else upsample_bilinear(image) + new
    return image

  def _noise(self, batch, seeds):
    """{name of a layer: noise [B, H, W]}, or None where it is constant."""
    sizes = {
      f'b{4 << i}_conv{j}': size
      for i, (size, _) in enumerate(self.stages)
      for j in (0, 1)
      if i or j
    }
    return styles.draw_noise(self, sizes, batch, seeds, self.param_dtype)


class Generator(nn.Module):
  """z [B, Z], and labels with classes -> images [B, height, width, channels], not bounded.

  The mean of w over training lies in the collection 'styles'; calls of `map` in train mode move it.
  """

  channels: int
  stages: tuple
  w_dim: int
  mapping_layers: int
  architecture: str
  clamp: float
  num_classes: int
  dtype: str
  param_dtype: str

  takes = ('noise',)  # what `synthesize` takes beside styles

  def setup(self) -> None:
    self.mapping = Mapping(self.w_dim, self.mapping_layers, self.num_classes, self.param_dtype)
    self.synthesis = Synthesis(
      self.channels, self.stages, self.architecture, self.clamp, self.dtype, self.param_dtype
    )
    zeros = lambda: jnp.zeros((self.w_dim,), self.param_dtype)
    self.w_avg = self.variable('styles', 'w_avg', zeros)

  @property
  def num_styles(self) -> int:
    return 2 * len(self.stages)

  def map(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    """Styles w [B, num_styles, w_dim], the same for all layers."""
    w = self.mapping(z, label)
    if train:
      self.w_avg.value = styles.move_mean(self.w_avg.value, w)
    return jnp.broadcast_to(w[:, None], (len(w), self.num_styles, self.w_dim))

  def affines(self, params: dict) -> list:
    """The weights [w_dim, C] that the style of each layer goes through first: of convolutions, last of the last to RGB.

    Where an image is added at each stage, its style is the one of the next convolution, which counts (Shen and Zhou
    2020, arXiv:2007.06600, leave the other out too).
    """
    blocks = [f'b{4 << i}' for i in range(len(self.stages))]
    names = [f'{block}_conv{j}/conv' for block in blocks for j in (0, 1)][1:]
    layers = traverse_util.flatten_dict(params['synthesis'], sep='/')
    return [layers[f'{name}/affine/kernel'] for name in (*names, f'{blocks[-1]}_torgb')]

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

  def synthesize(self, w: jax.Array, *, train: bool, noise: jax.Array | None = None) -> jax.Array:
    """Styles [B, num_styles, w_dim] -> images, with the noise of seeds, int32 [B], see `Synthesis`."""
    return self.synthesis(w, noise)

  def __call__(
    self,
    z: jax.Array,
    label: jax.Array | None = None,
    *,
    train: bool,
    truncation: float | jax.Array | None = None,
    cutoff: int | jax.Array | None = None,
    noise: jax.Array | None = None,
  ) -> jax.Array:
    w = self.map(z, label, train=train)
    w = w if truncation is None else self.truncate(w, truncation, cutoff)
    return self.synthesize(w, train=train, noise=noise)


class Discriminator(nn.Module):
  """Images [B, height, width, channels], and labels with classes -> logits [B]."""

  stages: tuple
  architecture: str
  group: int
  clamp: float
  num_classes: int
  mapping_layers: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, image: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    skip, residual = self.architecture == 'skip', self.architecture == 'resnet'

    def layer(x, name, width, kernel, gain=1.0, **how):
      return activate(Conv(width, kernel, name=name, **how)(x), gain=gain, clamp=self.clamp)

    widths, x = [width for _, width in self.stages], 0
    for i in reversed(range(len(widths))):
      block = f'b{4 << i}'
      if i == len(widths) - 1 or skip:
        x = x + layer(image, f'{block}_fromrgb', widths[i], 1, **kinds)
      if i:
        image, before = downsample_bilinear(image) if skip else image, x
        x = layer(x, f'{block}_conv0', widths[i], 3, padding=1, **kinds)
        gain, how = HALF if residual else 1.0, dict(stride=2, **kinds)
        x = layer(smooth(x, 2), f'{block}_conv1', widths[i - 1], 3, gain, **how)
      if i and residual:
        own = Conv(widths[i - 1], 1, use_bias=False, name=f'{block}_skip', **kinds)
        x = x + own(downsample_bilinear(before)) * HALF
    wide, width = dict(param_dtype=self.param_dtype), widths[0]
    x = minibatch_stddev(widen(x), self.group)
    x = layer(x, 'b4_conv', width, 3, padding=1, **wide)
    x = activate(Dense(width, name='b4_fc', **wide)(x.reshape(len(x), -1)))
    if not self.num_classes:
      return Dense(1, name='b4_out', **wide)(x)[:, 0]
    of_label = Mapping(width, self.mapping_layers, self.num_classes, name='mapping', **wide)
    return (Dense(width, name='b4_out', **wide)(x) * of_label(None, label)).sum(-1) * width**-0.5


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 512,
  channel_base: int = 32768,
  w_dim: int = 512,
  mapping_layers: int = 8,
  mapping_layers_D: int = 8,
  architecture: str = 'skip',
  architecture_D: str = 'resnet',
  mbstd_group: int = 4,
  clamp: float = 256.0,
  num_classes: int = 0,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images, see `pggan.levels`: each of its maps is a stage.
    channels: of the images.
    width: largest number of channels of a map, 512 in the paper.
    channel_base: see `pggan.levels`: 32768 in config F of the paper, 16384 in config E.
    w_dim: length of a style vector w.
    mapping_layers: layers of G's mapping network: 8 in the paper, 2 in the authors' settings for small pictures.
    mapping_layers_D: layers behind D's class embedding: 8 in the authors' PyTorch code, 0 in their TensorFlow code.
    architecture, architecture_D: 'skip', 'resnet' or 'orig' (table 2 of the paper). The defaults are its config F.
    mbstd_group: group size of the minibatch standard deviation in D. It must divide the batch.
    clamp: convolutions and images are clamped to [-clamp, clamp], as in StyleGAN2-ADA; 0: no limit.
    num_classes: number of classes of conditional networks; 0: unconditional.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: values that do not fit.
  """
  stages = levels(media.sides(resolution), width, channel_base)
  if min(w_dim, mbstd_group) < 1:
    raise UserError(f'networks needs w_dim and mbstd_group from 1; got {w_dim}, {mbstd_group}')
  if not (1 <= mapping_layers <= MOST_LAYERS and 0 <= mapping_layers_D <= MOST_LAYERS):
    raise UserError(
      f'networks.mapping_layers={mapping_layers} must be from 1 to {MOST_LAYERS}, '
      f'networks.mapping_layers_D={mapping_layers_D} from 0'
    )
  for field, value in ('architecture', architecture), ('architecture_D', architecture_D):
    if value not in ARCHITECTURES:
      raise UserError(
        f'networks.{field}={value!r} is not known{closest(value, ARCHITECTURES)}; '
        f'there are {", ".join(ARCHITECTURES)}'
      )
  if clamp < 0 or num_classes < 0:
    raise UserError(
      f'networks.clamp={clamp} and networks.num_classes={num_classes} must be at least 0'
    )
  kinds = dict(clamp=clamp, num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(channels, stages, w_dim, mapping_layers, architecture, **kinds),
    'D': Discriminator(
      stages, architecture_D, mbstd_group, mapping_layers=mapping_layers_D, **kinds
    ),
  }
