"""The emoji that ganjax ships, with their names as captions: 5,416 drawings of 1,911 emoji, each with at least one."""

from collections.abc import Sequence

import numpy as np

from ganjax import text
from ganjax.data import captions, emoji
from ganjax.data.sets import emoji as pictures
from ganjax.data.source import Source


def fields(
  *,
  resolution: int | Sequence[int],
  channels: int,
  encoder: str = 'ngrams',
  text_size: int | None = None,
  words: int = 0,
) -> dict:
  """A picture with its numbers, see `sets/emoji.py`, a caption, its vector and its words."""
  return pictures.fields(resolution=resolution, channels=channels) | captions.fields(
    encoder, text_size, words
  )


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  split: str,
  encoder: str = 'ngrams',
  encoder_path: str | None = None,
  text_size: int | None = None,
  words: int = 0,
) -> Source:
  """In memory.

  Args:
    resolution, channels, split: see `sets/emoji.py`. No emoji is in both 'rest' and 'test'.
    encoder, encoder_path, text_size: the encoder of captions, see `text.load`.
    words: number of words of a caption that are also given, as numbers.

  Raises:
    UserError: another split, or no such encoder.
  """
  found = pictures.build(resolution=resolution, channels=channels, split=split)
  ids = found.read(np.arange(found.num_examples), ('emoji_id',))['emoji_id']
  names, read = emoji.names(), text.load(encoder, encoder_path, text_size)
  source = captions.build(found, [names[i] for i in ids], read, words)
  source.info['dataset'] = 'emoji_captions'
  return source
