"""Euclidean distances between two sets of features, block by block, in memory that does not grow with them.

Blocks are |x|^2 - 2 x.y + |y|^2 by matrix products, in float64 and from an origin amid the data. float32 would take two
thirds of the time and move counts of neighbours by ones. Where rounding could decide, a distance is the sum of squares
of differences instead: equal rows are at 0, and ties are ties.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ganjax import UserError

BLOCK = 2048  # rows and columns of a block: 32 MiB of distances
EXACT = 1 << 23  # differences that are squared at once: 64 MiB


def squared_blocks(
  x: np.ndarray,
  y: np.ndarray,
  borders_x: Sequence[np.ndarray] = (),
  borders_y: Sequence[np.ndarray] = (),
) -> Iterator[tuple[slice, slice, np.ndarray]]:
  """Yields (rows, columns, squared): slices of x [n, d] and y [N, d] and the float64 block [r, c] of squared distances.

  The caller may write into the block. A square of 0 may come out as small as -1e-13 of the squared norms, but on a
  border it is what `squared` says. UserError where features disagree in d or are not finite.

  borders_x, borders_y: squared distances that those of a row of x [n], or of y [N], will be compared with.
  """
  if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
    raise UserError(f'features of shapes {x.shape} and {y.shape}: use one network for both')
  origin = x.mean(0, dtype=np.float64)
  # Twice the bound of rounding in a dot product, as a share of both squared norms.
  rounding = 4 * np.finfo(np.float64).eps * max(x.shape[1], 8)
  for rows in _slices(len(x)):
    a, a_squared = _centre(x[rows], origin)
    for columns in _slices(len(y)):
      b, b_squared = _centre(y[columns], origin)
      block = a @ b.T
      block *= -2
      block += a_squared[:, None]
      block += b_squared
      borders = [border[rows, None] for border in borders_x] + [
        border[columns] for border in borders_y
      ]
      if borders:
        error = rounding * (a_squared[:, None] + b_squared)
        near = np.any([np.abs(block - border) <= error for border in borders], axis=0)
        i, j = near.nonzero()
        block[i, j] = squared(x[rows], y[columns], i, j)
      yield rows, columns, block


def squared(x: np.ndarray, y: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
  """Squared distances float64 [p] of x[i] [p, d] and y[j] [p, d]: the same whichever set a row is in, and where."""
  out, size = np.empty(len(i)), max(1, EXACT // x.shape[1])
  for start in range(0, len(i), size):
    part = slice(start, start + size)
    difference = x[i[part]].astype(np.float64) - y[j[part]]
    out[part] = np.square(difference, out=difference).sum(1)
  return out


def smallest(
  x: np.ndarray, y: np.ndarray, k: int, *, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """(indices, squared distances), both [n, k], of the k rows of y [N, d] nearest each of x [n, d], nearest first.

  The distances are those of `squared`: 0 for a copy. exclude_self: x is y, and a row is not its own neighbour,
  whichever other rows equal it. UserError if k are not there.
  """
  if not 1 <= k <= len(y) - exclude_self:
    raise UserError(f'{k} nearest neighbours among {len(y)} features: evaluate more images')
  indices, found = np.zeros((len(x), k), np.int64), np.full((len(x), k), np.inf)
  for rows, columns, block in squared_blocks(x, y):
    if exclude_self and rows == columns:
      np.fill_diagonal(block, np.inf)
    take = min(k, block.shape[1])
    near = np.argpartition(block, take - 1, axis=1)[:, :take]
    both = np.hstack([found[rows], np.take_along_axis(block, near, 1)])
    order = np.argsort(both, axis=1, kind='stable')[:, :k]
    found[rows] = np.take_along_axis(both, order, 1)
    indices[rows] = np.take_along_axis(np.hstack([indices[rows], near + columns.start]), order, 1)
  found = squared(x, y, np.repeat(np.arange(len(x)), k), indices.ravel()).reshape(indices.shape)
  order = np.argsort(found, axis=1, kind='stable')
  return np.take_along_axis(indices, order, 1), np.take_along_axis(found, order, 1)


def _slices(n):
  return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def _centre(rows, origin):
  rows = rows.astype(np.float64)
  rows -= origin
  squares = np.einsum('nd,nd->n', rows, rows)
  if not np.isfinite(squares).all():
    raise UserError(
      'features hold NaN or infinity: look at the images; the generator may have diverged'
    )
  return rows, squares
