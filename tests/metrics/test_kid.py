"""KID against its definition. The reference's random draws are held by test_golden_metrics.py."""

import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics import kid

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(70, 12)), RNG.normal(0.3, 1.2, size=(50, 12))


def definition(x, y):
  kernel = lambda a, b: (a @ b / len(a) + 1) ** 3
  within = lambda s: np.mean(
    [kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]
  )
  return within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])


@pytest.mark.parametrize('block', [2048, 16])
def test_full_is_the_unbiased_estimate_over_all_pairs(monkeypatch, block):
  monkeypatch.setattr(kid, 'BLOCK', block)
  np.testing.assert_allclose(kid.full(REAL, FAKE), definition(REAL, FAKE), rtol=1e-12)


def test_subsets_of_everything_are_the_full_estimate():
  mean, std = kid.subsets(REAL[:50], FAKE, subsets=3, size=50)
  np.testing.assert_allclose(mean, kid.full(REAL[:50], FAKE), rtol=1e-12)
  assert std < 1e-14


def test_subsets_scatter_round_the_full_estimate():
  mean, std = kid.subsets(REAL, FAKE, subsets=400, size=20, seed=1)
  assert abs(mean - kid.full(REAL, FAKE)) < 4 * std / 20
  assert kid.subsets(REAL, FAKE, subsets=400, size=20, seed=2) != (mean, std)


def test_float32_features_are_computed_in_float64():
  real, fake = REAL.astype(np.float32), FAKE.astype(np.float32)
  assert kid.full(real, fake) == kid.full(real.astype(np.float64), fake.astype(np.float64))


def test_bad_input_is_one_line():
  with pytest.raises(UserError, match='more images or use smaller subsets'):
    kid.subsets(REAL, FAKE, size=51)
  with pytest.raises(UserError, match='one network'):
    kid.full(REAL, FAKE[:, :5])
  with pytest.raises(UserError, match='NaN'):
    kid.full(REAL, FAKE * np.nan)
