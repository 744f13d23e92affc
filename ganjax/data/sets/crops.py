"""Random crops of your own pictures, at their own scale, for super-resolution.

Pictures are neither cut to a square nor resized. Each is stored as evenly spaced windows that cover it, as few as
possible. Crops are cut out of these windows, so a step does not read whole photographs.
"""

import io
import itertools
import os
from collections.abc import Sequence

import numpy as np
import PIL.Image
from absl import logging

from ganjax import UserError, media
from ganjax.data import domains, folder, pixels
from ganjax.data.cache import Examples
from ganjax.data.sets.pairs import list_split
from ganjax.data.source import Source, decoded, indices, picture

_CROPS = 6  # a purpose of a random stream, see `data.source`
SWAPPED = 5, 6, 7, 8  # EXIF orientations that turn a picture by a quarter


def fields(*, resolution: int | Sequence[int], channels: int) -> dict:
  """A crop."""
  return {'image': picture(resolution, channels)}


def build(
  *,
  data_dir: str | None,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  cache: bool,
  window: int = 480,
  turn: bool = False,
) -> Source:
  """Crops of the pictures below `data_dir`.

  Args:
    data_dir: a folder or zip archive. If it has a folder named as the split, that is the split; else all of it is
      'train'.
    resolution: of the crops, a side or (height, width).
    channels, cache: see `ganjax.data.build`.
    split: see `data_dir`.
    window: side in pixels of the stored windows, at least as large as a crop. An epoch has one crop of each window.
    turn: whether training also turns crops upside down and by 90 degrees, each with probability 1/2; `data.flip`
      mirrors.

  Returns:
    A Source of crops whose places, and turns, are a function of seed and position. Read by index they are the centres
    of windows.

  Raises:
    UserError: any error that the user can fix, in one line. Up to 1 % of pictures that cannot be used, because
      they are smaller than a window or broken, are left out.
  """
  height, width = media.sides(resolution)
  if not isinstance(window, int) or window < max(height, width):
    raise UserError(
      f'data.window={window!r} must be a number of pixels from {max(height, width)}, the longer side of a crop'
    )
  if turn and height != width:
    raise UserError(f'data.turn is for square crops, not {height}x{width}')
  if not data_dir:
    raise UserError('data.dataset=crops needs data.data_dir=DIRECTORY: the folder of your pictures')
  table = _table(folder.place(data_dir), split, window, channels)
  info = {'dataset': 'crops', 'class_names': None, 'window': window, 'turn': bool(turn)}
  stored = decoded(table, info, fields(resolution=window, channels=channels), cache)

  def read_rows(rows, names):
    index, top, left, quarter, over = rows.T
    wide = stored.read(index, ('image',))['image']
    seen = np.stack([x[t : t + height, l : l + width] for x, t, l in zip(wide, top, left)])
    seen[over > 0] = seen[over > 0, ::-1]
    seen[quarter > 0] = seen[quarter > 0].swapaxes(1, 2)
    return {'image': seen}

  def order(seed, start, count):
    words = domains.draws(seed, start, count, _CROPS)
    index = indices(seed, start, count, stored.num_examples)
    top, left = words[:, 0] % (window - height + 1), words[:, 1] % (window - width + 1)
    turns = words[:, 2:].T % 2 if turn else np.zeros((2, count))
    return np.stack([index, top, left, *turns], 1).astype(np.int64)

  rows = np.zeros((stored.num_examples, 5), np.int64)
  rows[:, 0] = np.arange(len(rows))
  rows[:, 1:3] = (window - height) // 2, (window - width) // 2
  return Source(
    read_rows=read_rows,
    rows=rows,
    fields=fields(resolution=resolution, channels=channels),
    class_names=None,
    info=stored.info | pixels.describe(resolution, channels) | {'preprocessing': 'crops'},
    here=stored.content,
    order=order,
  )


def _table(top, split, window, channels) -> Examples:
  """The windows of all pictures, and whether they could be had."""
  files, paths = list_split(top, split)
  places = [(path, *corner) for path in paths for corner in _corners(files.read(path), window)]

  def load(path):
    whole = folder.decode_picture(files.read(path), None, channels)
    if min(whole.shape[:2]) < window:
      raise ValueError(
        f'{whole.shape[1]}x{whole.shape[0]} pixels, smaller than data.window={window}: lower it'
      )
    return whole

  def decode(rows):
    arrays = {
      'image': np.zeros((len(rows), window, window, channels), np.uint8),
      'whole': np.zeros(len(rows), np.uint8),
    }
    at = lambda i: places[rows[i]][0]
    for path, own in itertools.groupby(range(len(rows)), at):
      try:
        picture = load(path)
      except Exception as e:  # noqa: BLE001 (Pillow raises anything on a broken file)
        logging.debug('%s: %s', path, e)
        continue
      for i in own:
        _, y, x = places[rows[i]]
        arrays['image'][i] = picture[y : y + window, x : x + window]
        arrays['whole'][i] = 1
    return arrays

  content, here = folder.identify((files, paths))
  kept = {name: (x.shape[1:], x.dtype) for name, x in decode([]).items()}
  return Examples(
    title=f'crops {os.path.basename(top)} {window}x{channels}',
    key={'dataset': 'crops', 'files': content, 'window': window, 'channels': channels},
    here=here,
    count=len(places),
    fields=kept,
    fetch=lambda rows: rows,
    decode=decode,
    names=tuple(path for path, *_ in places),
    explain=lambda row: folder.explain(lambda row: load(places[row][0]), row),
    place=top,
    what='windows',
  )


def _corners(content, window) -> list:
  """(top, left) of the windows that cover a picture, told by its header; one where that is of no use."""
  try:
    with PIL.Image.open(io.BytesIO(content)) as image:
      width, height = image.size
      if image.getexif().get(0x112) in SWAPPED:
        width, height = height, width
  except Exception:  # noqa: BLE001 (said where it is decoded)
    return [(0, 0)]
  if min(height, width) < window:
    return [(0, 0)]
  starts = lambda n: np.linspace(0, n - window, -(-n // window)).round().astype(int).tolist()
  return [*itertools.product(starts(height), starts(width))]
