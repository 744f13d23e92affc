"""Improved precision and recall, density and coverage: do fakes lie among reals, and reals among fakes, in features?

Precision and recall: Kynkaanniemi et al. 2019, arXiv:1904.06991, section 2, k = 3, borders inside.
Density and coverage: Naeem et al. 2020, arXiv:2002.09797, section 3, k = 5, borders outside.
"""

import numpy as np

from ganjax.metrics import distances


def prdc(
  real: np.ndarray,
  fake: np.ndarray,
  *,
  pr_k: int = 3,
  pr_strict: bool = False,
  dc_k: int = 5,
  dc_strict: bool = True,
) -> dict[str, float]:
  """{'precision', 'recall', 'density', 'coverage'}: floats, ratios of whole counts.

  real: [M, d]; fake: [N, d]. The ball of a row reaches to the k-th nearest other row of its set. precision: share of
  fakes in any real ball; recall: of reals in any fake ball; density: real balls that a fake is in, over dc_k, may
  exceed 1; coverage: share of real balls that hold any fake. strict: a row on a ball's border is outside; who is on one
  is exact, see `distances`. All four as the package prdc and StudioGAN compute them: pr_k=5, pr_strict=True. Takes
  O(M N d) time, bounded memory. UserError if a set has no k-th neighbour, or features disagree in d or are not finite.
  """
  inside_pr, inside_dc = (np.less if strict else np.less_equal for strict in (pr_strict, dc_strict))
  _, real_squared = distances.smallest(real, real, max(pr_k, dc_k), exclude_self=True)
  _, fake_squared = distances.smallest(fake, fake, pr_k, exclude_self=True)
  real_pr, real_dc = (real_squared[:, k - 1] for k in (pr_k, dc_k))
  fake_pr = fake_squared[:, -1]
  precise, recalled, covered = (np.zeros(n, bool) for n in (len(fake), len(real), len(real)))
  dense = 0
  blocks = distances.squared_blocks(real, fake, (real_pr, real_dc), (fake_pr,))
  for rows, columns, squared in blocks:
    precise[columns] |= inside_pr(squared, real_pr[rows, None]).any(0)
    recalled[rows] |= inside_pr(squared, fake_pr[columns]).any(1)
    held = inside_dc(squared, real_dc[rows, None])
    covered[rows] |= held.any(1)
    dense += int(np.count_nonzero(held))
  return {
    'precision': int(precise.sum()) / len(fake),
    'recall': int(recalled.sum()) / len(real),
    'density': dense / (dc_k * len(fake)),
    'coverage': int(covered.sum()) / len(real),
  }
