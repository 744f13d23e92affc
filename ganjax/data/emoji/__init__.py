"""5,416 emoji pictures of 64 x 64 pixels on white: 1,911 emoji in up to three drawing styles.

The data lie beside this file: per style lossless WebP sheets of 16 x 16 pictures in the order of the
style's list in emoji.json. ATTRIBUTION.md has authors and licences. `load` reads them directly;
`Emoji` is the same data as a TFDS builder:

  from ganjax.data.emoji import Emoji
  builder = Emoji(data_dir='~/tensorflow_datasets')
  builder.download_and_prepare()  # neither network nor TensorFlow
  source = builder.as_data_source('train')
"""

import json
import pathlib
from typing import Any

import numpy as np
import PIL.Image

SIZE = 64  # pixels
VERSION = '1.0.0'
TEST_SHARE = 0.1  # of the emoji
_SPLIT = 5  # a purpose of a random stream, see `data.source`
_HERE = pathlib.Path(__file__).parent


def load() -> dict[str, Any]:
  """Returns the whole data set as a dict, ordered by style, then by emoji.

  `image` uint8 [5416, 64, 64, 3]; `style`, `category`, `emoji_id` int32 [5416]; lists of names
  `styles` (3), `categories` (10) and `captions` (1911, indexed by emoji_id).
  """
  table = _table()
  category_of = np.array([category for *_, category in table['emoji']], np.int32)
  images, styles, ids = [], [], []
  for style, (name, members) in enumerate(table['styles'].items()):
    sheets = [_cut(path) for path in sorted(_HERE.glob(f'{name}-*.webp'))]
    images.append(np.concatenate(sheets)[: len(members)])  # the last sheet ends in white
    styles += [style] * len(members)
    ids += members
  ids = np.array(ids, np.int32)
  return {
    'image': np.concatenate(images),
    'style': np.array(styles, np.int32),
    'category': category_of[ids],
    'emoji_id': ids,
    'styles': list(table['styles']),
    'categories': table['categories'],
    'captions': captions(),
  }


def captions() -> list:
  """What each emoji is called, indexed by emoji_id: 'dog face, dog'."""
  return [', '.join(some) for some in names()]


def names() -> list:
  """The names of each emoji, a tuple, indexed by emoji_id: ('dog face', 'dog')."""
  return [_names(name, short_names) for _, name, short_names, _ in _table()['emoji']]


def _table():
  return json.loads((_HERE / 'emoji.json').read_text('utf-8'))


def held_out(count: int) -> set:
  """Ids of the emoji that are kept for tests, of so many in all: a share drawn once for good."""
  stream = np.random.Philox(
    key=np.zeros(2, np.uint64), counter=np.array([0, 0, 0, _SPLIT], np.uint64)
  )
  order = np.argsort(stream.random_raw(count), kind='stable')
  return {*order[: round(TEST_SHARE * count)].tolist()}


def _cut(path):
  """The pictures of one sheet, uint8 [n, 64, 64, 3]."""
  with PIL.Image.open(path) as picture:
    sheet = np.asarray(picture.convert('RGB'))
  rows, columns = sheet.shape[0] // SIZE, sheet.shape[1] // SIZE
  return sheet.reshape(rows, SIZE, columns, SIZE, 3).swapaxes(1, 2).reshape(-1, SIZE, SIZE, 3)


def _names(name, short_names):
  """The name, then those short names that say something else."""
  parts = [name]
  for short in short_names:
    words = short.replace('_', ' ').replace('-', ' ')
    if words not in parts:
      parts.append(words)
  return tuple(parts)


def __getattr__(name):
  if name == 'Emoji':
    from ganjax.data.emoji.builder import Emoji  # imports TFDS, which takes a second

    return Emoji
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
