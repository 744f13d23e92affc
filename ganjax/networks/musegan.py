"""MuseGAN (Dong et al. 2018, arXiv:1709.06298): rolls by networks that voices share and networks of each voice.

The layers are those of the authors' later code (its presets `default`), for 4 bars of 48 steps, 84 pitches and 5
voices; there are no latents of each voice, as the paper's hybrid model has them. G: a layer to a map a bar, two
transposed convolutions that all voices share, then for each voice two ways to every step and pitch, pitches first and
steps first, which are joined. Batch norm and ReLU after each layer, and before the last tanh batch norm too. D mirrors
it, without norms, with LeakyReLU(0.2); beside it two streams see how often each pitch class sounds in a beat, and how
many notes begin or end at a step. Its logit is the mean of those of all neighbouring bars.

For other sizes the factors of steps and octaves differ, see `factors`. Weights from a normal distribution of deviation
0.05, cut off at two.
"""

import flax.linen as nn
import jax.numpy as jnp

from ganjax import UserError
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm
from ganjax.media.roll import BEATS

INIT = nn.initializers.truncated_normal(0.05)


def factors(steps, pitches) -> tuple:
  """Of the layers, for `steps` of a beat: (of steps, (pitches of the first map, kernel), of steps at the end).

  The first map has a row a beat, and so many pitches that a kernel of stride 2 makes an octave a column of them: of 3
  for an odd number of octaves, of 2 for an even one.
  """
  first = next(n for n in range(1, steps + 1) if steps % n == 0 and n * n >= steps)
  octaves = pitches // 12
  return first, ((octaves - 1) // 2, 3) if octaves % 2 else (octaves // 2, 2), steps // first


class Generator(nn.Module):
  """z [B, Z] from N(0, I) -> rolls [B, T, P, V] in (-1, 1)."""

  shape: tuple  # of a roll
  steps: int
  width: int
  dtype: str
  param_dtype: str
  num_classes = 0
  makes = 'roll'

  @nn.compact
  def __call__(self, z, label=None, *, train: bool):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    norm = lambda x: BatchNorm(**kinds)(x, train=train)

    def layer(x, features, kernel, stride=None):
      x = ConvTranspose(self.width * features, kernel, stride or kernel, kernel_init=INIT, **kinds)(x)
      return nn.relu(norm(x))

    length, pitches, voices = self.shape
    first, (columns, kernel), last = factors(self.steps, pitches)
    bars = length // (BEATS * self.steps)
    x = layer(z[:, None], 32, bars, bars)
    # The layers up to the end see a bar at a time.
    x = x.reshape(-1, 1, 1, x.shape[-1])
    x = layer(x, 16, (BEATS, columns))
    x = layer(x, 8, (first, kernel), (first, 2))
    out = []
    for _ in range(voices):
      pitch_first = layer(layer(x, 2, (1, 12)), 1, (last, 1))
      time_first = layer(layer(x, 2, (last, 1)), 1, (1, 12))
      both = jnp.concatenate([pitch_first, time_first], -1)
      out.append(norm(ConvTranspose(1, 1, kernel_init=INIT, **kinds)(both)))
    return jnp.tanh(jnp.concatenate(out, -1)).reshape(-1, *self.shape)


class Discriminator(nn.Module):
  """Rolls [B, T, P, V] in [-1, 1] -> logits [B]."""

  shape: tuple
  steps: int
  width: int
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(self, x, label=None, *, train: bool):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)

    def layer(x, features, kernel, stride=None):
      x = Conv(self.width * features, kernel, stride or kernel, kernel_init=INIT, **kinds)(x)
      return nn.leaky_relu(x, 0.2)

    length, pitches, voices = self.shape
    first, (columns, kernel), last = factors(self.steps, pitches)
    bar = BEATS * self.steps
    x = x.reshape(-1, bar, pitches, voices)  # a bar at a time
    out = []
    for _ in range(voices):
      pitch_first = layer(layer(x, 1, (1, 12)), 2, (last, 1))
      time_first = layer(layer(x, 1, (last, 1)), 2, (1, 12))
      out.append(layer(jnp.concatenate([pitch_first, time_first], -1), 4, (1, 1)))
    shared = layer(jnp.concatenate(out, -1), 8, (first, kernel), (first, 2))
    shared = layer(shared, 16, (BEATS, columns))

    chroma = x.reshape(-1, BEATS, self.steps, pitches // 12, 12, voices).sum((2, 3))
    chroma = layer(layer(chroma, 2, (1, 12)), 4, (BEATS, 1))
    before = jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    change = (x - before).sum(2)
    for features, by in (1, last), (2, first), (4, BEATS):
      change = layer(change, features, by)

    streams = [y.reshape(len(y), -1) for y in (shared, chroma, change)]
    bars = jnp.concatenate(streams, -1).reshape(-1, length // bar, 24 * self.width)
    pairs = layer(bars, 32, min(2, length // bar), 1)
    return nn.Dense(1, kernel_init=INIT, **kinds)(pairs)[..., 0].mean(1)


def build(*, fields, width=16, width_D=None, dtype='float32', param_dtype='float32'):
  """The pair {'G', 'D'}.

  Args:
    fields: of the data, of which `roll` says the sizes.
    width, width_D: channels of G's last hidden layers and of D's first, 16 in the authors' code; by default D has G's.
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
    'G': Generator(field.shape, field.rate, width, **kinds),
    'D': Discriminator(field.shape, field.rate, width_D, **kinds),
  }
