"""Your own pictures: all pictures under a folder or in a zip archive. Folders in it are classes."""

import collections
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image
from absl import logging

from ganjax import UserError, media
from ganjax.data import labels, pixels
from ganjax.data.cache import Examples
from ganjax.data.files import Archive, Folder, open_files

EXTENSIONS = (
  *('.png', '.jpg', '.jpeg', '.jfif', '.jpe', '.mpo', '.webp', '.avif', '.jp2', '.j2k'),
  *('.bmp', '.dib', '.gif', '.apng', '.tif', '.tiff', '.tga', '.ppm', '.pgm', '.pbm', '.pnm'),
)


def locate(dataset: str | None, data_dir: str | None) -> tuple[str | None, str | None]:
  """Returns (dataset, data_dir) where `dataset` may be a path: of a folder of pictures, or of a zip archive.

  `is_path` tells; with a `data_dir`, what is not marked as a path is a name. Raises UserError for two places.
  """
  if not dataset or not (_marked(dataset) if data_dir else is_path(dataset)):
    return dataset, data_dir
  if data_dir and data_dir != dataset:
    raise UserError(
      f'data.dataset={dataset} and data.data_dir={data_dir} name two places: give data.dataset=folder and one data_dir'
    )
  if not _marked(dataset):
    logging.warning(
      'data.dataset=%s is a path here and is read as one; for a data set of TFDS say data.data_dir too',
      dataset,
    )
  return 'folder', dataset


def is_path(text: str) -> bool:
  """Whether a text that may name a data set is a path: it looks like one, or has a '/' and is there.

  'lsun/bedroom' is a name of the TFDS catalogue where no file or folder is called so.
  """
  return _marked(text) or ('/' in text and os.path.exists(text))


def _marked(text):
  """Whether a text is a path whatever is there."""
  return text.startswith(('/', '.', '~')) or text.lower().endswith(('/', '.zip'))


def examples(
  *,
  data_dir: str | None,
  resolution: int | Sequence[int],
  channels: int,
  beside: Sequence[str] = (),
) -> tuple[Examples, dict[str, Any]]:
  """Returns (Examples, info) of the images under `data_dir`, in the order of their paths.

  Labels are those of `find`. Field `whole` is 0 where a file could not be decoded. `beside` are endings of files that
  are read by others. Raises UserError: no such folder, no images in it, images both at its top level and in folders,
  labels that are not understood.
  """
  if not data_dir:
    raise UserError('data.dataset=folder needs data.data_dir=DIRECTORY: the folder of your images')
  data_dir = place(data_dir)
  files = open_files(data_dir)
  paths, class_names, numbers, source = _sort(files, data_dir, beside)
  fields = {
    'image': ((*media.sides(resolution), channels), np.dtype(np.uint8)),
    'whole': ((), np.dtype(np.uint8)),
  }
  if class_names:
    fields['label'] = ((), numbers.dtype)

  def load(row):
    return decode_picture(files.read(paths[row]), resolution, channels)

  def decode(rows):
    arrays = {name: np.zeros((len(rows), *shape), dtype) for name, (shape, dtype) in fields.items()}
    for i, row in enumerate(rows):
      try:
        arrays['image'][i] = load(row)
        arrays['whole'][i] = 1
      except Exception as e:  # noqa: BLE001, PERF203 (Pillow raises anything on a broken file)
        logging.debug('%s: %s', paths[row], e)
    if class_names:
      arrays['label'] = numbers[np.asarray(rows)]
    return arrays

  content, here = identify((files, paths))
  name = os.path.basename(data_dir) or 'root'
  key = {
    'dataset': 'folder',
    'files': content,
    'size': pixels.key(resolution, channels),
    'preprocessing': pixels.NAME,
  }
  if source:
    key['labels'] = hashlib.sha256(numbers.tobytes() if class_names else b'').hexdigest()
  table = Examples(
    title=f'folder {name} {pixels.size_name(resolution, channels)}',
    key=key,
    here=here,
    count=len(paths),
    fields=fields,
    fetch=lambda rows: rows,
    decode=decode,
    names=tuple(paths),
    explain=lambda row: explain(load, row),
    place=data_dir,
  )
  info = {
    'dataset': 'folder',
    'listing_sha256': content,  # of names, sizes and times, not of what the files hold
    'class_names': class_names,
  }
  return table, info


def place(path: str | os.PathLike) -> str:
  """A folder's or archive's path as it is recorded and read."""
  return os.path.abspath(os.path.expanduser(path))


def decode_picture(
  content: bytes, resolution: int | Sequence[int] | None, channels: int
) -> np.ndarray:
  """A user's picture, as a file holds it, uint8 [height, width, C]: turned as EXIF says, else see `pixels.prepare`."""
  with PIL.Image.open(io.BytesIO(content)) as image:
    return pixels.prepare(image, resolution, channels, rotate=True)


