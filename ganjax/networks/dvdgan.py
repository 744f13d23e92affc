"""A small DVD-GAN (Clark et al. 2019, arXiv:1907.06571, section 3): clips by BigGAN blocks and recurrent maps.

G draws one small map, lets it run over time, and doubles it frame by frame. One discriminator sees a few whole frames,
the other the whole clip at half of its sides. No code of the authors is public; what the paper leaves open is from
memory of it or BigGAN's (`networks/biggan.py`). Here there are no classes, the recurrent kernels have no spectral norm,
and there is no self-attention.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax import UserError, media
from ganjax.layers.conv import Conv
from ganjax.layers.norm import BatchNorm
from ganjax.layers.resample import mean_pool
from ganjax.networks.biggan import EPS, INIT, SIDE, DownBlock, UpBlock, conv, normalize


def frames(x: jax.Array) -> jax.Array:
  """[B, T, ...] -> [B T, ...]."""
  return x.reshape(-1, *x.shape[2:])


def product(x: jax.Array, w: jax.Array) -> jax.Array:
  """A convolution of x [B, H, W, C] with w [3, 3, C, F] as one product: within a loop XLA's own is slow on CPU."""
  wide, (height, width) = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), x.shape[1:3]
  shifts = [wide[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
  return jnp.concatenate(shifts, -1) @ w.reshape(-1, w.shape[-1])


class ConvGRU(nn.Module):
  """Maps [B, T, H, W, C] -> states [B, T, H, W, C]: a recurrent cell whose products are 3x3 convolutions.

  h' = u h + (1 - u) relu(W x + V (r h)), gates r and u between 0 and 1, h 0 at the start (section 3.1).
  """

  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kinds = dict(kernel_init=INIT, padding=1, dtype=self.dtype, param_dtype=self.param_dtype)
    features = x.shape[-1]
    given = Conv(3 * features, 3, **kinds)(frames(x)).reshape(*x.shape[:-1], 3 * features)
    shape = lambda n: (3, 3, features, n * features)
    kernel = lambda name, n: self.param(name, INIT, shape(n), self.param_dtype).astype(given.dtype)
    gates, new = kernel('gates', 2), kernel('new', 1)

    def step(h, given):
      of_gates, of_new = jnp.split(given, [2 * features], -1)
      reset, keep = jnp.split(nn.sigmoid(of_gates + product(h, gates)), 2, -1)
      h = keep * h + (1 - keep) * nn.relu(of_new + product(reset * h, new))
      return h, h

    start = jnp.zeros_like(given[:, 0, ..., :features])
    _, states = lax.scan(step, start, jnp.moveaxis(given, 1, 0))
    return jnp.moveaxis(states, 0, 1)


class Generator(nn.Module):
  """z [B, Z] -> clips [B, T, S, S, channels] in (-1, 1)."""

  length: int  # frames
  channels: int
  widths: tuple  # of the maps, from the smallest
  recurrent: tuple  # sides of the maps that run over time
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    first, *rest = self.widths
    x = normalize(nn.Dense(SIDE * SIDE * first, kernel_init=INIT, **kinds))(z)
    x = x.reshape(-1, 1, SIDE, SIDE, first)
    x = jnp.broadcast_to(x, (len(x), self.length, *x.shape[2:]))
    each = jnp.repeat(z, self.length, 0)
    for features in rest:
      if x.shape[2] in self.recurrent:
        x = ConvGRU(**kinds)(x)
      y = UpBlock(features, None, EPS, **kinds)(frames(x), each, train=train)
      x = y.reshape(-1, self.length, *y.shape[1:])
    y = nn.relu(BatchNorm(eps=EPS, **kinds)(frames(x), train=train))
    y = jnp.tanh(conv(self.channels, **kinds)(y))
    return y.reshape(-1, self.length, *y.shape[1:])


class _Judge(nn.Module):
  """What both discriminators are made of."""

  widths: tuple  # of the maps, from the largest
  dtype: str
  param_dtype: str

  def block(self, x, i, down=True):
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    return DownBlock(self.widths[i], down, i == 0, False, **kinds)(x)

  def logits(self, x):
    """Maps [N, h, w, C] -> [N]."""
    x = self.block(x, len(self.widths) - 1, down=False)
    x = nn.relu(x).sum((1, 2))
    dense = nn.Dense(1, kernel_init=INIT, dtype=self.dtype, param_dtype=self.param_dtype)
    return normalize(dense)(x)[:, 0]


class Frames(_Judge):
  """Some frames of each clip [B, k, S, S, C] -> logits [B], the sums over the frames."""

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    count, x = x.shape[1], frames(x)
    for i in range(len(self.widths) - 1):
      x = self.block(x, i)
    return self.logits(x).reshape(-1, count).sum(1)


class Clips(_Judge):
  """Clips [B, T, S, S, C] -> logits [B]: two blocks over time and space, then frame by frame, and the sum."""

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    length = x.shape[1]
    x = mean_pool(frames(x))
    x = x.reshape(-1, length, *x.shape[1:])
    for i in range(2):
      x = self.block(x, i)
    count, x = x.shape[1], frames(x)
    for i in range(2, len(self.widths) - 1):
      x = self.block(x, i)
    return self.logits(x).reshape(-1, count).sum(1)


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 64,
  width_D: int | None = None,
  recurrent: Sequence[int] = (4, 8),
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """{'G', 'D_frames', 'D_clips'}.

  Args:
    fields: of the data: clips.
    width: channels of G's largest maps; each smaller map has twice as many, up to 16 times.
    width_D: channels of the first block of both discriminators; by default as in G.
    recurrent: sides of the maps with recurrence over time; in the paper all but the largest.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: no clips, or clips that the networks do not fit.
  """
  if 'clip' not in fields:
    raise UserError(
      'networks.name=dvdgan makes clips: take a data set that has them, such as moving'
    )
  length, height, wide, channels = fields['clip'].shape
  levels = height.bit_length() - 3  # from 4x4
  if height != wide or 4 * 2**levels != height or not 32 <= height <= 512 or length % 4:
    raise UserError(
      'networks.name=dvdgan makes squares whose sides are 32, 64 and so on to 512, and data.frames in fours, not '
      f'{length} of {height}x{wide}'
    )
  width_D = width_D or width
  if min(width, width_D) < 1:
    raise UserError(f'networks.width={width} and width_D={width_D} must be at least 1')
  sides = tuple(4 * 2**i for i in range(levels))
  if not set(recurrent) <= set(sides):
    raise UserError(
      f'networks.recurrent={tuple(recurrent)} must be sides of maps: {", ".join(map(str, sides))}'
    )
  widths = lambda width, count: tuple(width * min(2**i, 16) for i in range(count))
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(length, channels, widths(width, levels + 1)[::-1], tuple(recurrent), **kinds),
    'D_frames': Frames(widths(width_D, levels + 1), **kinds),
    'D_clips': Clips(widths(width_D, int(math.log2(height)) - 2), **kinds),
  }
