"""What can be said of solids bool [N, X, Y, Z]: whether they hang together, and how near those of the data are.

Coverage is that of Achlioptas et al. 2018 (arXiv:1707.02392, section 2), with the intersection over the union in place
of distances of points.
"""

import numpy as np
import scipy

LEAST = 0.95  # of a solid that hangs together, in its largest piece


def validity(x: np.ndarray) -> float:
  """The share of solids of which one piece, joined by faces, holds 95 % of the voxels; the empty are not."""
  return float(np.mean([_in_one_piece(one) for one in x]))


def _in_one_piece(x) -> bool:
  pieces, count = scipy.ndimage.label(x)
  sizes = np.bincount(pieces.ravel())[1:]
  return count > 0 and bool(sizes.max() >= LEAST * sizes.sum())


def overlaps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Intersection over union of each of x with each of y, float32 [N, M]; of two empty ones 0."""
  a, b = (z.reshape(len(z), -1).astype(np.float32) for z in (x, y))
  both = a @ b.T
  union = a.sum(1)[:, None] + b.sum(1)[None] - both
  return both / np.maximum(union, 1)


def coverage(overlap: np.ndarray) -> float:
  """The share of the M solids of the data that are the nearest of one of the N, of `overlaps` [N, M]."""
  return float(len(np.unique(overlap.argmax(1))) / overlap.shape[1])
