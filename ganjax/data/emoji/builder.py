"""The shipped emoji as a TFDS builder: apart, as importing TFDS takes a second."""

import json
import pathlib
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from ganjax.data import emoji

_HERE = pathlib.Path(__file__).parent


class Emoji(tfds.core.GeneratorBasedBuilder):
  """TFDS builder of the same pictures; writes ArrayRecord files, which need no TensorFlow."""

  VERSION = tfds.core.Version(emoji.VERSION)
  RELEASE_NOTES = {'1.0.0': 'First release.'}

  def __init__(self, *, file_format: str = 'array_record', **kwargs: Any) -> None:
    super().__init__(file_format=file_format, **kwargs)

  def _info(self):
    table = json.loads((_HERE / 'emoji.json').read_text('utf-8'))
    return tfds.core.DatasetInfo(
      builder=self,
      description=emoji.__doc__.split('\n')[0],
      license=(_HERE / 'ATTRIBUTION.md').read_text('utf-8'),
      supervised_keys=('image', 'category'),
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(emoji.SIZE, emoji.SIZE, 3)),
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
    table = emoji.load()
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
