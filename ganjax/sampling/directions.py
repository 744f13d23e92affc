"""Directions of styles along which pictures change, found without labels."""

from collections.abc import Iterable, Sequence

import jax
import numpy as np

from ganjax.method import Method, TrainState
from ganjax.sampling import styles

KINDS = 'sefa', 'ganspace'


def sefa(affines: Iterable[jax.Array | np.ndarray]) -> np.ndarray:
  """Closed-form factorization (Shen and Zhou 2020, arXiv:2007.06600, equation 4): directions [W, W], one per row.

  Unit directions that change the outputs of the style layers most: eigenvectors of A A^T, the largest eigenvalue
  first. A [W, sum of C] has the weights of all layers side by side, each column of unit length, as in the authors'
  code. Signs are chosen to make the largest number of each direction positive.

  Args:
    affines: the weights [W, C] of the layers, see `method.Styles`.
  """
  A = np.concatenate([np.asarray(x, np.float64) for x in affines], 1)
  A = A / np.maximum(np.linalg.norm(A, axis=0), 1e-12)
  return _signed(np.linalg.eigh(A @ A.T)[1].T[::-1])


def ganspace(w: np.ndarray) -> np.ndarray:
  """Principal components of styles w [N, W] (Härkönen et al. 2020, arXiv:2004.02546, section 2): [W, W], one a row.

  The first has the largest variance. Each has the length of the standard deviation along it, the unit of strengths.
  """
  w = np.asarray(w, np.float64)
  values, vectors = np.linalg.eigh(np.cov(w.T, bias=True))
  return _signed((vectors * np.sqrt(np.maximum(values, 0))).T[::-1])


def _signed(x):
  largest = np.take_along_axis(x, np.abs(x).argmax(1, keepdims=True), 1)
  return np.where(largest < 0, -x, x)


def find(kind: str, method: Method, state: TrainState, layers: Iterable[int]) -> np.ndarray:
  """The directions [W, W] of a kind, of KINDS; for `sefa` from the given layers."""
  if kind == 'ganspace':
    return ganspace(styles.draw(method, state))
  affines = jax.device_get(method.styles.affines(state))
  return sefa([affines[i] for i in layers])


def move(
  rows: dict, directions: np.ndarray, strengths: Sequence[float], layers: Sequence[int] | np.ndarray
) -> dict:
  """Each row moved along each direction by each strength: rows [n * D * S, ...], strength by strength.

  Args:
    rows: with 'w' [n, L, W].
    directions: [D, W].
    strengths: [S].
    layers: layers that move.
  """
  steps = np.asarray(strengths)[None, :, None] * directions[:, None]  # [D, S, W]
  here = np.isin(np.arange(rows['w'].shape[1]), layers)[:, None]
  count = steps.shape[0] * steps.shape[1]
  moved = jax.tree.map(lambda x: np.repeat(x, count, 0), rows)
  steps = np.tile(steps.reshape(count, 1, -1), (len(rows['w']), 1, 1))
  moved['w'] = np.where(here, moved['w'] + steps, moved['w']).astype(rows['w'].dtype)
  return moved
