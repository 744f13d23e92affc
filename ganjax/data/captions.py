"""Pictures with captions: one of each picture's captions is drawn a time, and comes with its vector.

While training an example is an index and the number of a caption. Read by index it has the first caption.
"""

import csv
import hashlib
import io
import json
import posixpath
from collections.abc import Mapping, Sequence

import numpy as np

from ganjax import UserError, media, text
from ganjax.data import domains
from ganjax.data import words as of_words
from ganjax.data.cache import Examples, open_arrays
from ganjax.data.files import Archive, Folder
from ganjax.data.source import Source, indices
from ganjax.media import text as texts

MOST_WORDS = 1000
LENGTH = 128  # letters of a caption that are kept to be shown; encoders read all
_CAPTIONS = 14  # a purpose of a random stream, see `data.source`


def fields(encoder: str, text_size: int | None = None, words: int = 0) -> dict:
  """{name: media.Field}: a caption's letters, to be shown, its vector, and the numbers of its first `words` words.

  Raises:
    UserError: another encoder, or a number that is none.
  """
  if not isinstance(words, int) or not 0 <= words <= MOST_WORDS:
    raise UserError(f'data.words={words!r} must be a whole number from 0 to {MOST_WORDS}')
  size = text.size(encoder, text_size)
  found = {'text': media.Field('text', (LENGTH,)), 'sentence': media.Field('vector', (size,))}
  return found | ({'words': media.Field('label', (words,))} if words else {})


def build(
  source: Source, captions: Sequence[Sequence[str]], encoder: text.Encoder, words: int = 0
) -> Source:
  """A data set of pictures with captions.

  Args:
    source: the pictures, and labels where there are any.
    captions: for each of its examples a list of strings, one at least.
    encoder: makes vectors of them, once: they are kept in the cache by what they are made of.
    words: of a caption, whose numbers are read; 0: none are.
  """
  table = sorted({caption for some in captions for caption in some})
  number = {caption: i for i, caption in enumerate(table)}
  counts = np.array([len(some) for some in captions])
  numbers = np.concatenate([[number[caption] for caption in some] for some in captions])
  starts = np.cumsum(counts) - counts
  digest = hashlib.sha256('\0'.join(table).encode()).hexdigest()
  vectors = _encode(table, digest, encoder)
  own = fields(encoder.info['name'], encoder.info['size'], words)
  word_numbers = of_words.numbers(table, words) if words else None

  def read_rows(rows, names):
    at = numbers[starts[rows[:, 0]] + rows[:, 1]]
    found = source.read(rows[:, 0], [name for name in names if name not in own])
    if 'text' in names:
      found['text'] = texts.from_str([table[i] for i in at], LENGTH)
    if 'sentence' in names:
      found['sentence'] = vectors[at]
    if 'words' in names:
      found['words'] = word_numbers[at]
    return found

  def order(seed, start, count):
    index = indices(seed, start, count, source.num_examples)
    drawn = domains.draws(seed, start, count, _CAPTIONS)[:, 0]
    return np.stack([index, (drawn % counts[index].astype(np.uint64)).astype(np.int64)], 1)

  info = {'encoder': encoder.info, 'captions': len(table), 'captions_sha256': digest}
  everything = np.arange(source.num_examples)
  return Source(
    read_rows=read_rows,
    rows=np.stack([everything, np.zeros_like(everything)], 1),
    fields={**source.fields, **own},
    class_names=source.class_names,
    info={**source.info, **info},
    here=source.content,
    order=order,
  )


def _encode(table, digest, encoder):
  """Vectors float32 [n, E] of the captions, from the cache."""
  shape = (encoder.info['size'],)
  examples = Examples(
    title=f'captions by {encoder.info["name"]}',
    key={'captions': digest, 'encoder': encoder.info},
    count=len(table),
    fields={'sentence': (shape, np.dtype(np.float32))},
    fetch=lambda rows: [table[row] for row in rows],
    decode=lambda some: {'sentence': encoder.encode(some)},
  )
  return open_arrays(examples, ['sentence'])['sentence']


