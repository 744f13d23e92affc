"""Euclidean distances between two sets of features, block by block, in memory that does not grow with them.

Blocks are |x|^2 - 2 x.y + |y|^2 by matrix products, in float64 and from an origin amid the data. float32 would take two
thirds of the time and move counts of neighbours by ones.
"""

import numpy as np

from ganjax import UserError

BLOCK = 2048  # rows and columns of a block: 32 MiB of distances


def squared_blocks(x, y):
  """Yields (rows, columns, squared): slices of x [n, d] and y [N, d] and the float64 block [r, c] of squared distances.

  The caller may write into the block. Blocks of equal rows and columns are equal bit for bit, whoever asks; a square of
  0 may come out as small as -1e-13 of the squared norms. UserError where features disagree in d or are not finite.
  """
  if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
    raise UserError(f'features of shapes {x.shape} and {y.shape}: use one network for both')
  origin = x.mean(0, dtype=np.float64)
  for rows in _slices(len(x)):
    a, a_squared = _centre(x[rows], origin)
    for columns in _slices(len(y)):
      b, b_squared = _centre(y[columns], origin)
      block = a @ b.T
      block *= -2
      block += a_squared[:, None]
      block += b_squared
      yield rows, columns, block


def smallest(x, y, k, *, exclude_self=False):
  """(indices, squared distances), both [n, k], of the k rows of y [N, d] nearest each of x [n, d], nearest first.

  exclude_self: x is y, and a row is not its own neighbour, whichever other rows equal it. UserError if k are not there.
  """
  if not 1 <= k <= len(y) - exclude_self:
    raise UserError(f'{k} nearest neighbours among {len(y)} features: evaluate more images')
  indices, squared = np.zeros((len(x), k), np.int64), np.full((len(x), k), np.inf)
  for rows, columns, block in squared_blocks(x, y):
    if exclude_self and rows == columns:
      np.fill_diagonal(block, np.inf)
    take = min(k, block.shape[1])
    near = np.argpartition(block, take - 1, axis=1)[:, :take]
    found = np.hstack([squared[rows], np.take_along_axis(block, near, 1)])
    order = np.argsort(found, axis=1, kind='stable')[:, :k]
    squared[rows] = np.take_along_axis(found, order, 1)
    indices[rows] = np.take_along_axis(np.hstack([indices[rows], near + columns.start]), order, 1)
  return indices, squared


def _slices(n):
  return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def _centre(rows, origin):
  rows = rows.astype(np.float64)
  rows -= origin
  squared = np.einsum('nd,nd->n', rows, rows)
  if not np.isfinite(squared).all():
    raise UserError(
      'features hold NaN or infinity: look at the images; the generator may have diverged'
    )
  return rows, squared
