"""Kernel Inception distance: unbiased squared MMD of features under the kernel (x.y / d + 1)^3.

Binkowski et al. 2018, arXiv:1801.01401, section 4. In float64. Unbiased: small negative values are valid.
"""

import numpy as np

from ganjax import UserError

BLOCK = 2048  # rows of a block of the full estimate: 32 MiB of kernel values


def subsets(
  real: np.ndarray, fake: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
  """(mean, standard deviation) of the distance over random subsets: two floats.

  real: [M, d]; fake: [N, d]; each subset draws `size` rows of either without replacement, fake's first: these are
  torch-fidelity's draws with its input1 the fakes, from RandomState(seed). UserError if a set is smaller than `size`.
  """
  _check(real, fake, size)
  rng = np.random.RandomState(seed)  # noqa: NPY002, the draws of the reference implementation
  found = []
  for _ in range(subsets):
    y = fake[rng.choice(len(fake), size, replace=False)]
    x = real[rng.choice(len(real), size, replace=False)]
    found.append(full(x, y))
  return float(np.mean(found)), float(np.std(found))


def full(real: np.ndarray, fake: np.ndarray) -> float:
  """The distance from all pairs, a float: what the mean over subsets estimates, without its noise.

  real: [M, d]; fake: [N, d]. Memory beside them is bounded. UserError if a set has fewer than 2 rows, or NaN.
  """
  _check(real, fake, 2)
  m, n = len(real), len(fake)
  within = _sum_within(real) / (m * (m - 1)) + _sum_within(fake) / (n * (n - 1))
  between = sum(_kernel(x, y).sum() for x in _blocks(real) for y in _blocks(fake)) / (m * n)
  distance = float(within - 2 * between)
  if not np.isfinite(distance):
    raise UserError(
      'features hold NaN or infinity: look at the images; the generator may have diverged'
    )
  return distance


def _check(real, fake, size):
  if real.shape[1] != fake.shape[1]:
    raise UserError(
      f'features of {real.shape[1]} and {fake.shape[1]} numbers: use one network for both'
    )
  if min(len(real), len(fake)) < size:
    raise UserError(
      f'KID of {size} rows from {len(real)} real and {len(fake)} fake features: evaluate more images '
      'or use smaller subsets'
    )


def _blocks(features):
  for start in range(0, len(features), BLOCK):
    yield np.asarray(features[start : start + BLOCK], np.float64)


def _kernel(x, y):
  base = x @ y.T
  base /= x.shape[1]
  base += 1
  cube = base * base
  cube *= base
  return cube


def _sum_within(features):
  """Sum of the kernel over ordered pairs of different rows."""
  total = 0.0
  for i, x in enumerate(_blocks(features)):
    kernel = _kernel(x, x)
    total += kernel.sum() - np.trace(kernel)
    total += 2 * sum(_kernel(x, y).sum() for y in _blocks(features[(i + 1) * BLOCK :]))
  return total
