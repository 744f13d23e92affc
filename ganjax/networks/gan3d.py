"""3D-GAN (Wu et al. 2016, arXiv:1610.07584, section 3.1): solids by 3-D convolutions of 4x4x4 weights.

G: transposed convolutions from 4 voxels a side, batch norm and ReLU between them, a sigmoid at the end. D mirrors it
with LeakyReLU(0.2), batch norm in all but its first and last layer. Weights from N(0, 0.02).

Three things are not the paper's. z has mean 0: the paper's, from U(0, 1), has a mean that all z share, and what Adam
makes of it soon outgrows the rest, so that all solids are alike. The last map begins at START, near the logit of the
share of voxels that lie inside: from 0 G first learns emptiness, and ends there. With classes the label goes to G
beside z as 0s and 1s, and D has a projection (arXiv:1802.05637); the paper trains a pair of networks for each class.
"""

import flax.linen as nn
import jax

from ganjax import UserError, media
from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.heads import apply_head
from ganjax.layers.norm import BatchNorm
from ganjax.layers.uniform import to_uniform

INIT = nn.initializers.normal(0.02)
FIRST = 4  # voxels of a side of the smallest map
START = -2.5  # of the last map before its sigmoid: 8 % inside


class Generator(nn.Module):
  """z [B, Z] from N(0, I), made U(-1, 1), and labels [B] with classes -> solids [B, S, S, S, C] in (-1, 1)."""

  side: int
  channels: int
  width: int
  num_classes: int
  dtype: str
  param_dtype: str
  makes = 'solid'

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    norm = lambda x: nn.relu(BatchNorm(**kinds)(x, train=train))
    layers = (self.side // FIRST).bit_length() - 1
    first = self.width * 2 ** (layers - 1)
    # The first transposed convolution acts on a single voxel: a linear layer.
    x = nn.Dense(FIRST**3 * first, use_bias=False, kernel_init=INIT, **kinds)(to_uniform(z))
    if self.num_classes:
      x = x + ClassEmbed(self.num_classes, FIRST**3 * first, INIT, **kinds)(label)
    x = norm(x.reshape(-1, FIRST, FIRST, FIRST, first))
    for i in range(1, layers):
      x = norm(ConvTranspose(first // 2**i, 4, stride=2, padding=1, kernel_init=INIT, **kinds)(x))
    x = ConvTranspose(self.channels, 4, stride=2, padding=1, kernel_init=INIT, **kinds)(x)
    return 2 * nn.sigmoid(x + START) - 1


class Discriminator(nn.Module):
  """Solids [B, S, S, S, C] in [-1, 1], which it sees as 0 to 1, and labels [B] for a projection -> logits [B]."""

  side: int
  width: int
  batch_norm: bool
  num_classes: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    x = (x + 1) / 2
    for i in range((self.side // FIRST).bit_length() - 1):
      x = Conv(self.width * 2**i, 4, stride=2, padding=1, kernel_init=INIT, **kinds)(x)
      if i and self.batch_norm:
        x = BatchNorm(**kinds)(x, train=train)
      x = nn.leaky_relu(x, 0.2)
    # The last convolution, of 4x4x4 weights on as many voxels, is a linear layer.
    heads = dict(head='projection', num_classes=self.num_classes, embed_dim=1)
    same = lambda layer: layer
    return apply_head(x.reshape(len(x), -1), label, wrap=same, kernel_init=INIT, **heads, **kinds)


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 64,
  width_D: int | None = None,
  batch_norm_D: bool = True,
  num_classes: int = 0,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    fields: of the data, of which `solid` says the sides and the channels.
    width, width_D: channels of G's last hidden layer and of D's first, 64 in the paper; by default D has G's.
    batch_norm_D: whether D has batch norm, as in the paper; penalties on D's gradients go without.
    num_classes: of the labels for conditional networks, or 0.
    dtype, param_dtype: of activations and of parameters.

  Raises:
    UserError: data without solids, or of sides that are no power of two from 8.
  """
  if 'solid' not in fields:
    raise UserError(
      f'networks.name=gan3d makes solids, and the data have {", ".join(fields)}: take data.dataset=solids'
    )
  *sides, channels = fields['solid'].shape
  side, width_D = sides[0], width if width_D is None else width_D
  if {*sides} != {side} or side < 2 * FIRST or side & (side - 1):
    raise UserError(
      f'networks.name=gan3d makes cubes of 8, 16, 32, ... voxels a side, not data.resolution={side}'
    )
  if min(width, width_D) < 1:
    raise UserError('networks.width and networks.width_D must be at least 1')
  if num_classes < 0:
    raise UserError(f'networks.num_classes={num_classes} must be at least 0')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(side, channels, width, num_classes, **kinds),
    'D': Discriminator(side, width_D, batch_norm_D, num_classes, **kinds),
  }
