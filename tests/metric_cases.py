"""Seeded inputs and the metrics of them, for the golden file's test and for the live one in parity/."""

import numpy as np

from ganjax.metrics import fid, inception_score, kid
from ganjax.metrics.prdc import prdc


def inputs():
  """Features [n, d] float64 of two laws that overlap, more rows than features and fewer, and logits."""
  rng = np.random.default_rng(0)
  mix = rng.normal(size=(64, 64)) / 8
  real = rng.normal(size=(300, 64)) @ mix + 1
  fake = 0.9 * rng.normal(size=(280, 64)) @ mix + 1.1
  return {'real': real, 'fake': fake, 'logits': 3 * rng.normal(size=(203, 50))}


def moments(rows):
  found = fid.Moments()
  found.add(rows)
  return found.mean, found.cov(1)


def ours(real, fake, logits):
  balls = prdc(real, fake)
  return {
    'fid': fid.frechet_distance(*moments(real), *moments(fake)),
    'fid_few': fid.frechet_distance(*moments(real[:50]), *moments(fake[:40])),
    'kid': kid.subsets(real, fake, subsets=10, size=100),
    'is': inception_score.score(logits),
    'is_in_order': inception_score.score(logits, splits=3, shuffle_seed=None),
    'pr': (balls['precision'], balls['recall']),
  }


def assert_equal(found, wanted):
  """1e-9 of FID, 1e-6 with fewer rows than features (references differ so much), else 1e-12; counts exactly."""
  np.testing.assert_allclose(found['fid'], wanted['fid'], rtol=1e-9)
  np.testing.assert_allclose(found['fid_few'], wanted['fid_few'], rtol=1e-6)
  for name in ('kid', 'is', 'is_in_order'):
    np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(found['pr'], wanted['pr'], rtol=0, atol=1e-7)  # float32 ratios there
