"""The pictures that ganjax ships: 5,416 drawings of emoji in three styles, 64x64, with their categories as labels.

All of them are one split, 'train'. A tenth of the emoji can be held out for tests, as in `emoji_pairs`.
"""

import functools
from collections.abc import Sequence

import numpy as np
import PIL.Image

from ganjax import UserError, media
from ganjax.data import emoji, pixels
from ganjax.data.source import Source, gather, picture
from ganjax.wording import closest

SPLITS = 'train', 'test', 'rest'
NUMBERS = 'style', 'category', 'emoji_id'


def fields(*, resolution: int | Sequence[int], channels: int) -> dict:
  """A picture, its category as the label, and numbers of the style, the category and the emoji."""
  numbers = dict.fromkeys(('label', *NUMBERS), media.Field('label', ()))
  return {'image': picture(resolution, channels), **numbers}


def build(
  *, resolution: int | Sequence[int], channels: int, split: str, labels: str = 'category'
) -> Source:
  """In memory, 67 MB at their own size.

  Args:
    resolution, channels: see `ganjax.data.build`.
    split: 'train': all; 'test': the tenth of the emoji that is held out in all styles; 'rest': the others.
    labels: 'category' (10 classes) or 'style' (3 classes).

  Raises:
    UserError: another split, or other labels.
  """
  if split not in SPLITS:
    raise UserError(f'emoji has no split {split!r}; it has: {", ".join(SPLITS)}')
  names = {'category': 'categories', 'style': 'styles'}
  if labels not in names:
    raise UserError(
      f'data.labels={labels!r} is not known{closest(str(labels), names)}; there are {", ".join(names)}'
    )
  known = fields(resolution=resolution, channels=channels)
  table = emoji.load()
  held_out = np.isin(table['emoji_id'], [*emoji.held_out(len(table['captions']))])
  kept = {'train': slice(None), 'test': held_out, 'rest': ~held_out}[split]
  arrays = {'image': table['image'][kept], 'label': table[labels][kept]}
  arrays |= {name: table[name][kept] for name in NUMBERS}
  if known['image'].shape != (emoji.SIZE, emoji.SIZE, 3):
    prepare = lambda image: pixels.prepare(PIL.Image.fromarray(image), resolution, channels)
    arrays['image'] = np.stack([prepare(image) for image in arrays['image']])
  info = {'dataset': 'emoji', 'version': emoji.VERSION, 'styles': table['styles']}
  return Source(
    read_rows=functools.partial(gather, arrays),
    rows=np.arange(len(arrays['image'])),
    fields=known,
    class_names=table[names[labels]],
    info=info | pixels.describe(resolution, channels),
  )
