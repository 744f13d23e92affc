"""Inception score: exp of the mutual information between an image and the class that a classifier sees in it.

Salimans et al. 2016, arXiv:1606.03498, section 4. In float64.
"""

import numpy as np

from ganjax import UserError

SPLIT = 5000  # rows of one of ADM's splits


def score(
  logits: np.ndarray, *, splits: int | None = 10, ddof: int = 0, shuffle_seed: int | None = 2020
) -> tuple[float, float]:
  """(mean, standard deviation) over the splits of exp(mean KL(p(y|x) || p(y))): two floats.

  logits: [N, K], any float type (the FID network's 1008, without its bias). splits: see `edges`. shuffle_seed: rows are
  permuted first, as torch-fidelity does, which matters where images come sorted by class; None keeps their order.
  ddof: of the standard deviation, which is 0 for one split. UserError if splits exceed rows, or logits are not finite.
  """
  logits = np.asarray(logits)
  n = len(logits)
  bounds = edges(n, splits)
  if not np.isfinite(logits).all():
    raise UserError(
      'logits hold NaN or infinity: look at the images; the generator may have diverged'
    )
  order = np.arange(n)
  if shuffle_seed is not None:
    order = np.random.RandomState(shuffle_seed).permutation(n)  # noqa: NPY002, the reference's draws
  found = []
  for start, stop in bounds:
    rows = logits[order[start:stop]].astype(np.float64)
    rows -= rows.max(1, keepdims=True)
    log_p = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    p = np.exp(log_p)
    # A class whose every p underflowed to 0 contributes 0, not 0 * infinity.
    log_mean = np.log(np.maximum(p.mean(0), np.finfo(np.float64).tiny))
    found.append(np.exp((p * (log_p - log_mean)).sum(1).mean()))
  return float(np.mean(found)), float(np.std(found, ddof=ddof if len(bounds) > 1 else 0))


def edges(n: int, splits: int | None) -> list[tuple[int, int]]:
  """(first row, row after the last) of each split of n rows.

  splits: how many, split i from row i * n // splits; or None, for 5,000 rows each and the last the rest, as ADM's
  evaluator cuts them (Dhariwal and Nichol 2021, arXiv:2105.05233). UserError if splits exceed rows.
  """
  if not 1 <= (1 if splits is None else splits) <= n:
    raise UserError(f'{splits or 1} splits of {n} images: evaluate more images or use fewer splits')
  cuts = (
    [*range(0, n, SPLIT), n] if splits is None else [i * n // splits for i in range(splits + 1)]
  )
  return list(zip(cuts, cuts[1:]))
