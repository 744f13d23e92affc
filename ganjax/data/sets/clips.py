"""Your own clips: GIFs and other animated pictures, films, and folders of frames. Folders of clips are classes."""

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image
import PIL.ImageSequence
from absl import logging

from ganjax import UserError, media
from ganjax.data import domains, folder, pixels
from ganjax.data.cache import Examples, open_arrays
from ganjax.data.files import open_files
from ganjax.data.sets.moving import clip
from ganjax.data.source import Source, indices

MOVING = '.gif', '.webp', '.apng'
FILMS = '.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg'
_STARTS = 11  # a purpose of a random stream, see `data.source`


def fields(
  *, resolution: int | Sequence[int], channels: int, frames: int = 16, rate: int = 10
) -> dict:
  """A clip, and its label where there are classes. Raises UserError for a number of frames that is none."""
  return {'clip': clip(resolution, channels, frames, rate), 'label': media.Field('label', ())}


def build(
  *,
  data_dir: str | None,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  frames: int = 16,
  rate: int = 10,
  stride: int = 1,
) -> Source:
  """Windows of the clips below `data_dir`. In training they begin at any frame; read by index, at frame 0.

  Args:
    data_dir: a folder with animated files, and with folders of at least two pictures: frames, in the order of their
      names. If it has a folder named as the split, that is the split; else all of it is 'train'. If all clips of the
      split are in folders, these are their classes; a folder of frames is a clip.
    resolution, channels: of the frames, which are cropped and resized as pictures of a folder are.
    split: see `data_dir`.
    frames, stride: number of frames of a clip, and the distance of two frames in the file.
    rate: frames per second of samples.

  Raises:
    UserError: no clips; one that is too short; none that can be decoded. Clips that cannot be decoded are named and
      left out.
  """
  if not isinstance(stride, int) or not 0 < stride <= 1000:
    raise UserError(f'data.stride={stride!r} must be a whole number from 1 to 1000')
  if not data_dir:
    raise UserError('data.dataset=clips needs data.data_dir: the folder of your clips')
  known = fields(resolution=resolution, channels=channels, frames=frames, rate=rate)
  top = folder.place(data_dir)
  files = open_files(top)
  if not os.path.isdir(top):
    raise UserError(f'{top} is an archive: unpack it, clips are read from a folder')
  own = [name for name in files.names if name.startswith(f'{split}/')]
  if not own and split != 'train':
    raise UserError(f'{top} has no folder {split}: make it, or take another split')
  found = find(own or files.names)
  if not found:
    raise UserError(
      f'no clips in {top}: looked for {" ".join(MOVING + FILMS)} and folders of frames'
    )
  content, here = folder.identify((files, [path for paths in found.values() for path in paths]))
  table = list(found.items())
  lengths = _lengths(top, table, content, here)
  whole = [i for i, length in enumerate(lengths) if length]
  if len(whole) < len(table):
    broken = [name for (name, _), length in zip(table, lengths) if not length]
    few = ', '.join(broken[:5]) + (', ...' if len(broken) > 5 else '')
    text = f'{len(broken):,} of {len(table):,} clips in {top} cannot be decoded: {few}'
    if not whole:
      raise UserError(text)
    logging.warning('%s; they are left out', text)
  table, lengths = [table[i] for i in whole], lengths[whole]
  span = (frames - 1) * stride + 1
  if lengths.min() < span:
    i = int(lengths.argmin())
    raise UserError(
      f'{table[i][0]} has {lengths[i]} frames, and data.frames={frames} with data.stride={stride} take {span}: take '
      'fewer, or the clip away'
    )
  images = _frames(top, table, lengths, content, here, resolution, channels)
  first = np.cumsum(lengths) - lengths
  names, labels = _classes([name.removeprefix(f'{split}/' if own else '') for name, _ in table])
  if not names:
    del known['label']

  def read_rows(rows, names):
    at = first[rows[:, 0]] + rows[:, 1]
    make = {
      'clip': lambda: images[at[:, None] + stride * np.arange(frames)],
      'label': lambda: labels[rows[:, 0]],
    }
    return {name: make[name]() for name in names if name in known}

  def order(seed, start, count):
    index = indices(seed, start, count, len(table))
    words = domains.draws(seed, start, count, _STARTS)[:, 0]
    return np.stack([index, (words % (lengths[index] - span + 1).astype(np.uint64)).astype(int)], 1)

  info = {
    'dataset': 'clips',
    'listing_sha256': content,
    'frames': frames,
    'stride': stride,
    'rate': rate,
  }
  return Source(
    read_rows=read_rows,
    rows=np.stack([np.arange(len(table)), np.zeros(len(table), int)], 1),
    fields=known,
    class_names=names,
    info=info | {'total_frames': int(lengths.sum())} | pixels.describe(resolution, channels),
    here=here,
    order=order,
  )


