"""BigGAN (Brock et al. 2018, arXiv:1809.11096, appendix B, table 4) and its form for 32 pixels.

Residual blocks of two 3x3 convolutions, wide in D, with spectral norm in both networks, orthogonal initial weights and
self-attention. G splits z into equal chunks. The first feeds the linear layer. The batch norms of each block are linear
in the next chunk and a class embedding, which all blocks share. The epsilons of batch norm and spectral norm, and the
networks for 32 and 64 pixels, follow StudioGAN's published runs. At 64 pixels each network has one block fewer of the
widest.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.layers.attention import SelfAttention
from ganjax.layers.conv import Conv
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.heads import apply_head
from ganjax.layers.norm import BatchNorm, ConditionalBatchNorm
from ganjax.layers.spectral import SpectralNorm
from ganjax.networks.resnet import check_attention, check_head

INIT = nn.initializers.orthogonal()
EPS = 1e-4  # of batch norm
SIDE = 4  # of G's smallest map

# Resolution: G's channels, D's channels and how many of its blocks halve. Channels are in widths.
SHAPES = {
  32: ((4, 4, 4, 4), (2, 2, 2, 2), 2),
  64: ((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
  128: ((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
}


def normalize(layer: nn.Module) -> SpectralNorm:
  """The layer with spectral norm."""
  return SpectralNorm(layer, eps=1e-6)


def conv(features: int, size: int = 3, resample: str | None = None, **kinds: str) -> SpectralNorm:
  """A convolution that keeps the sides, but for resampling by 2 as in `Conv`, with spectral norm."""
  how = dict(padding=size // 2, resample=resample, kernel_init=INIT)
  return normalize(Conv(features, size, **how, **kinds))


class UpBlock(nn.Module):
  """[B, H, W, C] -> [B, 2H, 2W, features]."""

  features: int
  num_classes: int | None  # the condition is a label; None: it is a vector
  norm_eps: float
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array | None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)

    def norm(x):
      # Tables have no spectral norm, as the shared one has none.
      wrap = {} if self.num_classes else {'wrap': normalize}
      wrap |= dict(eps=self.norm_eps, kernel_init=INIT)
      layer = ConditionalBatchNorm(self.num_classes, **wrap, **kinds)
      return nn.relu(layer(x, condition, train=train))

    y = conv(self.features, resample='up', **kinds)(norm(x))
    y = norm(y)
    y = conv(self.features, **kinds)(y)
    return y + conv(self.features, 1, resample='up', **kinds)(x)


class DownBlock(nn.Module):
  """[B, H, W, C] -> [B, H/2, W/2, features], or [B, H, W, features] if not `down`."""

  features: int
  down: bool
  first: bool  # of the network: no ReLU of the image
  relu_skip: bool
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    x = nn.relu(x) if self.relu_skip and not self.first else x
    y = conv(self.features, **kinds)(x if self.first else nn.relu(x))
    down = 'down' if self.down else None
    y = conv(self.features, resample=down, **kinds)(nn.relu(y))
    if down or x.shape[-1] != self.features:
      x = conv(self.features, 1, resample=down, **kinds)(x)
    return x + y


class Generator(nn.Module):
  """z [B, Z] and labels [B] -> images [B, resolution, resolution, channels] in (-1, 1).

  Raises:
    UserError: a Z that its chunks, one more than blocks, do not divide.
  """

  resolution: int
  channels: int
  width: int
  attention: int
  num_classes: int
  shared_dim: int
  norm_eps: float
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    first, *rest = (self.width * factor for factor in SHAPES[self.resolution][0])
    if self.shared_dim:
      chunks = len(rest) + 1
      if z.shape[1] % chunks:
        raise UserError(
          f'method.z_dim={z.shape[1]} must be a multiple of {chunks}: one chunk for the linear layer of BigGAN'
          f' and one for each block at {self.resolution} pixels'
        )
      z, *parts = jnp.split(z, chunks, axis=1)
      table = ClassEmbed(self.num_classes, self.shared_dim, INIT, param_dtype=self.param_dtype)
      y = table(label)
      conditions = [jnp.concatenate([y, part], 1) for part in parts]
    else:
      conditions = [label] * len(rest)
    x = normalize(nn.Dense(SIDE * SIDE * first, kernel_init=INIT, **kinds))(z)
    x = x.reshape(-1, SIDE, SIDE, first)
    for features, condition in zip(rest, conditions):
      classes = None if self.shared_dim else self.num_classes
      x = UpBlock(features, classes, self.norm_eps, **kinds)(x, condition, train=train)
      if x.shape[1] == self.attention:
        x = SelfAttention(normalize, INIT, **kinds)(x)
    x = nn.relu(BatchNorm(eps=self.norm_eps, **kinds)(x, train=train))
    return jnp.tanh(conv(self.channels, **kinds)(x))


class Discriminator(nn.Module):
  """Images [B, resolution, resolution, channels], and labels [B] for a projection -> what `apply_head` returns."""

  resolution: int
  width: int
  attention: int
  relu_skip: bool
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
    for i, factor in enumerate(factors):
      x = DownBlock(factor * self.width, i < downs, i == 0, self.relu_skip, **kinds)(x)
      if i < downs and x.shape[1] == self.attention:
        x = SelfAttention(normalize, INIT, **kinds)(x)
    heads = dict(head=self.head, num_classes=self.num_classes, embed_dim=self.embed_dim)
    x = nn.relu(x).sum((1, 2))
    return apply_head(x, label, wrap=normalize, kernel_init=INIT, **heads, **kinds)


def check(
  name: str,
  resolution: int,
  width: int,
  width_D: int,
  attention: int,
  num_classes: int,
  head: str,
  embed_dim: int,
) -> None:
  """Raises UserError for arguments of `build`, here or of BigGAN-deep, that make no networks."""
  if resolution not in SHAPES:
    raise UserError(
      f'networks.name={name} is of {[*SHAPES]} pixels, not data.resolution={resolution}'
    )
  if min(width, width_D) < 1:
    raise UserError('networks.width and networks.width_D must be at least 1')
  if num_classes < 1:
    raise UserError(
      f'networks.name={name} is conditional: networks.num_classes={num_classes} must be at least 1'
    )
  check_head(head, num_classes, embed_dim)
  up, _, downs = SHAPES[resolution]
  check_attention(attention, resolution, len(up) - 1, downs)


def build(
  *,
  resolution: int,
  channels: int,
  num_classes: int,
  width: int = 96,
  width_D: int = 96,
  shared_dim: int = 128,
  attention: int = 0,
  relu_skip: bool = False,
  norm_eps: float = EPS,
  head: str = 'projection',
  embed_dim: int = 512,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: of the images: 32, 64 or 128.
    channels: of the images.
    num_classes: number of classes. Labels may be mixed, see `ClassEmbed`.
    width, width_D: the paper's ch: channels of G's last hidden layer and of D's first. At 32 pixels G has a quarter of
      ch, D half.
    shared_dim: length of the class embedding that G's blocks share. 0: z goes whole into the linear layer, and each
      batch norm has its own class tables, as in BigGAN-PyTorch's CIFAR-10 runs (width=64, width_D=128).
    attention: side of the maps with self-attention; 0: none. 64 at 128 pixels in the paper, 16 at 32.
    relu_skip: whether D's residual shortcuts see relu(x), as in StudioGAN, whose ReLU works in place. In the paper and
      in BigGAN-PyTorch they see x.
    norm_eps: epsilon that batch norm adds to variances: 1e-4 as in StudioGAN; BigGAN-PyTorch's published runs have
      1e-5.
    head, embed_dim: D's head for classes, and the embedding length of head 'proxy'; see `apply_head`.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: a value that is none of these.
  """
  check('biggan', resolution, width, width_D, attention, num_classes, head, embed_dim)
  if shared_dim < 0:
    raise UserError(f'networks.shared_dim={shared_dim} must be at least 0')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(
      resolution, channels, width, attention, num_classes, shared_dim, norm_eps, **kinds
    ),
    'D': Discriminator(
      resolution, width_D, attention, relu_skip, num_classes, head, embed_dim, **kinds
    ),
  }
