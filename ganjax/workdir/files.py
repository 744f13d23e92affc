"""Files that are written whole or not at all, with errors of one line."""

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from ganjax import UserError


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes `value` as indented JSON, whole or not at all. Raises UserError if it cannot."""
  with replace_file(path) as file:
    file.write(json.dumps(value, indent=2).encode() + b'\n')


@contextlib.contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Gives a binary file that becomes `path`, synced, when the block ends without an error.

  Whatever happens in the block, `path` holds either its old content or all of the new one, and no
  temporary file stays (but after kill -9: `.NAME.<random>.tmp`). Several may write one path: the last to end wins.
  Raises UserError if it cannot be written.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}.tmp')
  with user_errors(path):
    try:
      with open(temporary, 'xb') as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, path)
    finally:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def user_errors(path: str | os.PathLike, advice: str = '') -> Iterator[None]:
  """Turns what the system refuses into one line that names `path`."""
  try:
    yield
  except OSError as error:
    raise UserError(f'could not write {path}: {error.strerror or error}{advice}') from error
