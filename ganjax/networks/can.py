"""The networks of CAN (Elgammal et al. 2017, arXiv:1706.07068, section 4.2): a DCGAN whose D has a second head."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from ganjax import UserError, media
from ganjax.layers.conv import Conv
from ganjax.layers.norm import BatchNorm
from ganjax.networks.dcgan import INIT, Generator


class Discriminator(nn.Module):
  """Pictures [B, S, S, C] -> (logits [B], scores of the styles [B, num_classes])."""

  levels: int  # halvings, down to 4x4
  width: int
  num_classes: int
  hidden: tuple  # widths of the layers before the scores
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(
    self, x: jax.Array, label: jax.Array | None = None, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    act = lambda x: nn.leaky_relu(x, 0.2)
    for i in range(self.levels):
      x = Conv(self.width * min(2**i, 16), 4, 2, 1, kernel_init=INIT, **kinds)(x)
      x = act(BatchNorm(**kinds)(x, train=train) if i else x)
    x = x.reshape(len(x), -1)
    logits = nn.Dense(1, kernel_init=INIT, **kinds)(x)[:, 0]
    for features in self.hidden:
      x = act(nn.Dense(features, kernel_init=INIT, **kinds)(x))
    return logits, nn.Dense(self.num_classes, kernel_init=INIT, **kinds)(x)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  num_classes: int,
  width: int = 64,
  width_D: int = 32,
  hidden: Sequence[int] = (1024, 512),
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}.

  Args:
    resolution: side of the pictures, 2^n from 32.
    channels: of the pictures.
    num_classes: number of styles.
    width: channels of G's last hidden maps, as in `networks/dcgan.py`.
    width_D: channels of D's first hidden maps. Each further halving doubles them, up to 16 times.
    hidden: widths of the layers before the style scores.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: another resolution, or a number that is none.
  """
  sides = media.sides(resolution)
  levels = sides[0].bit_length() - 3
  if sides[0] != sides[1] or 4 * 2**levels != sides[0] or levels < 3:
    raise UserError(
      f'networks.name=can makes squares whose sides are 32, 64 and so on, not data.resolution={resolution}'
    )
  whole = all(isinstance(n, int) and n > 0 for n in (width, width_D, *hidden))
  if num_classes < 2 or not whole:
    raise UserError(
      f'networks.num_classes={num_classes} must be at least 2, width={width}, width_D={width_D} and hidden={hidden} at '
      'least 1'
    )
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'G': Generator(sides, channels, width, **kinds),
    'D': Discriminator(levels, width_D, num_classes, tuple(hidden), **kinds),
  }
