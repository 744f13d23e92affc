"""Two domains of pictures, `source` and `target`: what goes together, and which part of a picture is seen when.

While training an example is, of each domain, an index, the window that is cut out of the picture brought to a larger
size, and whether it is mirrored. Otherwise it is the whole picture at its own size.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ganjax import UserError, media
from ganjax.data.source import Source, indices, picture

NAMES = 'source', 'target'
_WINDOWS = 3  # and 4: purposes of a random stream, see `data.source`


def fields(resolution: int | Sequence[int], channels: int) -> dict[str, media.Field]:
  """{name: media.Field}: a picture of each domain."""
  return dict.fromkeys(NAMES, picture(resolution, channels))


def build(
  open_at: Callable[[tuple[int, int]], dict[str, Source]],
  *,
  resolution: int | Sequence[int],
  channels: int,
  paired: bool,
  jitter: int,
  flip: bool,
  info: dict[str, Any],
) -> Source:
  """The data set of two domains.

  Args:
    open_at: (height, width) -> {name: Source with a field of that name, pictures of that size}; called with a larger
      size when the first window is cut.
    resolution, channels: of the pictures that are seen.
    paired: whether pictures of one index go together: they are then cut alike, and mirrored by the training step, which
      mirrors whole examples. Else each domain has an order of its own, and windows and coins.
    jitter: training cuts windows out of pictures that are larger by so many pixels; 0: it sees them whole.
    flip: whether the training step mirrors.
    info: what is said of the data set.

  Raises:
    UserError: a jitter that is none, or domains of pairs that differ in length.
  """
  height, width = media.sides(resolution)
  if not isinstance(jitter, int) or not 0 <= jitter <= min(height, width):
    raise UserError(
      f'data.jitter={jitter!r} must be a number of pixels from 0 to {min(height, width)}, the shorter side'
    )
  whole = open_at((height, width))
  larger = functools.cache(lambda: open_at((height + jitter, width + jitter)))
  counts = [whole[name].num_examples for name in NAMES]

  def read_rows(rows, names):
    found = {}
    for name, own in zip(NAMES, np.moveaxis(rows, 1, 0)):
      if name not in names:
        continue
      index, top, left, mirrored = own.T
      if (top < 0).all():
        seen = whole[name].read(index, (name,))[name]
      else:
        wide = larger()[name].read(index, (name,))[name]
        seen = np.stack([x[t : t + height, l : l + width] for x, t, l in zip(wide, top, left)])
      turned = mirrored > 0
      seen[turned] = seen[turned, :, ::-1]
      found[name] = seen
    return found

  def order(seed, start, count):
    rows = []
    for i in (0, 0) if paired else (0, 1):
      words = draws(seed, start, count, _WINDOWS + i)
      # Seeds of configurations are below 2^31: the second domain's is nobody's.
      index = indices(seed + i * 2**32, start, count, counts[i])
      top, left = words[:, :2].T % (jitter + 1) if jitter else np.full((2, count), -1)
      # The training step's coin turns both: one of the second's own makes them two.
      mirrored = (words[:, 2] % 2 if flip else np.zeros(count)) * i
      rows.append(np.stack([index, top, left, mirrored], 1))
    return np.stack(rows, 1).astype(np.int64)

  n = max(counts)
  rows = np.full((n, 2, 4), [0, -1, -1, 0])
  rows[:, :, 0] = np.arange(n)[:, None] % counts
  more = {'counts': counts, 'jitter': jitter, 'resolution': media.simplest(resolution)}
  return Source(
    read_rows=read_rows,
    rows=rows,
    fields=fields(resolution, channels),
    class_names=None,
    info={**info, **more, 'channels': channels},
    here=''.join(whole[name].content for name in NAMES),
    order=order if jitter or not paired else None,
  )


def draws(seed: int, start: int, count: int, purpose: int) -> np.ndarray:
  """Random words uint64 [count, 4] of positions [start, start + count)."""
  # A step of the counter makes four words.
  stream = np.random.Philox(
    key=np.array([seed % 2**64, 0], np.uint64), counter=np.array([start, 0, 0, purpose], np.uint64)
  )
  return stream.random_raw(4 * count).reshape(count, 4)
