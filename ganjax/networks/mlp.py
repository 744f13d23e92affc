"""Multilayer perceptrons of the first GAN on MNIST (Goodfellow et al. 2014, arXiv:1406.2661, section 5) and of cGAN.

G: two hidden layers of 1200 rectified linear units. D: two hidden layers of 240 maxout units (Goodfellow et al. 2013,
arXiv:1302.4389, section 3), each the largest of 5 linear pieces, so 1200 linear units too. Sizes and ranges of the
initial weights are those of the authors' mnist.yaml (github.com/goodfeli/adversarial). What differs: pictures lie in
[-1, 1], so G ends in tanh where theirs ends in a sigmoid, with no bias from the pixels' means; D has no dropout.

With classes they are those of the conditional GAN (Mirza and Osindero 2014, arXiv:1411.1784, section 4.1): layers of
their own for z or the picture and for the label, joined before the second. G's first has 200 units for z and 1000 for
the label; D's 240 and 50 maxout units of 5 pieces, and 240 of 4 pieces after them.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.embed import ClassEmbed

PIECES = 5


def between(limit: float) -> nn.initializers.Initializer:
  """Weights from U(-limit, limit)."""
  return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -limit, limit)


def maxout(x: jax.Array, pieces: int) -> jax.Array:
  """The largest of each `pieces` neighbours. [B, units * pieces] -> [B, units]."""
  # Not jnp.max, through which gradients of R1 came out NaN on 4 CPU devices in float64, XLA's optimizations off.
  return functools.reduce(jnp.maximum, jnp.moveaxis(x.reshape(len(x), -1, pieces), -1, 0))


class Generator(nn.Module):
  """z [B, Z], and labels [B] with classes -> images [B, height, width, channels] in (-1, 1)."""

  resolution: tuple  # (height, width)
  channels: int
  width: int
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    init = between(0.05)
    dense = lambda features: nn.Dense(features, kernel_init=init, **kinds)
    shape = (*self.resolution, self.channels)
    of_z = self.width // 6 if self.num_classes else self.width
    x = nn.relu(dense(of_z)(z))
    if self.num_classes:
      # A table is a linear layer of the label's 0s and 1s; its rows hold the bias.
      table = ClassEmbed(self.num_classes, self.width - of_z, init, **kinds)
      x = jnp.concatenate([x, nn.relu(table(label))], 1)
    x = nn.relu(dense(self.width)(x))
    x = dense(shape[0] * shape[1] * shape[2])(x)
    return jnp.tanh(x).reshape(-1, *shape)


class Discriminator(nn.Module):
  """Images [B, height, width, channels], and labels [B] with classes -> logits [B]."""

  width: int
  num_classes: int
  dropout: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    init = between(0.005)
    dense = lambda features: nn.Dense(features, kernel_init=init, **kinds)
    drop = lambda x, rate: nn.Dropout(rate * self.dropout, deterministic=not train)(x)
    units = self.width // PIECES
    x = maxout(dense(units * PIECES)(drop(x.reshape(len(x), -1), 0.2)), PIECES)
    pieces = PIECES
    if self.num_classes:
      table = ClassEmbed(self.num_classes, self.width // 24 * PIECES, init, **kinds)
      x, pieces = jnp.concatenate([x, maxout(table(label), PIECES)], 1), 4
    x = maxout(dense(units * pieces)(drop(x, 0.5)), pieces)
    return dense(1)(drop(x, 0.5))[:, 0]


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 1200,
  num_classes: int = 0,
  dropout: bool = False,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution, channels: of the images, any; resolution a side or (height, width).
    width: linear units of every hidden layer, a multiple of 5: G's rectified ones, the pieces of D's maxout units.
    num_classes: number of classes of conditional networks; 0: unconditional. Parts of layers then have a sixth and a
      24th of the width.
    dropout: whether D drops a fifth of the pixels and half of the units in training (arXiv:1207.0580), as in both
      papers. Without it a conditional D recognises fakes by their grain alone: after 10,000 steps of cgan_mnist, G
      still drew any digit for any label.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a width that is no multiple of 5, or of less than 24 with classes.
  """
  if width < PIECES or width % PIECES:
    raise UserError(f'networks.width={width} must be a multiple of {PIECES}: maxout has 5 pieces')
  if num_classes < 0 or (num_classes and width < 24):
    raise UserError(
      f'networks.num_classes={num_classes} must be at least 0, and with classes networks.width={width} at least 24'
    )
  kinds = dict(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(media.sides(resolution), channels, width, **kinds),
    'D': Discriminator(width, dropout=dropout, **kinds),
  }
