"""Your own pictures: all pictures under a folder or in a zip archive. Folders in it are classes."""

from collections.abc import Sequence

from ganjax import UserError, media
from ganjax.data import folder, pixels
from ganjax.data.source import Source, decoded, picture


def fields(*, resolution: int | Sequence[int], channels: int) -> dict:
  """A picture, and its label where there are classes."""
  return {'image': picture(resolution, channels), 'label': media.Field('label', ())}


def build(
  *, data_dir: str | None, resolution: int | Sequence[int], channels: int, split: str, cache: bool
) -> Source:
  """See `ganjax.data.build`; of a folder `data_dir` there is one split, 'train'."""
  if split != 'train':
    raise UserError(f'folder has no split {split!r}; it has: train')
  examples, info = folder.examples(data_dir=data_dir, resolution=resolution, channels=channels)
  info |= pixels.describe(resolution, channels)
  return decoded(examples, info, fields(resolution=resolution, channels=channels), cache)
