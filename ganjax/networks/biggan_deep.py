"""BigGAN-deep (Brock et al. 2018, arXiv:1809.11096, appendix B, table 7 and figure 16), twice the blocks of BigGAN.

Each block is a bottleneck: two 3x3 convolutions between 1x1 convolutions, at a quarter of the channels. Shortcuts keep
their channels: G drops the last channels if there are too many, and D adds missing ones by a 1x1 convolution. All of z,
joined with the class embedding, feeds the linear layer and every batch norm. Smaller pictures have BigGAN's channels.
The paper's count of 50.4 million parameters in G includes a last convolution to 128 channels, of which three are used.
Ours has 3.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.layers.attention import SelfAttention
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.heads import apply_head
from ganjax.layers.norm import BatchNorm, ConditionalBatchNorm
from ganjax.layers.resample import mean_pool, upsample
from ganjax.networks.biggan import EPS, INIT, SHAPES, SIDE, check, conv, normalize


class GBlock(nn.Module):
  """[B, H, W, C] -> [B, H, W, features], or [B, 2H, 2W, features] if `up`; features at most C."""

  features: int
  up: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    hidden = x.shape[-1] // 4

    def norm(x):
      layer = ConditionalBatchNorm(eps=EPS, kernel_init=INIT, wrap=normalize, **kinds)
      return nn.relu(layer(x, condition, train=train))

    y = norm(x)
    y = conv(hidden, 1, **kinds)(y)
    y = norm(y)
    y = conv(hidden, resample='up' if self.up else None, **kinds)(y)
    y = norm(y)
    y = conv(hidden, **kinds)(y)
    y = norm(y)
    x = x[..., : self.features]
    return conv(self.features, 1, **kinds)(y) + (upsample(x) if self.up else x)


class DBlock(nn.Module):
  """[B, H, W, C] -> [B, H, W, features], or [B, H/2, W/2, features] if `down`; features at least C."""

  features: int
  down: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    hidden = self.features // 4
    y = conv(hidden, 1, **kinds)(nn.relu(x))
    y = conv(hidden, **kinds)(nn.relu(y))
    y = conv(hidden, **kinds)(nn.relu(y))
    down = 'down' if self.down else None
    y = conv(self.features, 1, down, **kinds)(nn.relu(y))
    x = mean_pool(x) if down else x
    if missing := self.features - x.shape[-1]:
      x = jnp.concatenate([x, conv(missing, 1, **kinds)(x)], -1)
    return x + y


class Generator(nn.Module):
  """z [B, Z] and labels [B] -> images [B, resolution, resolution, channels] in (-1, 1)."""

  resolution: int
  channels: int
  width: int
  attention: int
  num_classes: int
  shared_dim: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    first, *rest = (self.width * factor for factor in SHAPES[self.resolution][0])
    table = ClassEmbed(self.num_classes, self.shared_dim, INIT, param_dtype=self.param_dtype)
    condition = jnp.concatenate([z, table(label)], 1)
    x = normalize(nn.Dense(SIDE * SIDE * first, kernel_init=INIT, **kinds))(condition)
    x = x.reshape(-1, SIDE, SIDE, first)
    for features in rest:
      x = GBlock(x.shape[-1], up=False, **kinds)(x, condition, train=train)
      x = GBlock(features, up=True, **kinds)(x, condition, train=train)
      if x.shape[1] == self.attention:
        x = SelfAttention(normalize, INIT, **kinds)(x)
    x = nn.relu(BatchNorm(eps=EPS, **kinds)(x, train=train))
    return jnp.tanh(conv(self.channels, **kinds)(x))


class Discriminator(nn.Module):
  """Images [B, resolution, resolution, channels], and labels [B] for a projection -> what `apply_head` returns."""

  resolution: int
  width: int
  attention: int
  num_classes: int
  head: str
  embed_dim: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, x: jax.Array, label: jax.Array | None = None, *, train: bool
  ) -> jax.Array | tuple:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    _, factors, downs = SHAPES[self.resolution]
    first, *rest = (self.width * factor for factor in factors)
    x = conv(first, **kinds)(x)
    for i, features in enumerate(rest):
      x = DBlock(features, i < downs, **kinds)(x)
      x = DBlock(features, down=False, **kinds)(x)
      if i < downs and x.shape[1] == self.attention:
        x = SelfAttention(normalize, INIT, **kinds)(x)
    heads = dict(head=self.head, num_classes=self.num_classes, embed_dim=self.embed_dim)
    x = nn.relu(x).sum((1, 2))
    return apply_head(x, label, wrap=normalize, kernel_init=INIT, **heads, **kinds)


def build(
  *,
  resolution: int,
  channels: int,
  num_classes: int,
  width: int = 128,
  width_D: int = 128,
  shared_dim: int = 128,
  attention: int = 0,
  head: str = 'projection',
  embed_dim: int = 512,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images: 32, 64 or 128 (the paper's).
    channels: of the images.
    num_classes: number of classes. Labels may be mixed, see `ClassEmbed`.
    width, width_D: the paper's ch: channels of G's last hidden layer and of D's first. At 32 pixels G has a quarter of
      ch, D half. Even, because a block has a quarter of its channels inside.
    shared_dim: length of the class embedding.
    attention: side of the maps with self-attention; 0: none. The paper has 64.
    head, embed_dim: D's head for classes, and the embedding length of head 'proxy'; see `apply_head`.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a value that is none of these.
  """
  check('biggan_deep', resolution, width, width_D, attention, num_classes, head, embed_dim)
  if shared_dim < 1 or width % 2 or width_D % 2:
    raise UserError(
      f'networks.shared_dim={shared_dim} must be at least 1; networks.width={width} and networks.width_D={width_D} even'
    )
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(resolution, channels, width, attention, num_classes, shared_dim, **kinds),
    'D': Discriminator(resolution, width_D, attention, num_classes, head, embed_dim, **kinds),
  }
