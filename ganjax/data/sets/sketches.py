"""Pictures, `target`, and line drawings of them, `source`: dark lines on white, where the colours change.

Colours are from 0 to 255. A step of 12 or less gives no line, a step of 97 or more a black line.
"""

from collections.abc import Sequence

import numpy as np

from ganjax import UserError
from ganjax.data.sets import emoji, folder
from ganjax.data.sets.edges import edges
from ganjax.data.source import Source, picture
from ganjax.wording import closest

OF = 'emoji', 'folder'


def fields(*, resolution: int | Sequence[int], channels: int, of: str = 'emoji') -> dict:
  """A line drawing of one channel, and the picture. Raises UserError for pictures that are none of `OF`."""
  if of not in OF:
    raise UserError(
      f'data.of={of!r} is not known{closest(str(of), OF)}; sketches are of {", ".join(OF)}'
    )
  return {'source': picture(resolution, 1), 'target': picture(resolution, channels)}


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  data_dir: str | None = None,
  cache: bool = True,
  of: str = 'emoji',
) -> Source:
  """Pictures beside line drawings of them.

  Args:
    resolution, channels: of the pictures; line drawings have one channel.
    split: split of the pictures, see `sets/emoji.py`; a folder has only 'train'.
    data_dir, cache: folder and cache of your own pictures, see `ganjax.data.build`.
    of: 'emoji': the emoji that ganjax ships; or 'folder': your own pictures, a folder or zip archive at `data_dir`.

  Raises:
    UserError: as those, or a `data_dir` that nobody asked for.
  """
  known = fields(resolution=resolution, channels=channels, of=of)
  shape = dict(resolution=resolution, channels=channels, split=split)
  if of == 'folder':
    made = folder.build(**shape, data_dir=data_dir, cache=cache)
  elif data_dir:
    raise UserError(f'data.data_dir={data_dir} is of data.of=folder, not of emoji')
  else:
    made = emoji.build(**shape)
  make = lambda found: {'source': lines(found['image']), 'target': found['image']}
  return made.convert(known, make, {'dataset': 'sketches', 'of': of})


def lines(x: np.ndarray) -> np.ndarray:
  """uint8 [..., H, W, C] -> [..., H, W, 1]: 255 where there is no line, 0 where one is black."""
  return 255 - np.clip(3 * edges(x).astype(np.int32) - 36, 0, 255).astype(np.uint8)