def identify(*listings: tuple[Folder | Archive, Sequence[str]]) -> list[str]:
  """[sha256 of names, sizes and times of files, sha256 of what they are on this host] of (files, paths) after (...)."""
  digests = hashlib.sha256(), hashlib.sha256()
  for files, paths in listings:
    for parts in files.identify(paths):
      for digest, part in zip(digests, parts):
        digest.update(part.encode(errors='surrogateescape'))
  return [digest.hexdigest() for digest in digests]


def find(top: str | os.PathLike) -> tuple[list[str], list[str] | None, np.ndarray | None]:
  """The pictures under a folder or in a zip archive, for training and evaluation alike.

  Links are followed; hidden files and folders are not looked at; files of other endings are counted in a line.
  `dataset.json` or `labels.csv` in `top` gives labels, see `labels`; else the folders in `top` do, sorted.

  Returns:
    (paths relative to `top`, sorted, with '/'; names of the classes; int32 label of each), the latter two None where
    there are no labels.

  Raises:
    UserError: no images, images both directly in `top` and in folders, or labels that are not understood.
  """
  return _sort(open_files(top), top)[:3]


def _sort(files, top, beside=()):
  """What `find` returns, and the name of the file that labels come from, if one does."""
  paths, others = [], collections.Counter()
  for name in files.names:
    if name.lower().endswith(EXTENSIONS):
      paths.append(name)
    elif name not in labels.NAMES and not name.lower().endswith(beside):
      others[os.path.splitext(name)[1] or 'no ending'] += 1
  unread = ', '.join(f'{count:,} with {ending}' for ending, count in others.most_common(5))
  if not paths:
    unread = f'; of other files there are {unread}' if unread else ''
    raise UserError(
      f'no images in {top}: looked for {" ".join(EXTENSIONS)} in it and below{unread}'
    )
  if unread:
    logging.warning('files in %s that were not read: %s', top, unread)
  if files.repeated:
    logging.warning(
      'links in %s to folders that are read by another name: %s', top, ', '.join(files.repeated[:5])
    )
  named = [name for name in labels.NAMES if name in files.names]
  if len(named) > 1:
    raise UserError(f'{top} has labels in {" and ".join(named)}: keep one of them')
  if named:
    path = os.path.join(top, named[0])
    try:
      content = files.read(named[0])
    except Exception as e:  # noqa: BLE001 (whatever a damaged archive raises)
      raise UserError(f'{path} cannot be read: {e}') from e
    return paths, *labels.read(path, content, paths), named[0]
  return paths, *classes_of(paths, top, 'images'), None


def classes_of(
  paths: Sequence[str], top: str | os.PathLike, what: str
) -> tuple[list[str] | None, np.ndarray | None]:
  """(names of the classes, int32 label of each) of files, called `what`, in folders below `top`; None twice of none.

  Raises:
    UserError: files both directly in `top` and in folders.
  """
  classes = [path.split('/')[0] for path in paths if '/' in path]
  if not classes:
    return None, None
  class_names = sorted(set(classes))
  if len(classes) < len(paths):
    raise UserError(
      f'{top} has {len(paths) - len(classes):,} {what} beside its class folders ({", ".join(class_names[:3])}...): '
      'move them into a folder, or use a directory with either'
    )
  numbers = {name: i for i, name in enumerate(class_names)}
  return class_names, np.array([numbers[name] for name in classes], np.int32)


def explain(load: Callable[[Any], object], row: Any) -> str:
  """Why `load(row)`, which decodes a picture, raises, in a few words."""
  try:
    load(row)
  except Exception as error:  # noqa: BLE001 (Pillow raises anything on a broken file)
    return reason(error)
  return 'it was changed just now'


def reason(error: Exception) -> str:
  """What the decoder of a file says of it, in a line."""
  if isinstance(error, PIL.UnidentifiedImageError):
    return 'no picture, or of a kind that Pillow does not know'
  lines = [' '.join(line.split()) for line in str(error).splitlines()]
  return getattr(error, 'strerror', None) or next(filter(None, lines), type(error).__name__)


def select_whole(
  whole: np.ndarray,
  names: Sequence[str],
  explain: Callable[[int], str],
  data_dir: str | os.PathLike,
  what: str = 'images',
) -> tuple[np.ndarray, list[str]]:
  """Returns (rows of the files that could be decoded, names of the others).

  Args:
    whole: which could be decoded, bool or uint8 [n].
    names: of all.
    explain: row -> why that file could not be decoded.
    data_dir, what: where and what they are, for messages.

  Raises UserError where more than one file in a hundred is broken.
  """
  rows = np.flatnonzero(whole == 0)
  broken = [names[row] for row in rows]
  if broken:
    first = dict(zip(broken[::-1], rows[::-1]))  # rows may be parts of one file
    few = ', '.join(f'{name} ({explain(first[name])})' for name in [*dict.fromkeys(broken)][:3])
    few += ', ...' if len(first) > 3 else ''
    text = f'{len(broken):,} of {len(names):,} {what} in {data_dir} cannot be used: {few}'
    if len(broken) > 0.01 * len(names):
      raise UserError(f'{text}; repair or remove them (up to 1 % are left out)')
    logging.warning('%s; they are left out', text)
  return np.flatnonzero(whole), broken
