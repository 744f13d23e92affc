"""vid2vid (Wang et al. 2018, arXiv:1808.06601, section 3): a frame made of labels and of the frames before it.

G encodes the labels and the previous frames apart, and adds both. One branch hallucinates a picture, the other says
where each pixel was a frame before, and a mask how much of the hallucinated picture is taken. There is one resolution,
and no branch of the foreground. Sizes are those of the authors' code, whose weights come from N(0, 0.02).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, component, media
from ganjax.dtypes import widen
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.warp import warp
from ganjax.networks.pix2pix import INIT, check_sides, normalize

BEFORE = 2  # previous frames that G sees
STRETCH = 3  # frames that a discriminator of clips sees; from each to the next 3 times as many as of the one before
FLOW_UNIT = 20.0  # pixels


def spacing(rate: int) -> int:
  """Frames from one frame to the next that the discriminator of clips number `rate` sees: 1, 3, 9 (section 3)."""
  return STRETCH**rate


class Generator(nn.Module):
  """Labels [B, H, W, 3 S] of three frames, the newest last, and two previous frames [B, H, W, 2 C] -> a frame.

  Returns (frame, hallucinated picture, flow, mask): [B, H, W, C] twice, [B, H, W, 2] in pixels (see `layers/warp.py`)
  and [B, H, W, 1] from 0 to 1, the share of the hallucinated picture. No gradient goes to the previous frames by way of
  the warped one.
  """

  channels: int
  width: int
  downs: int
  blocks: int
  norm: str
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, labels: jax.Array, previous: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT)
    widest = self.width * 2**self.downs
    norm = lambda x: normalize(self, x, train)

    def mirrored(features, kernel):
      return Conv(features, kernel, padding=kernel // 2, outside='reflect', **kinds)

    def residual(x, count):
      for _ in range(count):
        y = nn.relu(norm(mirrored(widest, 3)(x)))
        x += norm(mirrored(widest, 3)(y))
      return x

    def encode(x):
      x = nn.relu(norm(mirrored(self.width, 7)(x)))
      for i in range(self.downs):
        features = self.width * 2 ** (i + 1)
        x = nn.relu(norm(Conv(features, 3, stride=2, padding=1, **kinds)(x)))
      return residual(x, self.blocks - self.blocks // 2)

    def decode(x):
      x = residual(x, self.blocks // 2)
      for i in range(self.downs)[::-1]:
        layer = ConvTranspose(self.width * 2**i, 3, stride=2, padding=1, extra=1, **kinds)
        x = nn.relu(norm(layer(x)))
      return x

    x = encode(labels) + encode(previous)
    shown, moving = decode(x), decode(x)
    picture = jnp.tanh(mirrored(self.channels, 7)(shown))
    flow = FLOW_UNIT * mirrored(2, 7)(moving)
    mask = nn.sigmoid(mirrored(1, 7)(moving))
    newest = jax.lax.stop_gradient(previous[..., -self.channels :])
    # Places are float32 at least: bfloat16 has no fractions of a pixel from 256 on.
    moved = warp(widen(newest), widen(flow)).astype(picture.dtype)
    return mask * picture + (1 - mask) * moved, picture, flow, mask


class Discriminator(nn.Module):
  """Pictures [B, H, W, C] -> for each scale its maps [B, h, w, F], of which the last are logits, F = 1.

  A PatchGAN for the whole picture, another for one of half its sides, and so on (pix2pixHD, arXiv:1711.11585, section
  3.2).
  """

  width: int
  layers: int
  scales: int
  norm: str
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> tuple[tuple[jax.Array, ...], ...]:
    kinds = dict(padding=2, dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=INIT)
    found = []
    for scale in range(self.scales):
      if scale:
        around = dict(padding=((1, 1), (1, 1)), count_include_pad=False)
        x = nn.avg_pool(x, (3, 3), strides=(2, 2), **around)
      features = min(self.width * 2**scale, max(self.width, 64))
      maps = [nn.leaky_relu(Conv(features, 4, stride=2, **kinds)(x), 0.2)]
      for i in range(self.layers):
        features, stride = min(2 * features, 512), 2 if i < self.layers - 1 else 1
        y = Conv(features, 4, stride=stride, **kinds)(maps[-1])
        maps.append(nn.leaky_relu(normalize(self, y, train), 0.2))
      found.append((*maps, Conv(1, 4, **kinds)(maps[-1])))
    return tuple(found)


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 128,
  width_D: int = 64,
  downs: int = 3,
  blocks: int = 9,
  layers_D: int = 3,
  scales_D: int = 2,
  rates: int = 2,
  norm: str = 'batch',
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """{'G', 'D_frames', 'D_clips_0', ...}: a discriminator of labels with a frame, and `rates` of clips.

  Args:
    fields: of the data: clips `source` and `target`, and their `flow` where it is known.
    width: channels of G's first layer; each halving doubles them.
    width_D: channels of the first layer of each discriminator.
    downs: halvings in G.
    blocks: residual blocks, half of them in each encoder, the others in each branch.
    layers_D: layers of stride 2 in the discriminators.
    scales_D: scales of a discriminator, each with half the sides of the one before.
    rates: number of clip discriminators. The first sees 3 consecutive frames, the next every third frame, then every
      ninth.
    norm: 'batch' as in the authors' code, or 'instance'.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: data that have no such clips, or clips that do not fit.
  """
  source, target = fields['source'], fields['target']
  if source.kind != 'clip' or target.kind != 'clip' or source.shape[:3] != target.shape[:3]:
    raise UserError(
      'networks.name=vid2vid translates clips into clips of the same size, not '
      f'{source.kind} {list(source.shape)} into {target.kind} {list(target.shape)}'
    )
  component.check_depth(blocks=blocks, scales_D=scales_D, rates=rates)
  if min(width, width_D, downs, layers_D, scales_D, rates) < 1 or blocks < 2:
    raise UserError(
      f'networks.width={width}, width_D={width_D}, downs={downs}, layers_D={layers_D}, scales_D={scales_D} and '
      f'rates={rates} must be at least 1, blocks={blocks} at least 2'
    )
  if norm not in ('batch', 'instance'):
    raise UserError(f"networks.norm={norm!r} is neither 'batch' nor 'instance'")
  frames, *sides, channels = target.shape
  check_sides(sides, 2**downs, f'networks.name=vid2vid with downs={downs}')
  smallest = max(8, 2 ** (downs + 1))
  if min(sides) < smallest:
    raise UserError(
      f'networks.name=vid2vid with downs={downs} takes sides from {smallest}: smaller maps cannot be mirrored'
    )
  least = (STRETCH - 1) * spacing(rates - 1) + 1
  if frames < least:
    raise UserError(
      f'networks.rates={rates} takes clips of {least} frames, not {frames}: raise data.frames, or lower rates'
    )
  kinds = dict(norm=norm, dtype=dtype, param_dtype=param_dtype)
  D = Discriminator(width_D, layers_D, scales_D, **kinds)
  judges = ['D_frames', *(f'D_clips_{rate}' for rate in range(rates))]
  return {'G': Generator(channels, width, downs, blocks, **kinds), **dict.fromkeys(judges, D)}
