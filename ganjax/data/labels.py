"""Labels from a file beside the pictures, which count instead of folders.

`dataset.json` is that of NVIDIA's GANs (github.com/NVlabs/stylegan3, dataset_tool.py):
{"labels": [["00000/img00000000.png", 6], ...]}, or null where there are none. `labels.csv` has lines `file,label`, with
a number or the name of a class; the first may be a heading. Files are named by their paths from there, with '/'.
"""

import csv
import io
import json
import posixpath
import re
from collections.abc import Sequence

import numpy as np

from ganjax import UserError

NAMES = ('dataset.json', 'labels.csv')
MOST = 1_000_000  # classes, beyond which numbers are taken for something else


def read(
  path: str, content: bytes, pictures: Sequence[str]
) -> tuple[list[str], np.ndarray] | tuple[None, None]:
  """Returns (names of the classes, int32 label of each picture), or (None, None) where the file has null for labels.

  Numbers are the labels, and of n the largest is n - 1; names are numbered in their order.

  Args:
    path: of the file, for messages.
    content: its bytes.
    pictures: their paths.

  Raises:
    UserError: not understood, not a label for each picture, or two for one.
  """
  try:
    rows = (_json if path.endswith('.json') else _csv)(content.decode('utf-8-sig'))
  except (ValueError, csv.Error) as e:
    raise UserError(f'{path} is not understood: {e}; correct or remove it') from e
  if rows is None:
    return None, None
  found = {}
  for name, label in rows:
    name = posixpath.normpath(name.replace('\\', '/'))
    if found.setdefault(name, label) != label:
      raise UserError(f'{path} gives {name} two labels, {found[name]} and {label}')
  without = [name for name in pictures if name not in found]
  if without:
    raise UserError(
      f'{path} has no label for {len(without):,} of {len(pictures):,} pictures, such as {without[0]}'
    )
  labels = [found[name] for name in pictures]
  if all(isinstance(label, int) for label in labels):
    if not 0 <= min(labels) <= max(labels) < MOST:
      raise UserError(
        f'{path} has labels from {min(labels)} to {max(labels)}: classes are numbered from 0, and at most {MOST:,}'
      )
    names = [str(number) for number in range(max(labels) + 1)]
  else:
    names = sorted({str(label) for label in labels})
    numbers = {name: number for number, name in enumerate(names)}
    labels = [numbers[str(label)] for label in labels]
  return names, np.array(labels, np.int32)


def _json(text):
  table = json.loads(text)
  if not isinstance(table, dict) or 'labels' not in table:
    raise ValueError('it is no object with "labels"')
  for row in table['labels'] or []:
    if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
      raise ValueError(f'{str(row)[:80]} among its labels is no pair of file and label')
    if not isinstance(row[1], int) or isinstance(row[1], bool):
      raise ValueError(f'the label of {row[0]}, {str(row[1])[:80]}, is no whole number')
  return table['labels']


def _csv(text):
  reader = csv.reader(io.StringIO(text, newline=''), strict=True)
  rows = []
  for row in filter(None, reader):
    if len(row) != 2 or not all(cell.strip() for cell in row):
      raise ValueError(f'line {reader.line_num} is not file,label')
    rows.append([cell.strip() for cell in row])
  if rows and '.' not in rows[0][0]:
    del rows[0]  # a heading
  numbers = all(re.fullmatch('-?[0-9]+', label) for _, label in rows)
  return [(name, int(label)) for name, label in rows] if numbers else rows
