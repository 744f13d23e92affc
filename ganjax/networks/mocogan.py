"""MoCoGAN (Tulyakov et al. 2018, arXiv:1707.04993, section 3): frames of one content, each with a motion of its own.

A recurrent cell turns noise into a path of motion codes; each frame is drawn from the content and its motion code. One
discriminator sees frames, the other clips. As in the authors' code no layer but batch norm has a bias.

With classes (section 3.3) a category lies between content and motion, and the discriminator of clips tells it.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.norm import BatchNorm
from ganjax.networks.srresnet import TORCH_INIT


class Generator(nn.Module):
  """Content [B, Z] and noise [B, 1 + T, M] -> clips [B, T, S, S, channels] in (-1, 1); the first noise is the cell's
  state at the start. With classes also labels, integers [B] or weights of the classes [B, num_classes].
  """

  channels: int
  widths: tuple  # of the maps, from the smallest, 4x4
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, content: jax.Array, noise: jax.Array, label: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    layer = dict(use_bias=False, kernel_init=TORCH_INIT, **kinds)
    count, steps, size = noise.shape
    cell = nn.GRUCell(
      size, kernel_init=TORCH_INIT, recurrent_kernel_init=TORCH_INIT, param_dtype=self.param_dtype
    )
    motion = nn.RNN(cell)(noise[:, 1:], initial_carry=noise[:, 0])
    still = content
    if self.num_classes:
      category = label if label.ndim == 2 else jax.nn.one_hot(label, self.num_classes)
      still = jnp.concatenate([content, category.astype(content.dtype)], 1)
    width = still.shape[1] + size
    still = jnp.broadcast_to(still[:, None], (count, steps - 1, still.shape[1]))
    x = jnp.concatenate([still, motion], 2).reshape(-1, 1, 1, width)
    norm = lambda x: nn.relu(BatchNorm(**kinds)(x, train=train))
    x = norm(ConvTranspose(self.widths[0], 4, **layer)(x))
    for features in self.widths[1:]:
      x = norm(ConvTranspose(features, 4, stride=2, padding=1, **layer)(x))
    x = jnp.tanh(ConvTranspose(self.channels, 4, stride=2, padding=1, **layer)(x))
    return x.reshape(count, steps - 1, *x.shape[1:])


class Frames(nn.Module):
  """The discriminator of frames: pictures [B, S, S, C] -> logits [B, S/16, S/16], one of each patch."""

  width: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    layer = dict(stride=2, padding=1, use_bias=False, kernel_init=TORCH_INIT, **kinds)
    for i in range(3):
      x = Conv(self.width * 2**i, 4, **layer)(x)
      x = nn.leaky_relu(BatchNorm(**kinds)(x, train=train) if i else x, 0.2)
    return Conv(1, 4, **layer)(x)[..., 0]


class Clips(nn.Module):
  """The discriminator of clips [B, T, S, S, C] -> logits [B, t], of stretches of time that overlap.

  With classes (these, scores [B, num_classes], means over the stretches).
  """

  widths: tuple
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array | tuple[jax.Array, jax.Array]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    layer = dict(use_bias=False, kernel_init=TORCH_INIT, **kinds)
    for i, features in enumerate(self.widths):
      x = Conv(features, 4, stride=(1, 2, 2), padding=(0, 1, 1), **layer)(x)
      x = nn.leaky_relu(BatchNorm(**kinds)(x, train=train) if i else x, 0.2)
    x = Conv(1 + self.num_classes, 4, **layer)(x)[:, :, 0, 0]
    return (x[..., 0], jnp.mean(x[..., 1:], 1)) if self.num_classes else x[..., 0]


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 64,
  width_D: int | None = None,
  num_classes: int = 0,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """{'G', 'D_frames', 'D_clips'}.

  Args:
    fields: of the data: clips.
    width: channels of G's largest hidden maps; smaller maps have 2, 4 and 8 times as many.
    width_D: channels of the first layer of both discriminators; by default as in G.
    num_classes: number of classes; 0: unconditional.
    dtype, param_dtype: dtypes of activations and of parameters; the recurrent cell has float32 or more.

  Raises:
    UserError: no clips, or clips that the discriminators do not fit.
  """
  if 'clip' not in fields:
    raise UserError(
      'networks.name=mocogan makes clips: take a data set that has them, such as moving'
    )
  frames, height, wide, channels = fields['clip'].shape
  levels = int(math.log2(height)) - 2  # from 4x4
  if height != wide or 4 * 2**levels != height or not 32 <= height <= 512:
    raise UserError(
      f'networks.name=mocogan makes squares whose sides are 32, 64 and so on to 512, not {height}x{wide}'
    )
  least = 3 * (levels + 1) + 1
  if frames < least:
    raise UserError(
      f'the discriminator of clips sees {least} frames at once at {height} pixels: data.frames={frames} must be at '
      'least as many'
    )
  width_D = width_D or width
  if min(width, width_D) < 1:
    raise UserError(f'networks.width={width} and width_D={width_D} must be at least 1')
  widths = lambda width, count: tuple(width * min(2**i, 8) for i in range(count))
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(channels, widths(width, levels)[::-1], num_classes, **kinds),
    'D_frames': Frames(width_D, **kinds),
    'D_clips': Clips(widths(width_D, levels), num_classes, **kinds),
  }
