"""The pictures that ganjax ships: 5,416 drawings of emoji in four styles, 64x64, with their categories as labels."""

import functools

import numpy as np
import PIL.Image

from ganjax import UserError, media
from ganjax.data import emoji, pixels
from ganjax.data.source import Source, gather, picture

NUMBERS = 'style', 'category', 'emoji_id'


def fields(*, resolution, channels) -> dict:
  """A picture, its category as the label, and numbers of the style, the category and the emoji."""
  numbers = dict.fromkeys(('label', *NUMBERS), media.Field('label', ()))
  return {'image': picture(resolution, channels), **numbers}


def build(*, resolution, channels, split):
  """All in memory, 67 MB at their own size. Raises UserError for a split other than 'train'."""
  if split != 'train':
    raise UserError(f'emoji has no split {split!r}; it has: train')
  known = fields(resolution=resolution, channels=channels)
  table = emoji.load()
  arrays = {'image': table['image'], 'label': table['category']}
  arrays |= {name: table[name] for name in NUMBERS}
  if known['image'].shape != (emoji.SIZE, emoji.SIZE, 3):
    prepare = lambda image: pixels.prepare(PIL.Image.fromarray(image), resolution, channels)
    arrays['image'] = np.stack([prepare(image) for image in table['image']])
  info = {'dataset': 'emoji', 'version': emoji.VERSION, 'styles': table['styles']}
  return Source(
    read_rows=functools.partial(gather, arrays),
    rows=np.arange(len(arrays['image'])),
    fields=known,
    class_names=table['categories'],
    info=info | pixels.describe(resolution, channels),
  )
