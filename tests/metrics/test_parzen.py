"""The Parzen window log-likelihood against SciPy's densities."""

import numpy as np
import pytest
from scipy import special, stats

from ganjax.metrics import parzen


def test_log_likelihood_is_of_a_mixture_of_gaussians():
  rng = np.random.default_rng(0)
  samples, x, sigmas = rng.random((7, 5)), rng.random((4, 5)), np.array([0.1, 0.4])
  found = parzen.log_likelihood(samples, x, sigmas)
  for row, sigma in zip(found, sigmas):
    each = stats.norm.logpdf(x[:, None], samples, sigma).sum(2)
    np.testing.assert_allclose(row, special.logsumexp(each, 1) - np.log(7), rtol=1e-10)


def test_pictures_are_taken_in_parts(monkeypatch):
  rng = np.random.default_rng(1)
  samples, x = rng.random((7, 5)), rng.random((9, 5))
  whole = parzen.log_likelihood(samples, x, parzen.SIGMAS)
  monkeypatch.setattr(parzen, 'ROWS', 4)
  np.testing.assert_allclose(parzen.log_likelihood(samples, x, parzen.SIGMAS), whole, rtol=1e-12)


def test_each_half_is_measured_at_the_width_that_suits_the_other():
  """Every other picture is noisier: it wants a wider window, and the first ones are measured at that."""
  rng = np.random.default_rng(2)
  samples = rng.integers(0, 256, (40, 6, 6, 1)).astype(np.uint8)
  spread = np.where(np.arange(40) % 2, 90, 10)[:, None, None, None]
  x = np.clip(samples + spread * rng.standard_normal(samples.shape), 0, 255).astype(np.uint8)
  mean, error, (even, odd) = parzen.measure(samples, x)
  assert odd < even
  each = parzen.log_likelihood(
    samples.reshape(40, -1) / 255, x.reshape(40, -1) / 255, np.array([even, odd])
  )
  each = np.concatenate([each[0, ::2], each[1, 1::2]])
  assert mean == pytest.approx(each.mean(), rel=1e-9)
  assert error == pytest.approx(each.std() / 40**0.5, rel=1e-9)
