"""What JPEG does to a picture (ITU-T T.81; libjpeg's tables and quality), without a file."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganjax.layers.resample import mean_pool, upsample_bilinear

# Annex K of the standard, tables K.1 and K.2: of brightness and of colours.
BRIGHTNESS = np.array([
  [16, 11, 10, 16, 24, 40, 51, 61],
  [12, 12, 14, 19, 26, 58, 60, 55],
  [14, 13, 16, 24, 40, 57, 69, 56],
  [14, 17, 22, 29, 51, 87, 80, 62],
  [18, 22, 37, 56, 68, 109, 103, 77],
  [24, 35, 55, 64, 81, 104, 113, 92],
  [49, 64, 78, 87, 103, 121, 120, 101],
  [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
COLOURS = np.full((8, 8), 99)
COLOURS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
# Rows: Y, Cb and Cr of R, G and B.
TO_YCC = np.array([
  [0.299, 0.587, 0.114],
  [-0.168736, -0.331264, 0.5],
  [0.5, -0.418688, -0.081312],
])  # fmt: skip
COSINES = np.cos(np.pi / 16 * np.arange(8)[:, None] * (2 * np.arange(8) + 1)) / 2
COSINES[0] /= np.sqrt(2)  # [frequency, pixel], orthonormal
HIGHEST = lax.Precision.HIGHEST


def compress(x: jax.Array, quality: float | jax.Array) -> jax.Array:
  """A picture [H, W, C] in [0, 1] as a JPEG file of a quality from 1 to 100 gives it back; sides are multiples of 16.

  Colours have half of the resolution, and are interpolated on the way back, as libjpeg does by default.
  """
  factor = jnp.where(quality < 50, 50 / quality, 2 - quality / 50)
  if x.shape[-1] == 1:
    return jnp.clip(_blocks(255 * x[..., 0], BRIGHTNESS, factor)[..., None] / 255, 0, 1)
  to = jnp.asarray(TO_YCC, x.dtype)
  back = jnp.asarray(np.linalg.inv(TO_YCC), x.dtype)
  y, *colours = jnp.moveaxis(jnp.matmul(255 * x, to.T, precision=HIGHEST), -1, 0)
  halved = mean_pool(jnp.stack(colours, -1)[None])[0]
  # Those of the colours are about 0, as 128 is taken off.
  colours = [_blocks(halved[..., i] + 128, COLOURS, factor) - 128 for i in (0, 1)]
  colours = upsample_bilinear(jnp.stack(colours, -1)[None], 'edge')[0]
  whole = jnp.concatenate([_blocks(y, BRIGHTNESS, factor)[..., None], colours], -1)
  return jnp.clip(jnp.matmul(whole, back.T, precision=HIGHEST) / 255, 0, 1)


def _blocks(x, table, factor):
  """A plane [H, W] in [0, 255] whose blocks of 8x8 have their frequencies rounded to multiples of the table's."""
  h, w = x.shape
  step = jnp.clip(jnp.floor(jnp.asarray(table, x.dtype) * factor + 0.5), 1, 255)
  blocks = x.reshape(h // 8, 8, w // 8, 8) - 128
  turn = lambda a, form: jnp.einsum(form, COSINES, COSINES, a, precision=HIGHEST)
  found = turn(blocks, 'ui,vj,hiwj->huwv')
  step = step[:, None, :]
  found = turn(jnp.round(found / step) * step, 'ui,vj,huwv->hiwj')
  return found.reshape(h, w) + 128
