"""The networks of GAN-CLS (Reed et al. 2016, arXiv:1605.05396, section 4 and figure 2): a DCGAN that is told a text.

As in the authors' code with a residual block after the first maps of G and the last of D.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm

INIT = nn.initializers.normal(0.02)


class _Net(nn.Module):
  """What both networks are made of."""

  width: int
  text: int  # numbers that a text's vector is brought to
  dtype: str
  param_dtype: str

  @property
  def kinds(self):
    return dict(dtype=self.dtype, param_dtype=self.param_dtype)

  def norm(self, x, train):
    around_one = lambda key, shape, dtype: 1 + 0.02 * jax.random.normal(key, shape, dtype)
    return BatchNorm(scale_init=around_one, **self.kinds)(x, train=train)

  def residual(self, x, narrow, act, train):
    """x beside three convolutions, of which the outer ones change the number of channels."""
    layer = dict(kernel_init=INIT, **self.kinds)
    y = act(self.norm(Conv(narrow, 1, **layer)(x), train))
    y = act(self.norm(Conv(narrow, 3, padding=1, **layer)(y), train))
    y = self.norm(Conv(x.shape[-1], 3, padding=1, **layer)(y), train)
    return act(x + y)


class Generator(_Net):
  """z [B, Z] and vectors of texts [B, E] -> pictures [B, 64, 64, channels] in (-1, 1)."""

  channels: int = 3

  @nn.compact
  def __call__(self, z: jax.Array, sentence: jax.Array, *, train: bool) -> jax.Array:
    layer = dict(kernel_init=INIT, **self.kinds)
    c = nn.leaky_relu(nn.Dense(self.text, **layer)(sentence), 0.2)
    x = jnp.concatenate([z, c], 1)[:, None, None]
    x = self.norm(ConvTranspose(8 * self.width, 4, **layer)(x), train)
    x = self.residual(x, 2 * self.width, nn.relu, train)
    double = dict(kernel=4, stride=2, padding=1, **layer)
    x = self.norm(ConvTranspose(4 * self.width, **double)(x), train)
    x = self.residual(x, self.width, nn.relu, train)
    for factor in (2, 1):
      x = nn.relu(self.norm(ConvTranspose(factor * self.width, **double)(x), train))
    return jnp.tanh(ConvTranspose(self.channels, **double)(x))


class Discriminator(_Net):
  """Pictures [B, 64, 64, C] and vectors of texts [B, E] -> logits [B]."""

  @nn.compact
  def __call__(self, x: jax.Array, sentence: jax.Array, *, train: bool) -> jax.Array:
    layer = dict(kernel_init=INIT, **self.kinds)
    act = lambda x: nn.leaky_relu(x, 0.2)
    for i in range(4):
      x = Conv(self.width * 2**i, 4, stride=2, padding=1, **layer)(x)
      x = self.norm(x, train) if i else x
      x = act(x) if i < 3 else x
    x = self.residual(x, 2 * self.width, act, train)
    c = act(self.norm(nn.Dense(self.text, **layer)(sentence), train))
    there = jnp.broadcast_to(c[:, None, None], (*x.shape[:3], self.text))
    x = jnp.concatenate([x, there], -1)
    x = act(self.norm(Conv(8 * self.width, 1, **layer)(x), train))
    return Conv(1, 4, **layer)(x)[:, 0, 0, 0]


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  width: int = 128,
  width_D: int = 64,
  text: int = 128,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the pictures: 64.
    channels: of the pictures.
    width: channels of G's last hidden maps; smaller maps have 2, 4 and 8 times as many.
    width_D: channels of D's first maps.
    text: length to which each network compresses the vector of a text.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: another resolution.
  """
  if media.sides(resolution) != (64, 64):
    raise UserError(
      f'networks.name=gan_cls makes pictures of 64x64, not data.resolution={resolution}'
    )
  if min(width, width_D, text) < 1:
    raise UserError(f'networks.width={width}, width_D={width_D} and text={text} must be at least 1')
  kinds = dict(text=text, dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(width=width, channels=channels, **kinds),
    'D': Discriminator(width=width_D, **kinds),
  }
