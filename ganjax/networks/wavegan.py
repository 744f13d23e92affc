"""WaveGAN (Donahue et al. 2019, arXiv:1802.04208, section 3.2, appendix D): raw sound by 1-D convolutions of 25 taps.

G: a linear layer to 16 samples, then transposed convolutions of stride 4 with ReLU between them, tanh at the end. D:
convolutions of stride 4, LeakyReLU(0.2) and, between them, phase shuffle. No norms; weights as TensorFlow draws them
(Glorot uniform). The paper shuffles each example by itself; its code, and this, all of a batch alike.

A length that is 16 times a power of 4, twice that or half, has a last layer of stride 2: 32,768 in the code.
With classes the label goes to G beside z as 0s and 1s, and D has a projection (arXiv:1802.05637); the paper has none.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.heads import apply_head
from ganjax.layers.uniform import to_uniform

INIT = nn.initializers.glorot_uniform()
FIRST = 16  # samples of G's first map
TAPS = 25


def strides(length: int) -> tuple:
  """Of the layers between 16 samples and `length`: fours, and a two at the end where one is left.

  Raises:
    UserError: a length that is no power of two from 64.
  """
  steps = length.bit_length() - 1 - (FIRST.bit_length() - 1)
  if length != FIRST * 2**steps or steps < 2:
    raise UserError(
      f'networks.name=wavegan makes sounds of 64, 128, 256, ... samples, not data.length={length}'
    )
  return (4,) * (steps // 2) + (2,) * (steps % 2)


def shuffle(x: jax.Array, shift: jax.Array | int, most: int) -> jax.Array:
  """x [B, T, C] moved `shift` samples later, a traced integer in [-most, most]; ends mirror (arXiv:1802.04208, 3.3)."""
  wide = jnp.pad(x, ((0, 0), (most, most), (0, 0)), 'reflect')
  return lax.dynamic_slice_in_dim(wide, most - shift, x.shape[1], 1)


def draw_shift(key: jax.Array, most: int) -> jax.Array:
  """Evenly one of -most, ..., most."""
  return jax.random.randint(key, (), -most, most + 1)


class Generator(nn.Module):
  """z [B, Z] from N(0, I), which WaveGAN wants from U(-1, 1), and labels [B] with classes -> sounds [B, T, C]."""

  length: int
  channels: int
  width: int
  post_taps: int
  num_classes: int
  dtype: str
  param_dtype: str
  makes = 'sound'

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    by = strides(self.length)
    first = self.width * 2 ** (len(by) - 1)
    x = nn.Dense(FIRST * first, kernel_init=INIT, **kinds)(to_uniform(z))
    if self.num_classes:
      x = x + ClassEmbed(self.num_classes, FIRST * first, INIT, **kinds)(label)
    x = x.reshape(-1, FIRST, first)
    for i, stride in enumerate(by):
      last = i == len(by) - 1
      features = self.channels if last else first // 2 ** (i + 1)
      # TensorFlow's SAME: see `conv_transpose`.
      side = (TAPS - stride) // 2
      up = ConvTranspose(features, TAPS, stride, side, kernel_init=INIT, **kinds)
      x = up(nn.relu(x))[:, : x.shape[1] * stride]
    x = jnp.tanh(x)
    if self.post_taps:
      ends = (self.post_taps - 1) // 2, self.post_taps // 2
      x = jnp.pad(x, ((0, 0), ends, (0, 0)))
      x = Conv(self.channels, self.post_taps, use_bias=False, kernel_init=INIT, **kinds)(x)
    return x


class Discriminator(nn.Module):
  """Sounds [B, T, C], and labels [B] for a projection -> logits [B]."""

  length: int
  width: int
  shuffle: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    for i, stride in enumerate(strides(self.length)):
      if i and train and self.shuffle:
        shift = draw_shift(self.make_rng('noise'), self.shuffle)
        x = shuffle(x, shift, self.shuffle)
      around = TAPS - stride
      x = jnp.pad(x, ((0, 0), (around // 2, around - around // 2), (0, 0)))
      x = Conv(self.width * 2**i, TAPS, stride, kernel_init=INIT, **kinds)(x)
      x = nn.leaky_relu(x, 0.2)
    heads = dict(head='projection', num_classes=self.num_classes, embed_dim=1)
    same = lambda layer: layer
    return apply_head(x.reshape(len(x), -1), label, wrap=same, kernel_init=INIT, **heads, **kinds)


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 64,
  width_D: int | None = None,
  shuffle: int = 2,
  post_taps: int = 0,
  num_classes: int = 0,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    fields: of the data, of which `sound` says the length and the channels.
    width, width_D: channels of G's last hidden layer and of D's first, 64 in the paper; by default D has as many as G.
    shuffle: largest phase shuffle in D, in samples: 2 in the paper; 0: none.
    post_taps: length of a last filter after G, without a bias: 512 in the paper; 0: none.
    num_classes: number of classes of conditional networks; 0: unconditional.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: data without sounds, or of a length that the layers do not come to; numbers below these.
  """
  if 'sound' not in fields:
    raise UserError(
      f'networks.name=wavegan makes sounds, and the data have {", ".join(fields)}: take data.dataset=notes or sounds'
    )
  length, channels = fields['sound'].shape
  width_D = width if width_D is None else width_D
  strides(length)
  if min(width, width_D) < 1 or min(shuffle, post_taps, num_classes) < 0:
    raise UserError(
      'networks.width and width_D must be at least 1, shuffle, post_taps and num_classes at least 0'
    )
  least = FIRST * 4 if length > FIRST * 4 else FIRST
  if shuffle >= least:
    raise UserError(
      f'networks.shuffle={shuffle} must be below {least}, the shortest map that it moves'
    )
  kinds = dict(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(length, channels, width, post_taps, **kinds),
    'D': Discriminator(length, width_D, shuffle, **kinds),
  }
