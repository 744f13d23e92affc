"""ESRGAN's generator (Wang et al. 2018, arXiv:1809.00219, section 3.1), residual-in-residual dense blocks; SRGAN's D.

The generator takes pictures of any size whose sides are multiples of 4 / scale. It enlarges them by `scale`. Inside,
pictures are in [0, 1], as the published weights expect.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, component
from ganjax.layers.conv import Conv
from ganjax.layers.resample import pixel_unshuffle, upsample
from ganjax.networks.srresnet import SMALL_INIT, TORCH_INIT, build_discriminator


class DenseBlock(nn.Module):
  """Five convolutions, each of which sees what those before it made; a fifth of the last is added to the input."""

  growth: int
  layer: Callable  # features -> a convolution

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    seen = [x]
    for _ in range(4):
      seen.append(nn.leaky_relu(self.layer(self.growth)(jnp.concatenate(seen, -1)), 0.2))
    return x + 0.2 * self.layer(x.shape[-1])(jnp.concatenate(seen, -1))


class Block(nn.Module):
  """Three dense blocks, a fifth of whose output is added to the input."""

  growth: int
  layer: Callable

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = x
    for _ in range(3):
      y = DenseBlock(self.growth, self.layer)(y)
    return x + 0.2 * y


class Generator(nn.Module):
  """Pictures [B, h, w, C] in [-1, 1] -> [B, scale h, scale w, C], near [-1, 1]."""

  channels: int
  scale: int
  width: int
  growth: int
  blocks: int
  dtype: str
  param_dtype: str

  @property
  def multiple(self) -> int:
    """Sides that it takes are multiples of it."""
    return 4 // self.scale

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    inner = lambda features: Conv(features, 3, padding=1, kernel_init=SMALL_INIT, **kinds)
    layer = lambda features: Conv(features, 3, padding=1, kernel_init=TORCH_INIT, **kinds)
    act = lambda x: nn.leaky_relu(x, 0.2)
    first = x = layer(self.width)(pixel_unshuffle((x + 1) / 2, 4 // self.scale))
    for _ in range(self.blocks):
      x = Block(self.growth, inner)(x)
    x = first + layer(self.width)(x)
    for _ in range(2):
      x = act(layer(self.width)(upsample(x)))
    x = act(layer(self.width)(x))
    return 2 * layer(self.channels)(x) - 1


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  scale: int = 4,
  width: int = 64,
  growth: int = 32,
  width_D: int = 64,
  blocks: int = 23,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}; D is that of `networks/srresnet.py`.

  Args:
    resolution: of the large pictures that are learnt from, a side or (height, width): multiples of 32.
    channels: of the pictures.
    scale: factor by which G enlarges pictures: 1, 2 or 4. With 1 and 2, G takes blocks of 4x4 and 2x2 pixels as one.
    width: channels of G's layers.
    growth: channels that each layer of a dense block adds.
    width_D: channels of D's first layer; deeper layers have 2, 4 and 8 times as many.
    blocks: blocks of G, of three dense blocks each.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: pictures that D's halvings do not fit, or a value that is none of these.
  """
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  if width_D < 1:
    raise UserError(f'networks.width_D={width_D} must be at least 1')
  G = build_generator(channels, scale, width, growth, blocks, **kinds)
  return {'G': G, 'D': build_discriminator(resolution, width_D, 'rrdb', **kinds)}


def build_generator(
  channels: int, scale: int, width: int, growth: int, blocks: int, **kinds: str
) -> Generator:
  """The generator alone, see `build`."""
  if scale not in (1, 2, 4):
    raise UserError(f'networks.scale={scale!r} must be 1, 2 or 4')
  component.check_depth(blocks=blocks)
  if min(width, growth) < 1 or blocks < 0:
    raise UserError(
      f'networks.width={width} and growth={growth} must be at least 1, blocks={blocks} at least 0'
    )
  return Generator(channels, scale, width, growth, blocks, **kinds)
