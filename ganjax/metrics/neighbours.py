"""Nearest neighbours in feature space: beside the training images closest to them, fakes show memorization."""

import numpy as np

from ganjax.metrics import distances


def nearest(queries: np.ndarray, bank: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
  """(indices, distances), int64 and float64 [n, k]: the k rows of bank [N, d] nearest each of queries [n, d], in order.

  Euclidean; a copy is at 0. UserError if k > N or one is not finite.
  """
  indices, squared = distances.smallest(queries, bank, k)
  return indices, np.sqrt(squared)
