"""Solids: procedural boxes, tori, chairs, tables and planes of random proportions, as voxels; or your own files.

A procedural solid is a pure function of its index and of the split, which is its seed. A voxel is inside the solid if
its centre is.
"""

import functools

import numpy as np

from ganjax import UserError, media
from ganjax.data import domains, voxels
from ganjax.data.source import Source, gather

SPLITS = 'train', 'test'
CLASSES = 'box', 'torus', 'chair', 'table', 'plane'
_SOLIDS = 13  # a purpose of a random stream, see `data.source`


def fields(*, resolution: int) -> dict:
  """A solid of `resolution` voxels a side, and its class."""
  if not isinstance(resolution, int) or not 4 <= resolution <= 256:
    raise UserError(f'data.resolution={resolution!r} must be a number of voxels from 4 to 256')
  return {
    'solid': media.Field('solid', (resolution,) * 3 + (1,)),
    'label': media.Field('label', ()),
  }


def build(*, data_dir: str | None, resolution: int, split: str, count: int = 2000) -> Source:
  """In memory, a byte a voxel.

  Args:
    data_dir: a folder or archive of your own .npz and .binvox files, see `ganjax.data.voxels`. They are resized to the
      resolution, and folders in it are classes. None: procedural solids.
    resolution: voxels of a side.
    split: 'train' or 'test', with different seeds; your own files have only 'train'.
    count: number of procedural solids.

  Raises:
    UserError: another split, no such files, files that do not read.
  """
  known, info = fields(resolution=resolution), {'dataset': 'solids', 'resolution': resolution}
  if not isinstance(count, int) or count < 1:
    raise UserError(f'data.count={count!r} must be a whole number from 1')
  splits = SPLITS[:1] if data_dir else SPLITS
  if split not in splits:
    raise UserError(f'solids has no split {split!r}; it has: {", ".join(splits)}')
  if data_dir:
    arrays, names, more, here = voxels.read_all(data_dir, resolution)
    info |= more
  else:
    arrays, names, here = draw(count, SPLITS.index(split), resolution), CLASSES, ''
    info |= {'count': count, 'version': 1}
  return Source(
    read_rows=functools.partial(gather, arrays),
    rows=np.arange(len(arrays['solid'])),
    fields={name: known[name] for name in arrays},
    class_names=names,
    info=info,
    here=here,
  )


def draw(count: int, seed: int, resolution: int) -> dict:
  """{'solid': bool [count, S, S, S, 1], 'label': int32 [count]}: the class changes fastest."""
  words = domains.draws(seed, 0, 2 * count, _SOLIDS).reshape(count, 8) / 2**64
  centre = (np.arange(resolution) + 0.5) / resolution * 2 - 1
  grid = np.meshgrid(centre, centre, centre, indexing='ij', sparse=True)
  label = np.arange(count, dtype=np.int32) % len(CLASSES)
  forms = _box, _torus, _chair, _table, _plane
  shape = (resolution,) * 3
  solids = [np.broadcast_to(forms[k](*grid, *own), shape) for k, own in zip(label, words)]
  return {'solid': np.stack(solids)[..., None], 'label': label}


def _block(x, y, z, low, high):
  """Inside of a block between two corners."""
  inside = True
  for value, a, b in zip((x, y, z), low, high):
    inside = inside & (a <= value) & (value < b)
  return inside


def _box(x, y, z, a, b, c, *_):
  a, b, c = (0.35 + 0.45 * share for share in (a, b, c))
  return _block(x, y, z, (-a, -b, -c), (a, b, c))


def _torus(x, y, z, wide, thick, *_):
  wide, thick = 0.45 + 0.2 * wide, 0.17 + 0.13 * thick
  return (np.hypot(x, y) - wide) ** 2 + z**2 <= thick**2


def _legs(x, y, z, a, b, leg, top):
  """Four legs from the floor at the corners of a rectangle of half sides a and b."""
  corners = (abs(x) >= a - leg) & (abs(x) < a) & (abs(y) >= b - leg) & (abs(y) < b)
  return corners & (z >= -0.85) & (z < top)


def _chair(x, y, z, a, b, seat, back, leg, slab, *_):
  a, b, seat, back = 0.35 + 0.2 * a, 0.35 + 0.2 * b, -0.25 + 0.3 * seat, 0.5 + 0.4 * back
  leg, slab = 0.13 + 0.1 * leg, 0.14 + 0.08 * slab
  return (
    _legs(x, y, z, a, b, leg, seat)
    | _block(x, y, z, (-a, -b, seat), (a, b, seat + slab))
    | _block(x, y, z, (-a, b - slab, seat), (a, b, back))
  )


def _table(x, y, z, a, b, top, leg, slab, *_):
  a, b, top = 0.55 + 0.3 * a, 0.45 + 0.3 * b, 0.0 + 0.4 * top
  leg, slab = 0.13 + 0.1 * leg, 0.14 + 0.1 * slab
  return _legs(x, y, z, a, b, leg, top) | _block(x, y, z, (-a, -b, top), (a, b, top + slab))


def _plane(x, y, z, long, thick, span, chord, at, fin, *_):
  """Nose towards +X: a round body, wings, a tail with a fin."""
  long, thick, span, chord = (
    0.65 + 0.2 * long,
    0.13 + 0.08 * thick,
    0.6 + 0.3 * span,
    0.2 + 0.15 * chord,
  )
  at, fin, flat = -0.05 + 0.2 * at, 0.3 + 0.25 * fin, 0.07
  return (
    (np.hypot(y, z) <= thick) & (abs(x) < long)
    | _block(x, y, z, (at - chord, -span, -flat), (at + chord, span, flat))
    | _block(x, y, z, (-long, -0.35, -flat), (-long + 0.22, 0.35, flat))
    | _block(x, y, z, (-long, -flat, 0), (-long + 0.22, flat, fin))
  )
