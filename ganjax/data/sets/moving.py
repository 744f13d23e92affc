"""Moving MNIST (Srivastava et al. 2015, arXiv:1502.04681, section 3.1), also with emoji: drawings that fly straight and
bounce off the borders, computed on the fly.

A clip has one drawing or more, each with a start and a velocity. Its path has no end. In training a clip begins
anywhere on it. Read by index it begins at the start of the path.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image

from ganjax import UserError, media
from ganjax.data import domains, emoji, pixels
from ganjax.data.sets import catalogue
from ganjax.data.source import Source, indices, picture
from ganjax.wording import closest

SPRITES = {'emoji': 255, 'mnist': 0}  # and the grey level behind them
COUNT = 10_000  # clips of a split
LONGEST = 512  # frames of a path on which training may begin
_PATHS, _TEST_PATHS, _STARTS = 8, 9, 10  # purposes of random streams, see `data.source`


def fields(
  *,
  resolution: int | Sequence[int],
  channels: int,
  frames: int = 16,
  rate: int = 10,
  flow: bool = False,
) -> dict:
  """A clip, and its flow where it is asked for. Raises UserError for a number of frames that is none."""
  own = clip(resolution, channels, frames, rate)
  return {'clip': own, 'flow': media.Field('flow', (*own.shape[:3], 2))} if flow else {'clip': own}


def clip(resolution: int | Sequence[int], channels: int, frames: int, rate: int) -> media.Field:
  """The field of clips of `frames` frames, `rate` of which are shown a second."""
  for name, number in ('frames', frames), ('rate', rate):
    if not isinstance(number, int) or not 0 < number <= 1000:
      raise UserError(f'data.{name}={number!r} must be a whole number from 1 to 1000')
  return media.Field('clip', (frames, *picture(resolution, channels).shape), rate)


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  data_dir: str | None = None,
  cache: bool = True,
  frames: int = 16,
  rate: int = 10,
  sprites: str = 'emoji',
  number: int = 1,
  size: int | None = None,
  speed: Sequence[float] = (1.0, 4.0),
  flow: bool = False,
) -> Source:
  """Clips of which nothing but the drawings is kept.

  Args:
    resolution, channels: of the frames.
    split: 'train' or 'test', with different drawings: a tenth of the emoji is held out, and MNIST has a test set.
    data_dir, cache: folder and cache of MNIST, see `ganjax.data.build`.
    frames, rate: frames of a clip, and frames per second of samples.
    sprites: 'emoji', in one of three styles on white; or 'mnist', on black.
    number: number of drawings in a clip.
    size: side of a drawing in pixels; by default half the side of the frame.
    speed: slowest and fastest speed, in pixels per frame.
    flow: whether clips also have `flow`, see `media/flow.py`. It is 0 outside the drawings and in the first frame.

  Raises:
    UserError: a value that is none of these.
  """
  if split not in ('train', 'test'):
    raise UserError(f'moving has no split {split!r}; it has: train, test')
  if sprites not in SPRITES:
    raise UserError(
      f'data.sprites={sprites!r} is not known{closest(str(sprites), SPRITES)}; there are {", ".join(SPRITES)}'
    )
  if data_dir and sprites == 'emoji':
    raise UserError(
      f'emoji move, which have no use for data.data_dir={data_dir}: leave that out, or take data.sprites=mnist; clips '
      'of your own are data.dataset=clips'
    )
  known = fields(resolution=resolution, channels=channels, frames=frames, rate=rate, flow=flow)
  height, width = media.sides(resolution)
  size = size or min(height, width) // 2
  slow, fast = speed
  if not (isinstance(size, int) and 0 < size < min(height, width)):
    raise UserError(f'data.size={size!r} must be a number of pixels below {min(height, width)}')
  if not (isinstance(number, int) and 0 < number <= 100 and 0 < slow <= fast <= size):
    raise UserError(
      f'data.number={number!r} must be from 1 to 100, and data.speed={speed!r} two rising numbers above 0, to {size}'
    )
  if sprites == 'emoji':
    drawings, lay = _emoji(split, size, channels), np.minimum
  else:
    drawings, lay = _digits(split, size, channels, data_dir, cache), np.maximum
  which, paths = lay_out(split, number, (height - size, width - size), (slow, fast))

  def read_rows(rows, names):
    out = np.full((len(rows), *known['clip'].shape), SPRITES[sprites], np.uint8)
    moved = np.zeros((len(rows), frames, height, width, 2), np.float32) if 'flow' in names else None
    for row, (index, start) in enumerate(rows):
      at = np.round(paths(index, start + np.arange(frames))).astype(int)
      for k in range(number):
        drawing = drawings[which[index, k] % len(drawings)]
        for t, (y, x) in enumerate(at[:, k]):
          place = out[row, t, y : y + size, x : x + size]
          lay(place, drawing, out=place)
          if t and moved is not None:
            moved[row, t, y : y + size, x : x + size] = (at[t - 1, k] - at[t, k])[::-1]
    found = {'clip': out, 'flow': moved}
    return {name: found[name] for name in names if name in known}

  def order(seed, start, count):
    at = domains.draws(seed, start, count, _STARTS)[:, 0] % LONGEST
    return np.stack([indices(seed, start, count, COUNT), at.astype(np.int64)], 1)

  info = {'dataset': 'moving', 'sprites': sprites, 'number': number, 'size': size}
  info |= {'flow': True} if flow else {}
  info |= {'speed': [slow, fast], 'frames': frames, 'rate': rate, 'drawings': len(drawings)}
  return Source(
    read_rows=read_rows,
    rows=np.stack([np.arange(COUNT), np.zeros(COUNT, int)], 1),
    fields=known,
    class_names=None,
    info=info | pixels.describe(resolution, channels),
    order=order,
  )


def lay_out(
  split: str, number: int, room: Sequence[float], speed: Sequence[float]
) -> tuple[np.ndarray, Callable[[int, np.ndarray], np.ndarray]]:
  """(drawings int [COUNT, number], (clip, times [T]) -> places [T, number, 2]): rows and columns of the upper left
  corners, in the range from 0 to `room`, in pixels, which may lie between two.
  """
  purpose = _PATHS if split == 'train' else _TEST_PATHS
  stream = np.random.Philox(
    key=np.zeros(2, np.uint64), counter=np.array([0, 0, 0, purpose], np.uint64)
  )
  words = stream.random_raw(COUNT * number * 5).reshape(COUNT, number, 5)
  drawings = (words[..., 0] >> np.uint64(33)).astype(np.int64)
  even = (words[..., 1:] >> np.uint64(11)) / 2.0**53
  room = np.asarray(room, float)
  places = even[..., :2] * 2 * room  # of which the second half comes back
  angle, fast = even[..., 2] * 2 * np.pi, speed[0] + even[..., 3] * (speed[1] - speed[0])
  velocities = fast[..., None] * np.stack([np.sin(angle), np.cos(angle)], -1)

  def path(index, times):
    free = places[index] + np.asarray(times)[:, None, None] * velocities[index]
    return reflect(free, room)

  return drawings, path


def reflect(x: np.ndarray, room: np.ndarray | float) -> np.ndarray:
  """Places on a free path -> those between borders at 0 and `room`, off which the path bounces."""
  return room - np.abs(room - x % (2 * room))


@functools.lru_cache(2)
def _emoji(split, size, channels):
  table = emoji.load()
  held_out = np.isin(table['emoji_id'], [*emoji.held_out(len(table['captions']))])
  images = table['image'][held_out == (split == 'test')]
  prepare = lambda x: pixels.prepare(PIL.Image.fromarray(x), size, channels)
  return np.stack([prepare(image) for image in images])


def _digits(split, size, channels, data_dir, cache):
  digits = catalogue.build(
    dataset='mnist', resolution=size, channels=channels, data_dir=data_dir, split=split, cache=cache
  )
  return digits.read(np.arange(digits.num_examples), ('image',))['image']
