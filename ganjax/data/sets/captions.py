"""Your own pictures with captions: a text file next to each picture, or a table of files and captions."""

import os
from collections.abc import Sequence

from ganjax import UserError, text
from ganjax.data import captions as known
from ganjax.data import folder, pixels
from ganjax.data.files import open_files
from ganjax.data.sets import folder as pictures
from ganjax.data.source import Source, decoded

BESIDE = '.txt', '.csv', '.jsonl', '.json'


def fields(
  *,
  resolution: int | Sequence[int],
  channels: int,
  encoder: str = 'ngrams',
  text_size: int | None = None,
  words: int = 0,
) -> dict:
  """A picture, its label where there are classes, a caption, its vector and its words."""
  return pictures.fields(resolution=resolution, channels=channels) | known.fields(
    encoder, text_size, words
  )


def build(
  *,
  data_dir: str | None,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  cache: bool,
  captions_path: str | None = None,
  encoder: str = 'ngrams',
  encoder_path: str | None = None,
  text_size: int | None = None,
  words: int = 0,
) -> Source:
  """Pictures below `data_dir`; where it has a folder named as the split (train, test), those in it.

  Args:
    data_dir: a folder; or a zip archive, which is one split.
    resolution, channels, cache: see `ganjax.data.build`.
    split: 'train', 'test' or another folder in `data_dir`. Without such a folder all pictures are 'train'.
    captions_path: a .csv, .jsonl or COCO's .json; {split} in its name stands for `split`. By default `captions.csv`,
      `captions.jsonl` or `metadata.jsonl` among the pictures, else `NAME.txt` next to each, one caption per line.
    encoder, encoder_path, text_size: the encoder of captions, see `text.load`.
    words: number of words of a caption that are also given, as numbers.

  Raises:
    UserError: any error that the user can fix, in one line. Up to 1 % of pictures that cannot be decoded are
      left out.
  """
  if not data_dir:
    raise UserError('data.dataset=captions needs data.data_dir: the folder of your pictures')
  top = folder.place(data_dir)
  own = os.path.join(top, split)
  if not os.path.isdir(own) and split != 'train':
    raise UserError(f'{top} has no folder {split}: make it, or take another split')
  top = own if os.path.isdir(own) else top
  size = dict(resolution=resolution, channels=channels)
  table, info = folder.examples(data_dir=top, **size, beside=BESIDE)
  info |= pixels.describe(resolution, channels)
  found = decoded(table, info, pictures.fields(**size), cache)
  broken = {*found.info.get('broken', ())}
  paths = [path for path in table.names if path not in broken]
  if captions_path:
    place = os.path.expanduser(captions_path.replace('{split}', split))
    try:
      with open(place, 'rb') as file:
        listed = known.read(place, file.read())
    except OSError as error:
      raise UserError(f'data.captions_path={place} cannot be read: {error.strerror}') from None
    some = known.match(listed, paths, place)
  else:
    some = known.find(open_files(top), paths, top)
  encode = text.load(encoder, encoder_path, text_size)
  source = known.build(found, some, encode, words)
  source.info['dataset'] = 'captions'
  return source
