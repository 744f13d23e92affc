"""Forty examples of a kind of data, by seed, in memory; 'unpaired' domains are of 40 and 28."""

import functools

import numpy as np

from ganjax.data.source import Source, gather, indices
from ganjax.media import Field

SHAPES = {
  'clip': Field('clip', (3, 8, 12, 1), 10),
  'sound': Field('sound', (64, 1), 8000),
  'solid': Field('solid', (6, 4, 8, 1)),
  'vector': Field('vector', (5,)),
  'text': Field('text', (6,)),
  'source': Field('image', (8, 12, 1)),
  'target': Field('image', (8, 12, 3)),
}
COUNTS = {'target': 28}


def fields(*, has) -> dict:
  return {name: SHAPES[name] for name in has}


def build(*, has, split, paired=True):
  rng, known = np.random.default_rng(split != 'train'), fields(has=has)

  def draw(name, field):
    count = 40 if paired else COUNTS.get(name, 40)
    if field.dtype == np.float32:
      return rng.normal(size=(count, *field.shape)).astype(np.float32)
    high = 2 if field.dtype == bool else 200
    return rng.integers(0, high, (count, *field.shape)).astype(field.dtype)

  arrays = {name: draw(name, field) for name, field in known.items()}
  lengths = [len(array) for array in arrays.values()]

  def read(rows, names):
    """Rows [n], or [n, fields] with one of each field's own."""
    rows = np.broadcast_to(rows.T, (len(lengths), len(rows)))
    own = {name: row % n for name, row, n in zip(arrays, rows, lengths)}
    return {name: np.take(arrays[name], own[name], axis=0) for name in names}

  def order(seed, start, count):
    """Each domain has its own: position p of one is far into its second epoch where another is in its first."""
    own = [indices(seed + i, start, count, n) for i, n in enumerate(lengths)]
    return np.stack(own, 1)

  return Source(
    read_rows=functools.partial(gather, arrays) if paired else read,
    rows=np.arange(max(lengths)),
    fields=known,
    class_names=None,
    info={'dataset': 'toy', 'has': list(has)},
    order=None if paired else order,
  )
