"""SpecGAN (Donahue et al. 2019, arXiv:1802.04208, section 3.3, appendix D): spectrograms by 2-D convolutions.

G: a linear layer to 4x4, transposed convolutions of 5x5 and stride 2 with ReLU between them, tanh at the end. D mirrors
it with LeakyReLU(0.2). No normalization; weights are drawn as in TensorFlow. Classes as in networks/wavegan.py.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.heads import apply_head
from ganjax.layers.spectrum import Spectrum
from ganjax.layers.uniform import to_uniform

INIT = nn.initializers.glorot_uniform()
FIRST, TAPS = 4, 5


class Painter(nn.Module):
  """z [B, Z], and labels [B] with classes -> pictures of spectra [B, side, side, 1] in (-1, 1)."""

  side: int
  width: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    layers = (self.side // FIRST).bit_length() - 1
    first = self.width * 2 ** (layers - 1)
    x = nn.Dense(FIRST * FIRST * first, kernel_init=INIT, **kinds)(to_uniform(z))
    if self.num_classes:
      x = x + ClassEmbed(self.num_classes, FIRST * FIRST * first, INIT, **kinds)(label)
    x = x.reshape(-1, FIRST, FIRST, first)
    for i in range(1, layers + 1):
      features = 1 if i == layers else first // 2**i
      # TensorFlow's SAME: see `conv_transpose`.
      x = ConvTranspose(features, TAPS, stride=2, padding=1, kernel_init=INIT, **kinds)(nn.relu(x))
      x = x[:, :-1, :-1]
    return jnp.tanh(x)


class Generator(nn.Module):
  """`Painter`, and the way from sounds to its pictures and back; `coded` is their shape."""

  side: int
  width: int
  rounds: int
  num_classes: int
  dtype: str
  param_dtype: str
  makes = 'sound'

  def setup(self) -> None:
    more = self.num_classes, self.dtype, self.param_dtype
    self.painter = Painter(self.side, self.width, *more)
    self.spectrum = Spectrum(self.side, self.rounds)

  @property
  def coded(self) -> tuple:
    return self.side, self.side, 1

  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    if self.is_initializing():
      self.spectrum.encode(jnp.zeros((1, self.side**2, 1)), train=False)  # makes its collection
    return self.painter(z, label)

  def encode(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Sounds [B, side^2, 1] -> what D sees, [B, side, side, 1]."""
    return self.spectrum.encode(x, train=train)

  def decode(self, x: jax.Array, *, train: bool) -> jax.Array:
    """What G gives -> sounds."""
    return self.spectrum.decode(x)


class Discriminator(nn.Module):
  """Pictures of spectra [B, side, side, 1], and labels [B] for a projection -> logits [B]."""

  side: int
  width: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    for i in range((self.side // FIRST).bit_length() - 1):
      x = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))
      x = Conv(self.width * 2**i, TAPS, stride=2, kernel_init=INIT, **kinds)(x)
      x = nn.leaky_relu(x, 0.2)
    heads = dict(head='projection', num_classes=self.num_classes, embed_dim=1)
    same = lambda layer: layer
    return apply_head(x.reshape(len(x), -1), label, wrap=same, kernel_init=INIT, **heads, **kinds)


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 64,
  width_D: int | None = None,
  rounds: int = 16,
  num_classes: int = 0,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    fields: of the data, of which `sound` says the length.
    width, width_D: channels of G's last hidden layer and of D's first, 64 in the paper; by default D has as many as G.
    rounds: iterations of Griffin-Lim, which finds the phases of a sample; 16 in the paper.
    num_classes: number of classes of conditional networks; 0: unconditional.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: data without sounds, or of a length that is no square of 8, 16, 32, ...; numbers below these.
  """
  if 'sound' not in fields:
    raise UserError(
      f'networks.name=specgan makes sounds, and the data have {", ".join(fields)}: take data.dataset=notes or sounds'
    )
  length, channels = fields['sound'].shape
  side, width_D = round(length**0.5), width if width_D is None else width_D
  if side**2 != length or side < 8 or side & (side - 1) or channels != 1:
    raise UserError(
      f'networks.name=specgan makes sounds of 1,024, 4,096 or 16,384 samples, squares of powers of two, not '
      f'data.length={length}'
    )
  if min(width, width_D) < 1 or min(num_classes, rounds) < 0:
    raise UserError(
      'networks.width and width_D must be at least 1, rounds and num_classes at least 0'
    )
  kinds = dict(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {'G': Generator(side, width, rounds, **kinds), 'D': Discriminator(side, width_D, **kinds)}
