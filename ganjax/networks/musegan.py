"""MuseGAN (Dong et al. 2018, arXiv:1709.06298): rolls by networks that voices share and networks of each voice.

The layers are those of the authors' later code (its presets `default`), for 4 bars of 48 steps, 84 pitches and 5
voices. G: a layer to a map a bar, two transposed convolutions that all voices share, then for each voice two ways to
every step and pitch, pitches first and steps first, which are joined. Batch norm and ReLU after each layer, and before
the last tanh batch norm too. D mirrors it, without norms, with LeakyReLU(0.2); beside it two streams see how often each
pitch class sounds in a beat, and how many notes begin or end at a step. Its logit is the mean of those of all
neighbouring bars.

With `hybrid` G is the paper's hybrid model (section MuseGAN). Every voice has layers of its own from the bar on, and
four latents reach it: a shared one, its own, and two more, shared and its own, that networks of their own turn into one
a bar. These networks are those of the preset `hybrid` in the authors' earlier code, with ReLU.

For other sizes the factors of steps and octaves differ, see `factors`. Weights from a normal distribution of deviation
0.05, cut off at two.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm
from ganjax.media.roll import BEATS

INIT = nn.initializers.truncated_normal(0.05)


def factors(steps: int, pitches: int) -> tuple:
  """Of the layers, for `steps` of a beat: (of steps, (pitches of the first map, kernel), of steps at the end).

  The first map has a row a beat, and so many pitches that a kernel of stride 2 makes an octave a column of them: of 3
  for an odd number of octaves, of 2 for an even one.
  """
  first = next(n for n in range(1, steps + 1) if steps % n == 0 and n * n >= steps)
  octaves = pitches // 12
  return first, ((octaves - 1) // 2, 3) if octaves % 2 else (octaves // 2, 2), steps // first


class Blocks(nn.Module):
  """A convolution whose windows of `kernel` lie side by side, or the transposed one, for each voice on its own.

  torch's Conv2d of so many groups, with its stride as large as its kernel. All taps are one product, which compiles and
  runs faster than convolutions of such long kernels.
  """

  features: int  # of a voice
  kernel: tuple
  voices: int = 1
  apart: bool = False  # each voice sees its own channels, else all see all
  up: bool = False  # transposed
  dtype: str = 'float32'
  param_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, T, P, C] -> [B, T / kt, P / kp, V features], `up` [B, T kt, P kp, V features]."""
    batch, length, pitches, channels = x.shape
    own = channels // self.voices if self.apart else channels
    shape = (self.voices, *self.kernel, own, self.features)
    w = self.param('kernel', INIT, shape, self.param_dtype)
    b = self.param('bias', nn.initializers.zeros, (self.voices * self.features,), self.param_dtype)
    x, w, b = nn.dtypes.promote_dtype(x, w, b, dtype=self.dtype)
    voice = 'v' if self.apart else ''
    tail = (self.voices, own) if self.apart else (own,)
    rows, columns = self.kernel
    if self.up:
      y = jnp.einsum(f'btp{voice}c,vklcf->btkplvf', x.reshape(batch, length, pitches, *tail), w)
      return y.reshape(batch, length * rows, pitches * columns, -1) + b
    windows = x.reshape(batch, length // rows, rows, pitches // columns, columns, *tail)
    y = jnp.einsum(f'btkpl{voice}c,vklcf->btpvf', windows, w)
    return y.reshape(*y.shape[:3], -1) + b


def _overlapping(x, groups, features, kernel, **how):
  """A transposed convolution for each of `groups` of channels on its own: [B, T, P, G C] -> [B, t, p, G features]."""
  if groups == 1:
    return ConvTranspose(features, kernel, **how)(x)
  axes = dict(variable_axes={'params': 0}, split_rngs={'params': True})
  each = nn.vmap(ConvTranspose, in_axes=3, out_axes=3, **axes)(features, kernel, **how)
  x = each(x.reshape(*x.shape[:3], groups, -1))
  return x.reshape(*x.shape[:3], -1)


class Generator(nn.Module):
  """z [B, Z] from N(0, I) -> rolls [B, T, P, V] in (-1, 1).

  With `hybrid` z is 2 (V + 1) latents of one length: those of all bars, the shared one first, then those that bars are
  made of. Raises UserError where Z is no multiple of that.
  """

  shape: tuple  # of a roll
  steps: int
  width: int
  hybrid: bool
  dtype: str
  param_dtype: str
  num_classes = 0
  makes = 'roll'

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    length, pitches, voices = self.shape
    first, (columns, kernel), last = factors(self.steps, pitches)
    bars = length // (BEATS * self.steps)
    norm = lambda x: BatchNorm(**kinds)(x, train=train)
    how = dict(kernel_init=INIT, **kinds)

    def layer(x, features, kernel, **more):
      return nn.relu(norm(Blocks(self.width * features, kernel, **more, up=True, **kinds)(x)))

    own = dict(voices=voices, apart=True)
    if self.hybrid:
      of_all, of_bars = self._cut(z)
      groups = voices + 1
      x = of_bars.reshape(len(z), 1, 1, -1)
      x = layer(x, 16, (max(bars - 1, 1), 1), voices=groups, apart=True)
      x = nn.relu(norm(_overlapping(x, groups, of_all.shape[-1], (min(bars, 2), 1), **how)))
      x = x.reshape(len(z), bars, groups, -1)
      x = jnp.concatenate([jnp.broadcast_to(of_all[:, None], x.shape), x], -1)
      x = jnp.concatenate([jnp.broadcast_to(x[:, :, :1], x[:, :, 1:].shape), x[:, :, 1:]], -1)
    else:
      x = layer(z[:, None, None], 32, (bars, 1))
    x = x.reshape(len(z) * bars, 1, 1, -1)  # a bar at a time up to the end
    x = layer(x, 16, (BEATS, columns), **(own if self.hybrid else {}))
    groups = voices if self.hybrid else 1
    octaves = _overlapping(x, groups, 8 * self.width, (first, kernel), stride=(first, 2), **how)
    x = nn.relu(norm(octaves))

    split = dict(voices=voices, apart=self.hybrid)
    pitch_first = layer(layer(x, 2, (1, 12), **split), 1, (last, 1), **own)
    time_first = layer(layer(x, 2, (last, 1), **split), 1, (1, 12), **own)
    x = norm(Blocks(1, (1, 1), **own, **kinds)(_join(voices, pitch_first, time_first)))
    return jnp.tanh(x).reshape(-1, *self.shape)

  def _cut(self, z):
    """Two times the shared latent and those of voices, [B, V + 1, n]: of all bars, and what bars are made of."""
    parts = 2 * (self.shape[2] + 1)
    if z.shape[1] % parts:
      raise UserError(
        f'method.z_dim={z.shape[1]} must be a multiple of {parts}: networks.hybrid=True has two latents that are '
        f'shared, and two of each of {self.shape[2]} voices'
      )
    z = z.reshape(len(z), 2, parts // 2, -1)
    return z[:, 0], z[:, 1]


class Discriminator(nn.Module):
  """Rolls [B, T, P, V] in [-1, 1] -> logits [B]."""

  shape: tuple
  steps: int
  width: int
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    length, pitches, voices = self.shape
    first, (columns, kernel), last = factors(self.steps, pitches)
    bar, act = BEATS * self.steps, lambda x: nn.leaky_relu(x, 0.2)

    def layer(x, features, kernel, **more):
      return act(Blocks(self.width * features, kernel, **more, **kinds)(x))

    x = x.reshape(-1, bar, pitches, voices)  # a bar at a time
    own = dict(voices=voices, apart=True)
    pitch_first = layer(layer(x, 1, (1, 12), voices=voices), 2, (last, 1), **own)
    time_first = layer(layer(x, 1, (last, 1), voices=voices), 2, (1, 12), **own)
    y = layer(_join(voices, pitch_first, time_first), 4, (1, 1), **own)
    how = dict(stride=(first, 2), kernel_init=INIT, **kinds)
    y = act(Conv(8 * self.width, (first, kernel), **how)(y))
    y = layer(y, 16, (BEATS, columns))

    chroma = x.reshape(-1, BEATS, self.steps, pitches // 12, 12, voices).sum((2, 3))
    chroma = layer(layer(chroma, 2, (1, 12)), 4, (BEATS, 1))
    before = jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    change = (x - before).sum(2, keepdims=True)
    for features, by in (1, last), (2, first), (4, BEATS):
      change = layer(change, features, (by, 1))

    bars = jnp.concatenate([y, chroma, change], -1).reshape(-1, length // bar, 24 * self.width)
    pairs = Conv(32 * self.width, min(2, length // bar), kernel_init=INIT, **kinds)(bars)
    return nn.Dense(1, kernel_init=INIT, **kinds)(act(pairs))[..., 0].mean(1)


def _join(voices, *parts):
  """Channels of each voice side by side, [..., V C] and [..., V C] -> [..., V 2 C]."""
  parts = [x.reshape(*x.shape[:-1], voices, -1) for x in parts]
  x = jnp.concatenate(parts, -1)
  return x.reshape(*x.shape[:-2], -1)


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 16,
  width_D: int | None = None,
  hybrid: bool = False,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    fields: of the data, of which `roll` says the sizes.
    width, width_D: channels of G's last hidden layers and of D's first, 16 in the authors' code; by default D has G's.
    hybrid: whether G is the paper's hybrid model, with latents and layers of each voice.
    dtype, param_dtype: of activations and of parameters.

  Raises:
    UserError: data without rolls, or of one octave; a width below 1.
  """
  if 'roll' not in fields:
    raise UserError(
      f'networks.name=musegan makes rolls, and the data have {", ".join(fields)}: take data.dataset=chorales or rolls'
    )
  field, width_D = fields['roll'], width if width_D is None else width_D
  if field.shape[1] < 24:
    raise UserError('networks.name=musegan takes two octaves or more: data.pitches=24')
  if min(width, width_D) < 1:
    raise UserError('networks.width and networks.width_D must be at least 1')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(field.shape, field.rate, width, hybrid, **kinds),
    'D': Discriminator(field.shape, field.rate, width_D, **kinds),
  }
