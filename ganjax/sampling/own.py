"""A user's own pictures as examples that samples start from."""

from pathlib import Path

import numpy as np

from ganjax import UserError
from ganjax.data import files, folder
from ganjax.data.source import Source


def pictures(place: str, fields: dict, examples: tuple) -> tuple:
  """The pictures of a file, a folder or a zip archive, brought to the size that a run was trained at.

  Args:
    place: its path.
    fields: {name: media.Field} of the run's data.
    examples: fields that its samples start from, which must be one picture.

  Returns:
    (a Source with that field alone, the pictures' names without their endings).

  Raises:
    UserError: nothing there, broken pictures, or samples that start from more than one picture.
  """
  if len(examples) != 1 or fields[examples[0]].kind != 'image':
    raise UserError(
      f'--source gives one picture a sample, and this run starts from {", ".join(examples)}'
    )
  (name,), top = examples, Path(place).expanduser()
  height, width, channels = fields[name].shape
  if not top.exists():
    raise UserError(f'--source={place} is not there')
  if top.is_dir() or top.suffix == '.zip':
    read, paths = files.open_files(top).read, folder.find(top)[0]
  else:
    read, paths = lambda path: Path(path).read_bytes(), [str(top)]

  def load(path):
    try:
      return folder.decode_picture(read(path), (height, width), channels)
    except Exception as error:  # noqa: BLE001 (Pillow raises anything on a broken file)
      raise UserError(f'{path} cannot be decoded: {error}') from None

  source = Source(
    read_rows=lambda rows, names: {name: np.stack([load(paths[i]) for i in rows])},
    rows=np.arange(len(paths)),
    fields={name: fields[name]},
    class_names=None,
    info={'dataset': str(top)},
  )
  return source, [Path(path).stem for path in paths]
