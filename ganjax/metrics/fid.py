"""Frechet distance between Gaussians fitted to features: FID on the FID network's pool3, sFID on its spatial features.

Heusel et al. 2017, arXiv:1706.08500, equation (6). Everything in float64. Tr (S1 S2)^(1/2) is the sum of the singular
values of A1^T A2 where S = A A^T: no matrix square root is taken, and fewer rows than features need no special case.
"""

import numpy as np
import scipy
from threadpoolctl import threadpool_limits

from ganjax import UserError

CHUNK = 1024  # rows summed at once


class Moments:
  """Mean and covariance of rows that arrive in batches, in one pass.

  Rows are summed in chunks aligned on the row's index, so the result is the same bit for bit however they were split
  into batches. They are centred on the first row, which costs nothing and keeps digits where means are large.
  """

  def __init__(self) -> None:
    self.n = 0
    self._rows = None

  def add(self, features: np.ndarray) -> None:
    """features: [n, d], any float type, n may differ from call to call. UserError if it holds NaN or infinity."""
    features = np.asarray(features)
    if features.ndim != 2 or (self._rows is not None and features.shape[1] != self._rows.shape[1]):
      raise UserError(f'features must be [n, d] with one d throughout; got {features.shape}')
    while len(features):
      filled = self.n % CHUNK
      rows, features = features[: CHUNK - filled], features[CHUNK - filled :]
      rows = rows.astype(np.float64)
      if not np.isfinite(rows).all():
        raise UserError(
          f'features of rows {self.n} to {self.n + len(rows) - 1} hold NaN or infinity: '
          'look at the images; the generator may have diverged'
        )
      if self._rows is None:
        d = rows.shape[1]
        self._shift, self._rows = rows[0], np.empty((CHUNK, d))
        self._sum, self._outer = np.zeros(d), np.zeros((d, d))
      self._rows[filled : filled + len(rows)] = rows - self._shift
      self.n += len(rows)
      if self.n % CHUNK == 0:
        self._sum += self._rows.sum(0)
        self._outer += self._rows.T @ self._rows

  @property
  def mean(self) -> np.ndarray:
    """float64 [d]."""
    if not self.n:
      raise UserError('no features were added: there is no mean')
    return self._shift + self._centred_mean()

  def cov(self, ddof: int) -> np.ndarray:
    """float64 [d, d], the sums of squares divided by n - ddof. UserError if that is not positive."""
    if self.n <= ddof:
      raise UserError(f'{self.n} rows have no covariance with ddof {ddof}: evaluate more images')
    rest, mean = self._rows[: self.n % CHUNK], self._centred_mean()
    return (self._outer + rest.T @ rest - self.n * np.outer(mean, mean)) / (self.n - ddof)

  def _centred_mean(self):
    return (self._sum + self._rows[: self.n % CHUNK].sum(0)) / self.n


def factor(cov: np.ndarray) -> np.ndarray:
  """A [d, rank] with A A^T = cov, by Cholesky's decomposition with pivots; compute a reference's once and keep it.

  cov: float64 [d, d], symmetric, positive semidefinite of any rank; its upper triangle is not read. The rank is counted
  down to LAPACK's d * 2.2e-16 of the largest variance.
  """
  lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(np.asarray(cov, np.float64), lower=1)
  A = np.zeros((len(lower), rank))
  A[pivots - 1] = np.tril(lower[:, :rank])
  return A


def frechet_distance(
  mean1: np.ndarray,
  cov1: np.ndarray,
  mean2: np.ndarray,
  cov2: np.ndarray,
  factor1: np.ndarray | None = None,
) -> float:
  """|mean1 - mean2|^2 + Tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)): equation (6), a float.

  means: [d]; covs: [d, d]; factor1: factor(cov1), where it is at hand. Equal statistics give 0 within 1e-12 of the
  traces' sum, on either side. UserError if the shapes disagree or a number is not finite.
  """
  mean1, cov1, mean2, cov2 = (np.asarray(x, np.float64) for x in (mean1, cov1, mean2, cov2))
  if mean1.shape != mean2.shape or cov1.shape != cov2.shape or cov1.shape != 2 * mean1.shape:
    raise UserError(
      f'statistics of {mean1.shape} and {mean2.shape} features with covariances {cov1.shape} and {cov2.shape} '
      'cannot be compared: compute both with the same network'
    )
  if not all(np.isfinite(x).all() for x in (mean1, cov1, mean2, cov2)):
    raise UserError('statistics hold NaN or infinity: compute them again from finite features')
  product = (factor(cov1) if factor1 is None else factor1).T @ factor(cov2)
  rows, columns = product.shape
  gram = product @ product.T if rows <= columns else product.T @ product
  # On one thread 0.7 s at d = 2048; on several, LAPACK's threads wait for one another: 1 to 15 s on a busy machine.
  with threadpool_limits(1, 'blas'):
    roots = np.sqrt(np.linalg.eigvalsh(gram).clip(0))
  difference = mean1 - mean2
  return float(difference @ difference + np.trace(cov1) + np.trace(cov2) - 2 * roots.sum())
