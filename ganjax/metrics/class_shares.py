"""Whether samples fall into the classes of the data as often: the bias of a generator, seen by a feature network.

The class of a picture is that of the real picture nearest to it in feature space. So are the classes of the reals
found, by the other reals: what the network confuses, it confuses on both sides.
"""

import numpy as np

from ganjax.metrics import neighbours


def measure(
  real: np.ndarray, fake: np.ndarray, labels: np.ndarray, names: list[str]
) -> tuple[float, dict[str, float]]:
  """(how much of the fakes would have to change class, {name: share of the fakes minus share of the reals}).

  The first is the total variation of the two shares, from 0 to 1; the second has the largest differences first.

  Args:
    real, fake: features [N, d] and [M, d], N at least 2.
    labels: int [N], below 0 for a real without a class, which is left out.
    names: of the labels 0, 1, ...
  """
  real, labels = real[labels >= 0], labels[labels >= 0]
  found = neighbours.nearest(fake, real, 1)[0][:, 0], _other(real)
  of_fake, of_real = (np.bincount(labels[rows], minlength=len(names)) / len(rows) for rows in found)
  moved = of_fake - of_real
  order = np.argsort(-np.abs(moved), kind='stable')
  return float(np.abs(moved).sum() / 2), {str(names[i]): float(moved[i]) for i in order}


def _other(real) -> np.ndarray:
  """Of each row the nearest other one, int [N]: of copies, one is not the row itself."""
  first, second = neighbours.nearest(real, real, 2)[0].T
  return np.where(first == np.arange(len(real)), second, first)
