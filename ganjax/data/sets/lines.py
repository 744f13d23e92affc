"""Lines of a text file, or the captions of the emoji that ganjax ships: each line is an example.

All of them are one split, 'train'. A tenth can be held out for tests.
"""

import functools
import hashlib

import numpy as np

from ganjax import UserError, media
from ganjax.data import emoji, folder
from ganjax.data.source import Source, gather
from ganjax.media import line

SPLITS = 'train', 'test', 'rest'


def fields(*, length: int = 32) -> dict:
  """A line of up to `length` characters."""
  if not isinstance(length, int) or not 2 <= length <= 4096:
    raise UserError(f'data.length={length!r} must be a number of characters from 2 to 4,096')
  return {'line': media.Field('line', (length,))}


def build(*, data_dir: str | None, split: str, length: int = 32, lower: bool = False) -> Source:
  """In memory.

  Args:
    data_dir: a text file in UTF-8; None: the emoji's captions.
    split: 'train': all lines; 'test': a tenth of them, the same ones each time; 'rest': the others.
    length: characters of a line. Longer lines are cut, empty lines are left out.
    lower: whether to convert to lower case.

  Raises:
    UserError: another split, no such file, a file of no text, without lines or with too few for the split.
  """
  known = fields(length=length)
  if split not in SPLITS:
    raise UserError(f'lines has no split {split!r}; it has: {", ".join(SPLITS)}')
  if data_dir:
    texts, info = _read(folder.place(data_dir))
  else:
    texts, info = emoji.captions(), {'version': emoji.VERSION}
  texts = [text.strip().lower() if lower else text.strip() for text in texts]
  texts = [text for text in texts if text]
  if not texts:
    raise UserError(f'{data_dir} has no lines: give a text file with an example on each line')
  if split != 'train':
    held_out = emoji.held_out(len(texts))
    texts = [text for i, text in enumerate(texts) if (i in held_out) == (split == 'test')]
    if not texts:
      raise UserError(f'{data_dir} has too few lines for the split {split!r}')
  stored = np.stack([line.encode(text, length) for text in texts])
  info = {'dataset': 'lines', 'length': length, 'lower': bool(lower), **info}
  return Source(
    read_rows=functools.partial(gather, {'line': stored}),
    rows=np.arange(len(stored)),
    fields=known,
    class_names=None,
    info=info | {'num_examples': len(stored)},
  )


def _read(path):
  """(lines of a file, what identifies it)."""
  try:
    with open(path, 'rb') as file:
      content = file.read()
    text = content.decode()
  except OSError as e:
    raise UserError(f'{path} cannot be read: {e.strerror}') from None
  except UnicodeDecodeError as e:
    raise UserError(
      f'{path} is no text in UTF-8: byte {e.start} is {content[e.start]:#x}; save it as UTF-8'
    ) from None
  return text.splitlines(), {'content_sha256': hashlib.sha256(content).hexdigest()}
