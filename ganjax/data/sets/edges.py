"""Clips, `target`, and their edges, `source`: of moving drawings or of your own clips.

An edge is where the colours change. Its brightness is the length of the gradient, by Sobel filters.
"""

from collections.abc import Sequence

import numpy as np

from ganjax import UserError, media
from ganjax.data.sets import clips, moving
from ganjax.data.source import Source
from ganjax.wording import closest

OF = 'moving', 'clips'


def fields(
  *,
  resolution: int | Sequence[int],
  channels: int,
  frames: int = 16,
  rate: int = 10,
  of: str = 'moving',
) -> dict:
  """Both clips; the flow of moving drawings; the labels of your own clips.

  Raises UserError for a number of frames, or clips, that are none.
  """
  if of not in OF:
    raise UserError(
      f'data.of={of!r} is not known{closest(str(of), OF)}; edges are of {", ".join(OF)}'
    )
  shape = dict(resolution=resolution, channels=channels, frames=frames, rate=rate)
  found = moving.fields(**shape, flow=True) if of == 'moving' else clips.fields(**shape)
  target = found.pop('clip')
  source = media.Field('clip', (*target.shape[:3], 1), rate)
  return {'source': source, 'target': target, **found}


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  data_dir: str | None = None,
  frames: int = 16,
  rate: int = 10,
  of: str = 'moving',
  stride: int = 1,
  size: int | None = None,
  speed: Sequence[float] = (1.0, 4.0),
) -> Source:
  """Clips beside their edges.

  Args:
    resolution, channels: of the target; edges have one channel.
    split, data_dir: split and folder of the clips, see `sets/clips.py`.
    frames, rate: frames of both clips, and frames per second of samples.
    of: 'moving': emoji that fly and bounce, with known `flow`, see `sets/moving.py`; or 'clips': your own clips below
      `data_dir`, see `sets/clips.py`.
    stride: distance of two frames in the file of your own clip.
    size, speed: size and speed of the drawings, see `sets/moving.py`.

  Raises:
    UserError: as those, or a `data_dir` that nobody asked for.
  """
  shape = dict(resolution=resolution, channels=channels, frames=frames, rate=rate)
  known = fields(**shape, of=of)
  if of == 'clips':
    made = clips.build(**shape, data_dir=data_dir, split=split, stride=stride)
  elif data_dir:
    raise UserError(f'data.data_dir={data_dir} is of data.of=clips, not of moving drawings')
  else:
    made = moving.build(**shape, split=split, size=size, speed=speed, flow=True)

  def make(found):
    clip = found.pop('clip')
    return {'source': edges(clip), 'target': clip, **found}

  known = {name: x for name, x in known.items() if name in ('source', 'target', *made.fields)}
  return made.convert(known, make, {'dataset': 'edges', 'of': of})


def edges(x: np.ndarray) -> np.ndarray:
  """uint8 [..., H, W, C] -> [..., H, W, 1]: the longest gradient of the channels; a step from 0 to 255 gives 255."""
  wide = np.pad(x.astype(np.int32), [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)], 'edge')
  blur = lambda a, b, c: a + 2 * b + c
  over = blur(wide[..., :-2, :, :], wide[..., 1:-1, :, :], wide[..., 2:, :, :])
  down = blur(wide[..., :-2, :], wide[..., 1:-1, :], wide[..., 2:, :])
  across = over[..., 2:, :] - over[..., :-2, :]
  along = down[..., 2:, :, :] - down[..., :-2, :, :]
  length = np.sqrt(across**2 + along**2).max(-1, keepdims=True) / 4
  return np.minimum(length, 255).astype(np.uint8)


def of_own(x: np.ndarray) -> np.ndarray:
  """The edges of your own clips, from which samples start."""
  return edges(x)
