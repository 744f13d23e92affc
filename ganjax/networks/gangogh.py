"""GANGogh (Jones and Bonafilia 2017, github.com/rkjones4/GANGogh): paintings of a style, by gates that the style moves.

G is a DCGAN of 5x5 kernels whose every map is sigmoid(a) tanh(b), as in PixelCNN (arXiv:1606.05328); the style adds to
a and b, at each place its own number. D has layer norm and two heads, whether a picture is real and its style's scores:
WGAN-GP with AC-GAN's loss. The halves a and b are one after the other here, where the code has even and odd channels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.norm import BatchNorm


def init(
  key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
  """Evenly distributed, with a deviation of 0.02."""
  most = 0.02 * 3**0.5
  return jax.random.uniform(key, shape, dtype, -most, most)


class Generator(nn.Module):
  """z [B, Z] and labels [B], or weights of the classes [B, K] -> pictures [B, S, S, channels] in (-1, 1)."""

  levels: int  # doublings of 4x4
  channels: int
  width: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    one = jnp.eye(self.num_classes, dtype=z.dtype)
    weights = one[label] if jnp.issubdtype(label.dtype, jnp.integer) else label.astype(z.dtype)

    def gate(x, level):
      x = BatchNorm(**kinds)(x, train=train)
      table = dict(embedding_init=init, param_dtype=self.param_dtype, dtype=self.dtype)
      moved = ClassEmbed(self.num_classes, x[0].size, **table)(label).reshape(x.shape)
      if level:  # the first has no bias beside that of batch norm
        moved += self.param(
          f'bias_{level}', nn.initializers.zeros, x.shape[1:], self.param_dtype
        ).astype(x.dtype)
      a, b = jnp.split(x + moved, 2, -1)
      return nn.sigmoid(a) * jnp.tanh(b)

    wide = 2 * self.width * 2 ** (self.levels - 1)
    x = nn.Dense(16 * wide, kernel_init=init, **kinds)(jnp.concatenate([z, weights], 1))
    x = gate(x.reshape(-1, 4, 4, wide), 0)
    for level in range(1, self.levels):
      x = gate(double(wide // 2**level, **kinds)(x)[:, :-1, :-1], level)
    return jnp.tanh(double(self.channels, **kinds)(x)[:, :-1, :-1])


def double(features: int, **kinds: str) -> ConvTranspose:
  """TensorFlow's transposed convolution, of one row and column too many."""
  return ConvTranspose(features, 5, stride=2, padding=1, kernel_init=init, **kinds)


class Discriminator(nn.Module):
  """Pictures [B, S, S, C] -> (logits [B], scores of the classes [B, num_classes])."""

  levels: int
  width: int
  num_classes: int
  dtype: str
  param_dtype: str
  head = 'classifier'

  @nn.compact
  def __call__(
    self, x: jax.Array, label: jax.Array | None = None, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    # Over a whole picture, with a scale and a bias a channel.
    norm = dict(epsilon=1e-5, reduction_axes=(1, 2, 3), feature_axes=-1, use_fast_variance=False)
    for level in range(self.levels):
      x = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))
      x = Conv(self.width * 2**level, 5, stride=2, kernel_init=init, **kinds)(x)
      x = nn.leaky_relu(nn.LayerNorm(**norm, **kinds)(x) if level else x, 0.2)
    x = x.reshape(len(x), -1)
    head = lambda features: nn.Dense(features, kernel_init=init, **kinds)(x)
    return head(1)[:, 0], head(self.num_classes)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  num_classes: int,
  width: int = 64,
  width_D: int = 64,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}, for `methods/gan.py` with a `class_loss`.

  Args:
    resolution: side of the pictures, 2^n from 16.
    channels: of the pictures.
    num_classes: number of styles.
    width: channels of G's last hidden maps; each smaller map has twice as many.
    width_D: channels of D's first maps.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: another resolution, or a number that is none.
  """
  height, wide = media.sides(resolution)
  levels = height.bit_length() - 3
  if height != wide or 4 * 2**levels != height or levels < 2:
    raise UserError(
      f'networks.name=gangogh makes squares whose sides are 16, 32, 64 and so on, not data.resolution={resolution}'
    )
  if num_classes < 2 or min(width, width_D) < 1:
    raise UserError(
      f'networks.num_classes={num_classes} must be at least 2, width={width} and width_D={width_D} at least 1'
    )
  kinds = dict(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(levels, channels, width, **kinds),
    'D': Discriminator(levels, width_D, **kinds),
  }