def find(names: Sequence[str]) -> dict:
  """{clip: its files}: files that move, and folders of two pictures and more that do not."""
  found = {name: [name] for name in names if name.lower().endswith(MOVING + FILMS)}
  still = [n for n in names if n not in found and n.lower().endswith(folder.EXTENSIONS)]
  for place, some in itertools.groupby(still, os.path.dirname):
    if len(paths := list(some)) > 1:
      found[place or '.'] = paths
  return found


def _classes(clips):
  """(names of the classes, int32 label of each clip) of clips that all lie in folders; else None twice."""
  if not all('/' in clip for clip in clips):
    return None, None
  return folder.classes_of(clips, '', 'clips')


def read(top: str, paths: Sequence[str]) -> Iterator[PIL.Image.Image]:
  """Yields the frames of a clip, PIL images. Raises what a damaged file makes its reader raise."""
  if len(paths) > 1:
    for path in paths:
      with PIL.Image.open(os.path.join(top, path)) as image:
        image.load()
        yield image
  elif paths[0].lower().endswith(MOVING):
    with PIL.Image.open(os.path.join(top, paths[0])) as image:
      yield from (frame.copy() for frame in PIL.ImageSequence.Iterator(image))
  else:
    yield from _film(os.path.join(top, paths[0]))


def _film(path):
  try:
    import imageio_ffmpeg
  except ImportError:
    raise UserError(
      f"{path}: films need ffmpeg: pip install imageio-ffmpeg (or 'ganjax[video]'); GIFs and folders of frames need "
      'nothing'
    ) from None
  with warnings.catch_warnings():  # JAX warns of every fork; this child runs ffmpeg alone
    warnings.filterwarnings('ignore', message=r'os\.fork\(\) was called')
    stream = imageio_ffmpeg.read_frames(path)
    size = next(stream)['size']
  for content in stream:
    yield PIL.Image.frombytes('RGB', size, content)


def _lengths(top, table, content, here):
  """Frames of each clip, int64 [n], 0 of one that cannot be decoded; from the cache, as counting reads it all."""

  def count(row):
    try:
      return sum(1 for _ in read(top, table[row][1]))
    except UserError:
      raise
    except Exception as error:  # noqa: BLE001 (whatever the readers raise)
      logging.debug('%s: %s', table[row][0], error)
      return 0

  examples = Examples(
    title=f'lengths of the clips in {os.path.basename(top)}',
    key={'dataset': 'clips', 'files': content, 'what': 'lengths'},
    here=here,
    count=len(table),
    fields={'length': ((), np.dtype(np.int64))},
    fetch=lambda rows: rows,
    decode=lambda rows: {'length': np.array([count(row) for row in rows])},
  )
  return np.array(open_arrays(examples, ['length'])['length'])


def _frames(top, table, lengths, content, here, resolution, channels):
  """All frames of all clips, uint8 [sum of the lengths, H, W, C], from the cache."""
  first = np.cumsum(lengths) - lengths

  def decode(rows):
    out = []
    for row in range(np.searchsorted(first, rows[0], 'right') - 1, len(table)):
      begin, end = rows[0] - first[row], rows[-1] + 1 - first[row]
      if end <= 0:
        break
      some = itertools.islice(read(top, table[row][1]), max(begin, 0), min(end, lengths[row]))
      out += [pixels.prepare(frame, resolution, channels, rotate=True) for frame in some]
    return {'image': np.stack(out)}

  examples = Examples(
    title=f'clips {os.path.basename(top)} {pixels.size_name(resolution, channels)}',
    key={
      'dataset': 'clips',
      'files': content,
      'size': pixels.key(resolution, channels),
      'preprocessing': pixels.NAME,
    },
    here=here,
    count=int(lengths.sum()),
    fields={'image': ((*media.sides(resolution), channels), np.dtype(np.uint8))},
    fetch=lambda rows: rows,
    decode=decode,
  )
  return open_arrays(examples, ['image'])['image']
