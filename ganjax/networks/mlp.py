"""The multilayer perceptrons of the first GAN on MNIST (Goodfellow et al. 2014, arXiv:1406.2661, section 5).

G: two hidden layers of 1200 rectified linear units. D: two hidden layers of 240 maxout units (Goodfellow et al. 2013,
arXiv:1302.4389, section 3), each the largest of 5 linear pieces, so 1200 linear units too. Sizes and ranges of the
initial weights are those of the authors' mnist.yaml (github.com/goodfeli/adversarial). What differs: pictures lie in
[-1, 1], so G ends in tanh where theirs ends in a sigmoid, with no bias from the pixels' means; D has no dropout.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError

PIECES = 5


def between(limit):
  """Weights from U(-limit, limit)."""
  return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -limit, limit)


class Generator(nn.Module):
  """z [B, Z] -> images [B, resolution, resolution, channels] in (-1, 1)."""

  resolution: int
  channels: int
  width: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z, label=None, *, train: bool):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=between(0.05))
    shape = (self.resolution, self.resolution, self.channels)
    x = nn.relu(nn.Dense(self.width, **kinds)(z))
    x = nn.relu(nn.Dense(self.width, **kinds)(x))
    x = nn.Dense(shape[0] * shape[1] * shape[2], **kinds)(x)
    return jnp.tanh(x).reshape(-1, *shape)


class Discriminator(nn.Module):
  """Images [B, resolution, resolution, channels] -> logits [B]."""

  width: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x, label=None, *, train: bool):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=between(0.005))
    x = x.reshape(len(x), -1)
    for _ in range(2):
      pieces = nn.Dense(self.width, **kinds)(x)
      x = jnp.max(pieces.reshape(len(x), -1, PIECES), axis=-1)
    return nn.Dense(1, **kinds)(x)[:, 0]


def build(*, resolution, channels, width=1200, dtype='float32', param_dtype='float32'):
  """The pair {'G', 'D'}.

  Args:
    resolution, channels: of the images, any.
    width: linear units of every hidden layer, a multiple of 5: G's rectified ones, the pieces of D's maxout units.
    dtype, param_dtype: of activations and of parameters.

  Raises:
    UserError: a width that is no multiple of 5.
  """
  if width < PIECES or width % PIECES:
    raise UserError(f'networks.width={width} must be a multiple of {PIECES}: maxout has 5 pieces')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(resolution, channels, width, **kinds),
    'D': Discriminator(width, **kinds),
  }
