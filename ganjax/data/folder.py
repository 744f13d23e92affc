"""The user's own images: every picture under a directory, class folders giving labels."""

import hashlib
import os

import numpy as np
import PIL.Image
from absl import logging

from ganjax import UserError
from ganjax.data import pixels
from ganjax.data.cache import Examples

EXTENSIONS = (
  *('.png', '.jpg', '.jpeg', '.jfif', '.webp', '.avif'),
  *('.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm'),
)


def examples(*, data_dir, resolution, channels):
  """Returns (Examples, info) of the images under `data_dir`, in the order of their paths.

  The top-level folders, sorted, are the classes; images lying directly in `data_dir` have no label.
  Field `whole` is 0 where a file could not be decoded. Raises UserError: no such folder, no images in
  it, images both at its top level and in folders.
  """
  if not data_dir:
    raise UserError('data.dataset=folder needs data.data_dir=DIRECTORY: the folder of your images')
  data_dir = os.path.abspath(os.path.expanduser(data_dir))
  if not os.path.isdir(data_dir):
    raise UserError(f'data.data_dir={data_dir} is not a directory')
  paths, class_names, labels = find(data_dir)
  fields = {
    'image': ((resolution, resolution, channels), np.dtype(np.uint8)),
    'whole': ((), np.dtype(np.uint8)),
  }
  if class_names:
    fields['label'] = ((), labels.dtype)

  def decode(rows):
    arrays = {name: np.zeros((len(rows), *shape), dtype) for name, (shape, dtype) in fields.items()}
    for i, row in enumerate(rows):
      try:
        with PIL.Image.open(os.path.join(data_dir, paths[row])) as image:
          arrays['image'][i] = pixels.prepare(image, resolution, channels, rotate=True)
        arrays['whole'][i] = 1
      except Exception as e:  # noqa: BLE001, PERF203 (Pillow raises anything on a broken file)
        logging.debug('%s: %s', paths[row], e)
    if class_names:
      arrays['label'] = labels[np.asarray(rows)]
    return arrays

  content = hashlib.sha256()
  for path in paths:
    stat = os.stat(os.path.join(data_dir, path))
    content.update(f'{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n'.encode(errors='surrogateescape'))
  name = os.path.basename(data_dir) or 'root'
  table = Examples(
    title=f'folder {name} {resolution}x{channels}',
    key={
      'dataset': 'folder',
      'files': content.hexdigest(),
      'size': [resolution, channels],
      'preprocessing': pixels.NAME,
    },
    count=len(paths),
    fields=fields,
    fetch=lambda rows: rows,
    decode=decode,
    names=tuple(paths),
  )
  info = {
    'dataset': 'folder',
    'listing_sha256': content.hexdigest(),  # of names, sizes and times, not of what the files hold
    'class_names': class_names,
  }
  return table, info


def find(top):
  """The pictures under a folder, for training and evaluation alike.

  Links are followed; hidden files and folders are not looked at.

  Returns:
    (paths relative to `top`, sorted, with '/'; names of the classes, sorted; int32 label of each), the latter two None
    where all pictures lie directly in `top`.

  Raises:
    UserError: no images, or images both directly in `top` and in folders.
  """
  paths = sorted(_walk(top))
  if not paths:
    raise UserError(f'no images in {top}: looked for {" ".join(EXTENSIONS)} in it and below')
  classes = [path.split('/')[0] for path in paths if '/' in path]
  if not classes:
    return paths, None, None
  class_names = sorted(set(classes))
  if len(classes) < len(paths):
    raise UserError(
      f'{top} has {len(paths) - len(classes):,} images beside its class folders ({", ".join(class_names[:3])}...): '
      'move them into a folder, or use a directory with either'
    )
  numbers = {name: i for i, name in enumerate(class_names)}
  return paths, class_names, np.array([numbers[name] for name in classes], np.int32)


def select_whole(whole, names, data_dir):
  """Returns (rows of the files that could be decoded, names of the others).

  Raises UserError where more than one file in a hundred is broken.
  """
  broken = [names[row] for row in np.flatnonzero(whole == 0)]
  if broken:
    few = ', '.join(broken[:5]) + (', ...' if len(broken) > 5 else '')
    text = f'{len(broken):,} of {len(names):,} images in {data_dir} cannot be decoded: {few}'
    if len(broken) > 0.01 * len(names):
      raise UserError(f'{text}; mend or remove them (up to 1 % are left out)')
    logging.warning('%s; they are left out', text)
  return np.flatnonzero(whole), broken


def _walk(top):
  seen = set()
  for directory, folders, files in os.walk(top, followlinks=True):
    seen.add(os.path.realpath(directory))
    folders[:] = [
      name
      for name in folders
      if name[0] != '.' and os.path.realpath(os.path.join(directory, name)) not in seen
    ]
    for name in files:
      if name[0] != '.' and name.lower().endswith(EXTENSIONS):
        yield os.path.relpath(os.path.join(directory, name), top).replace(os.sep, '/')
