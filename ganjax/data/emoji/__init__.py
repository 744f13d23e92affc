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

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

SIZE = 64  # pixels
VERSION = '1.0.0'
_HERE = pathlib.Path(__file__).parent


def load():
  """Returns the whole data set as a dict, ordered by style, then by emoji.

  `image` uint8 [5416, 64, 64, 3]; `style`, `category`, `emoji_id` int32 [5416]; lists of names
  `styles` (3), `categories` (10) and `captions` (1911, indexed by emoji_id).
  """
  table = json.loads((_HERE / 'emoji.json').read_text('utf-8'))
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
    'captions': [_caption(name, short_names) for _, name, short_names, _ in table['emoji']],
  }


def _cut(path):
  """The pictures of one sheet, uint8 [n, 64, 64, 3]."""
  with PIL.Image.open(path) as picture:
    sheet = np.asarray(picture.convert('RGB'))
  rows, columns = sheet.shape[0] // SIZE, sheet.shape[1] // SIZE
  return sheet.reshape(rows, SIZE, columns, SIZE, 3).swapaxes(1, 2).reshape(-1, SIZE, SIZE, 3)


def _caption(name, short_names):
  """'dog face, dog': the name, then those short names that say something else."""
  parts = [name]
  for short in short_names:
    words = short.replace('_', ' ').replace('-', ' ')
    if words not in parts:
      parts.append(words)
  return ', '.join(parts)


class Emoji(tfds.core.GeneratorBasedBuilder):
  """TFDS builder of the same pictures; writes ArrayRecord files, which need no TensorFlow."""

  VERSION = tfds.core.Version(VERSION)
  RELEASE_NOTES = {'1.0.0': 'First release.'}

  def __init__(self, *, file_format='array_record', **kwargs):
    super().__init__(file_format=file_format, **kwargs)

  def _info(self):
    table = json.loads((_HERE / 'emoji.json').read_text('utf-8'))
    return tfds.core.DatasetInfo(
      builder=self,
      description=__doc__.split('\n')[0],
      license=(_HERE / 'ATTRIBUTION.md').read_text('utf-8'),
      supervised_keys=('image', 'category'),
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(SIZE, SIZE, 3)),
          'style': tfds.features.ClassLabel(names=list(table['styles'])),
          'category': tfds.features.ClassLabel(names=table['categories']),
          'emoji_id': tfds.features.Scalar(np.int32),
          'caption': tfds.features.Text(),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    table = load()
    columns = [table[name] for name in ('image', 'style', 'category', 'emoji_id')]
    for image, style, category, emoji_id in zip(*columns):
      yield (
        f'{table["styles"][style]}_{emoji_id:04d}',
        {
          'image': PIL.Image.fromarray(image),
          'style': int(style),
          'category': int(category),
          'emoji_id': int(emoji_id),
          'caption': table['captions'][emoji_id],
        },
      )
