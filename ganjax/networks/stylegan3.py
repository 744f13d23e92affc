"""StyleGAN3's networks, T and R (Karras et al. 2021, arXiv:2106.12423, sections 3 and 4, appendices C and F).

G's maps hold signals of limited frequencies: a picture starts from waves instead of a constant, there is no noise, and
every nonlinearity lies between two filters. So details move with what they are on: T follows shifts of its input, R
turns too, having 1x1 convolutions and filters with the response of a circle. D is that of StyleGAN2.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.dtypes import widen
from ganjax.layers import styles
from ganjax.layers.equalized import limit
from ganjax.layers.filtered import FourierInput, filtered_leaky_relu, lowpass
from ganjax.layers.modulated import ModulatedConv
from ganjax.layers.pggan import levels
from ganjax.networks.stylegan2 import MOST_LAYERS, Discriminator, Mapping

# Of the authors' settings: the first cutoff and stopband, the last stopband in cutoffs, layers without a transition
# band, pixels of margin, taps of a filter at a factor of 1, the factor of the last map.
FIRST_CUTOFF, FIRST_STOP, LAST_STOP, CRITICAL, MARGIN, TAPS, OUTPUT = (
  2.0,
  2**2.1,
  2**0.3,
  2,
  10,
  6,
  0.25,
)
MEAN_DECAY = 0.998  # what the mean style keeps at an update
MAGNITUDE_IMAGES = 20_000  # after so many an old magnitude's weight is one half


class Band(NamedTuple):
  """What a map holds: frequencies are in cycles to a side of the picture, rates in pixels."""

  cutoff: float
  width: float  # of the transition band, half of it
  rate: float
  size: int  # pixels of a side, with the margin
  features: int


def bands(resolution: int, channels: int, width: int, channel_base: int, layers: int) -> tuple:
  """Of each of `layers` maps and of the picture, as appendix C.2 and F.1 lay them out."""
  found, rungs = [], layers - CRITICAL
  for i in range(layers + 1):
    share = min(i / rungs, 1)
    cutoff = FIRST_CUTOFF * (resolution / 2 / FIRST_CUTOFF) ** share
    stop = FIRST_STOP * (resolution / 2 * LAST_STOP / FIRST_STOP) ** share
    rate = 2 ** math.ceil(math.log2(min(2 * stop, resolution)))
    size = resolution if i >= layers - 1 else rate + 2 * MARGIN
    features = channels if i == layers else round(min(channel_base / 2 / cutoff, width))
    found.append(Band(cutoff, max(stop, rate / 2) - cutoff, rate, size, features))
  return tuple(found)


def between(before: Band, after: Band, radial: bool) -> tuple:
  """(factor up, factor down, filter up, filter down) of the layer from one band to the next."""
  rate = 2 * max(before.rate, after.rate)
  up, down = rate // before.rate, rate // after.rate
  first = lowpass(TAPS * up, before.cutoff, 2 * before.width, rate)
  return up, down, first, lowpass(TAPS * down, after.cutoff, 2 * after.width, rate, radial)


class Layer(nn.Module):
  """Modulated convolution of a map of unit magnitude, bias, and between maps the filtered nonlinearity.

  The magnitude is an average over training, in the collection 'magnitude', which train mode moves. Without `radial`,
  True or False, the layer makes the picture: it has no filters and no nonlinearity.
  """

  before: Band
  after: Band
  kernel: int
  radial: bool | None
  clamp: float
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, w: jax.Array, train: bool) -> jax.Array:
    before, after, dtype = self.before, self.after, self.param_dtype
    mean = self.variable('magnitude', 'mean', lambda: jnp.ones((), dtype))
    if train:
      squares = jnp.mean(jnp.square(widen(x)))
      new = jax.lax.stop_gradient(squares).astype(dtype)
      mean.value = new + 0.5 ** (len(x) / MAGNITUDE_IMAGES) * (mean.value - new)
    kinds = dict(dtype=self.dtype, param_dtype=dtype)
    how = dict(padding=self.kernel - 1, demodulate=self.radial is not None)
    own = ModulatedConv(after.features, self.kernel, name='conv', **how, **kinds)
    bias = self.param('bias', nn.initializers.zeros, (after.features,), dtype)
    x = own(x, w) * jax.lax.rsqrt(mean.value).astype(self.dtype) + bias.astype(self.dtype)
    if self.radial is None:
      return limit(x, self.clamp)
    up, down, *filters = between(before, after, self.radial)
    return filtered_leaky_relu(x, after.size, up, down, *filters, self.clamp)


class Synthesis(nn.Module):
  """Styles [B, layers + 2, W], and transforms of `FourierInput` -> images [B, height, width, channels]."""

  bands: tuple
  kernel: int
  radial: bool
  clamp: float
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, w: jax.Array, transform: jax.Array | None, train: bool) -> jax.Array:
    first, last = self.bands[0], len(self.bands) - 1
    start = first.features, first.size, first.rate, first.cutoff, self.param_dtype
    x = FourierInput(*start, name='input')(w[:, 0], transform).astype(self.dtype)
    for i, band in enumerate(self.bands):
      radial = None if i == last else self.radial and i < last - CRITICAL
      kernel = 1 if i == last else self.kernel
      how = kernel, radial, self.clamp, self.dtype, self.param_dtype
      x = Layer(self.bands[max(i - 1, 0)], band, *how, name=f'L{i}')(x, w[:, i + 1], train)
    return widen(x) * OUTPUT


class Generator(nn.Module):
  """z [B, Z], and labels with classes -> images [B, side, side, channels], not bounded.

  The mean of w over training lies in the collection 'styles'; calls of `map` in train mode move it, those of
  `synthesize` the magnitudes.
  """

  bands: tuple
  kernel: int
  radial: bool
  w_dim: int
  mapping_layers: int
  clamp: float
  num_classes: int
  dtype: str
  param_dtype: str

  takes = ('transform',)  # what `synthesize` takes beside styles

  def setup(self) -> None:
    self.mapping = Mapping(self.w_dim, self.mapping_layers, self.num_classes, self.param_dtype)
    kinds = self.clamp, self.dtype, self.param_dtype
    self.synthesis = Synthesis(self.bands, self.kernel, self.radial, *kinds)
    zeros = lambda: jnp.zeros((self.w_dim,), self.param_dtype)
    self.w_avg = self.variable('styles', 'w_avg', zeros)

  @property
  def num_styles(self) -> int:
    return len(self.bands) + 1

  @property
  def layout(self) -> list:
    """[(the layer's name in the authors' code, its filters up and down, or None and None of the last)]."""
    last, found = len(self.bands) - 1, []
    for i, band in enumerate(self.bands):
      radial = self.radial and i < last - CRITICAL
      _, _, *filters = between(self.bands[max(i - 1, 0)], band, radial)
      filters = filters if i < last else (None, None)
      found.append((f'L{i}_{band.size}_{band.features}', *filters))
    return found

  def map(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    """Styles w [B, num_styles, w_dim], the same for all layers."""
    w = self.mapping(z, label)
    if train:
      self.w_avg.value = styles.move_mean(self.w_avg.value, w, MEAN_DECAY)
    return jnp.broadcast_to(w[:, None], (len(w), self.num_styles, self.w_dim))

  def affines(self, params: dict) -> list:
    """The weights [w_dim, C] that the style of each layer goes through first."""
    own = params['synthesis']
    layers = [own[f'L{i}']['conv']['affine']['kernel'] for i in range(len(self.bands))]
    return [own['input']['affine_kernel'], *layers]

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
    self, w: jax.Array, *, train: bool, transform: jax.Array | None = None
  ) -> jax.Array:
    """Styles [B, num_styles, w_dim] -> images, of which `transform` [B, 3, 3] undoes what shall happen to them."""
    return self.synthesis(w, transform, train)

  def __call__(
    self,
    z: jax.Array,
    label: jax.Array | None = None,
    *,
    train: bool,
    truncation: float | jax.Array | None = None,
    cutoff: int | jax.Array | None = None,
    transform: jax.Array | None = None,
  ) -> jax.Array:
    w = self.map(z, label, train=train)
    w = w if truncation is None else self.truncate(w, truncation, cutoff)
    return self.synthesize(w, train=train, transform=transform)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 512,
  channel_base: int = 32768,
  width_D: int = 512,
  channel_base_D: int = 32768,
  w_dim: int = 512,
  mapping_layers: int = 2,
  mapping_layers_D: int = 8,
  layers: int = 14,
  rotates: bool = False,
  mbstd_group: int = 4,
  clamp: float = 256.0,
  num_classes: int = 0,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images, a power of two from 16 on.
    channels: of the images.
    width, channel_base: a map of G with cutoff f has channel_base / 2 f channels, at most `width`. 512 and 32768 in
      configuration T of the paper, 1024 and 65536 in R.
    width_D, channel_base_D: channels of D, see `pggan.levels`.
    w_dim: length of a style vector w.
    mapping_layers: layers of G's mapping network: 2 in the paper.
    mapping_layers_D: layers behind D's class embedding.
    layers: layers of G: 14 in the paper, at all sizes.
    rotates: configuration R instead of T: rotations of the input rotate the picture.
    mbstd_group: group size of the minibatch standard deviation in D. It must divide the batch.
    clamp: values are clamped to [-clamp, clamp], as in StyleGAN2-ADA; 0: no limit.
    num_classes: number of classes of conditional networks; 0: unconditional.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: values that do not fit.
  """
  sides = media.sides(resolution)
  side = sides[0]
  if sides != (side, side) or side < 16 or side & (side - 1):
    raise UserError(
      f'networks.name=stylegan3 needs a square of a power of two pixels from 16, not {"x".join(map(str, sides))}'
    )
  if min(w_dim, mbstd_group, width) < 1 or channel_base < side:
    raise UserError(
      f'networks needs w_dim, mbstd_group and width from 1, and channel_base from {side} at {side}x{side}; got '
      f'{w_dim}, {mbstd_group}, {width}, {channel_base}'
    )
  counts = dict(mapping_layers=(mapping_layers, 1), mapping_layers_D=(mapping_layers_D, 0))
  counts['layers'] = layers, CRITICAL + 1
  for name, (count, least) in counts.items():
    if not least <= count <= MOST_LAYERS:
      raise UserError(f'networks.{name}={count} must be from {least} to {MOST_LAYERS}')
  if clamp < 0 or num_classes < 0:
    raise UserError(
      f'networks.clamp={clamp} and networks.num_classes={num_classes} must be at least 0'
    )
  kinds = dict(clamp=clamp, num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  own = bands(side, channels, width, channel_base, layers)
  return {
    'G': Generator(own, 1 if rotates else 3, rotates, w_dim, mapping_layers, **kinds),
    'D': Discriminator(
      levels(sides, width_D, channel_base_D),
      'resnet',
      mbstd_group,
      mapping_layers=mapping_layers_D,
      **kinds,
    ),
  }