def of_texts(given: list, encoder: text.Encoder, words: int = 0) -> Source:
  """Texts without pictures, that samples start from; `words` as in `build`.

  Raises:
    UserError: one that is empty, or that the encoder knows no word of.
  """
  for one in given:
    encoder.check(one, '--text')
  arrays = {'text': texts.from_str(given, LENGTH), 'sentence': encoder.encode(given)}
  arrays |= {'words': of_words.numbers(given, words)} if words else {}
  return Source(
    read_rows=lambda rows, names: {name: arrays[name][rows] for name in names},
    rows=np.arange(len(given)),
    fields=fields(encoder.info['name'], encoder.info['size'], words),
    class_names=None,
    info={'dataset': 'texts'},
  )


NAMES = 'captions.jsonl', 'captions.csv', 'metadata.jsonl'  # in the folder of the pictures


def find(files: Folder | Archive, paths: Sequence[str], where: str) -> list:
  """Captions of a folder's pictures, for each a list of strings.

  They are in one of the files NAMES, see `read`; else of a picture `a/b.jpg` in `a/b.txt` beside it, a line each.

  Args:
    files: of `data.files`.
    paths: of the pictures.
    where: the folder, for messages.

  Raises:
    UserError: a picture without a caption, or a file that is not understood.
  """
  known = {*files.names}
  for name in NAMES:
    if name in known:
      return match(read(f'{where}/{name}', files.read(name)), paths, f'{where}/{name}')
  beside = [f'{posixpath.splitext(path)[0]}.txt' for path in paths]
  lines = lambda path: _decode(f'{where}/{path}', files.read(path)).splitlines()
  found = [_clean(lines(path)) if path in known else [] for path in beside]
  return _check(found, paths, f'{where}: no text file beside it')


def match(table: Mapping[str, list[str]], paths: Sequence[str], where: str) -> list:
  """Those of `read` that are of the pictures `paths`: by their paths, or else by the names of their files alone."""
  found = [table.get(path) or table.get(posixpath.basename(path), []) for path in paths]
  return _check(found, paths, where)


def _check(found, paths, where):
  missing = [path for path, some in zip(paths, found) if not some]
  if missing:
    raise UserError(
      f'{len(missing):,} of {len(paths):,} pictures have no caption, or an empty one, such as {missing[0]} ({where})'
    )
  return found


def read(path: str, content: bytes) -> dict:
  """{file: [caption, ...]} of a table of captions.

  A .csv has lines `file,caption`, several for several captions; the first may be a heading. A .jsonl has objects with
  `file` (or `file_name`) and `caption` (or `text`), a string or several. A .json is one of COCO's annotations.

  Raises:
    UserError: it is none of these.
  """
  kinds = {'.csv': _csv, '.jsonl': _jsonl, '.json': _coco}
  ending = posixpath.splitext(path)[1]
  if ending not in kinds:
    raise UserError(f'{path}: captions are in a .csv, .jsonl or .json (of COCO)')
  found = {}
  try:
    for name, some in kinds[ending](_decode(path, content)):
      if not isinstance(name, str) or not all(isinstance(one, str) for one in some):
        raise ValueError(f'{name!r} and its captions are not strings')
      found.setdefault(posixpath.normpath(name.replace('\\', '/')), []).extend(_clean(some))
  except (ValueError, KeyError, TypeError, csv.Error) as error:
    raise UserError(f'{path} is not understood: {error}; correct or remove it') from error
  return found


def _csv(content):
  rows = csv.reader(io.StringIO(content, newline=''), strict=True)
  for row in filter(None, rows):
    if len(row) != 2:
      raise ValueError(f'line {rows.line_num} is not file,caption (quote a caption with commas)')
    if rows.line_num > 1 or '.' in row[0]:  # else a heading
      yield row[0].strip(), [row[1]]


def _jsonl(content):
  for number, line in enumerate(content.splitlines(), 1):
    if line.strip():
      one = json.loads(line)
      first = lambda *names, one=one: next((one[name] for name in names if name in one), None)
      name, some = first('file', 'file_name'), first('caption', 'text')
      if name is None or some is None:
        raise ValueError(f'line {number} has no file and caption')
      yield name, some if isinstance(some, list) else [some]


def _coco(content):
  table = json.loads(content)
  names = {one['id']: one['file_name'] for one in table['images']}
  for one in table['annotations']:
    yield names[one['image_id']], [one['caption']]


def _decode(path, content):
  try:
    return content.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise UserError(f'{path} is not text in UTF-8: {error}') from None


def _clean(lines) -> list:
  """Without blanks around and lines that hold nothing else; runs of blanks are one."""
  return [' '.join(line.split()) for line in lines if line.strip()]
