"""Records of evaluations on disk: `evaluations.jsonl` in a workdir, one JSON object a line."""

import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganjax import UserError
from ganjax.evaluation.presets import higher_is_better
from ganjax.workdir.files import replace_file, user_errors

NAME = 'evaluations.jsonl'


def append(path: str | Path, records: Iterable[dict[str, Any]]) -> None:
  """Appends records, synced. Raises UserError where that fails."""
  lines = ''.join(json.dumps(record) + '\n' for record in records).encode()
  with user_errors(path), _open_locked(path) as file:
    if file.tell() and (file.seek(-1, os.SEEK_END), file.read())[1] != b'\n':
      file.write(b'\n')  # a line that was cut short by a kill ends there
    file.write(lines)
    file.flush()
    os.fsync(file.fileno())


def _open_locked(path):
  """The file at `path`, made if missing, open for appending and locked until it is closed."""
  while True:
    file = open(path, 'a+b')  # noqa: SIM115 (the caller closes it)
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
      return file
    file.close()  # replaced while this waited


def read(workdir: str | Path) -> list:
  """All whole records of a workdir, or of a file of them, in the order of writing; [] where there are none."""
  path = Path(workdir)
  path = path if path.is_file() else path / NAME
  out = []
  for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
    try:
      record = json.loads(line)
    except ValueError:
      continue  # cut short by a kill
    if line.endswith(b'\n') and isinstance(record, dict) and 'values' in record:
      real = record.get('real') or {}
      if 'files_sha256' in real:  # 0.4.0's name of it
        real['listing_sha256'] = real.pop('files_sha256')
      out.append(record)
  return out


def drop_after(workdir: str | Path, step: int) -> None:
  """Drops what training evaluated after `step`, which a resume from there will evaluate again."""
  path = Path(workdir, NAME)
  if not path.exists():
    return
  with user_errors(path), _open_locked(path):
    records = read(workdir)
    kept = [r for r in records if r.get('by') != 'training' or r['step'] <= step]
    if len(kept) < len(records):
      with replace_file(path) as file:
        file.write(''.join(json.dumps(r) + '\n' for r in kept).encode())


def best(points: Sequence[tuple[int, float]], value: str) -> tuple[int, float] | None:
  """The best (step, number) of [(step, number)], the first of equals; None for a value without a good end."""
  higher = higher_is_better(value)
  if higher is None:
    return None
  pick = max if higher else min
  return pick(points, key=lambda point: point[1])


def table(rows: Iterable[Sequence], head: Sequence[str]) -> str:
  """Rows of text as aligned columns: the first to the left, numbers to the right."""
  rows = [list(map(str, row)) for row in (head, *rows)]
  widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
  numeric = [all(_is_number(row[i]) for row in rows[1:]) for i in range(len(head))]
  lines = [
    '  '.join(
      cell.rjust(width) if right else cell.ljust(width)
      for cell, width, right in zip(row, widths, numeric)
    ).rstrip()
    for row in rows
  ]
  return '\n'.join(lines)


def _is_number(text) -> bool:
  return (
    text.replace(',', '').replace('.', '').replace('-', '').replace('e', '').isdigit()
    or text == '-'
  )


def number(value: float | list[float] | None) -> str:
  """A value as tables show it: 6 significant digits; of a list of several seeds' values mean and deviation."""
  if isinstance(value, list):
    return f'{np.mean(value):.6g} +- {np.std(value, ddof=1):.3g}'
  return '-' if value is None else f'{value:.6g}'


def check_path(path: str | Path) -> None:
  """Raises UserError where records cannot be written, before an hour is spent."""
  try:
    _open_locked(path).close()
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}') from None
