"""Mode counts and divergences against closed forms."""

import math

import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics.modes import kl_to_uniform, mixture_modes, modes

RNG = np.random.default_rng(0)
GRID = np.stack(np.meshgrid([-4, -2, 0, 2, 4], [-4, -2, 0, 2, 4]), -1).reshape(-1, 2)
RING = 2 * np.stack([f(np.arange(8) * np.pi / 4) for f in (np.cos, np.sin)], -1)


def test_counts_and_divergence_of_known_shares():
  labels = np.repeat([0, 3, 9], [2, 1, 1])
  assert modes(labels, 10) == 3
  expected = 0.5 * math.log(5) + 2 * 0.25 * math.log(2.5)
  assert kl_to_uniform(labels, 10) == pytest.approx(expected, rel=1e-12)
  everything = RNG.permutation(np.repeat(np.arange(1000), 26))
  assert modes(everything, 1000) == 1000
  assert kl_to_uniform(everything, 1000) == pytest.approx(0, abs=1e-12)
  one = np.full(7, 999)
  assert modes(one, 1000) == 1
  assert kl_to_uniform(one, 1000) == pytest.approx(math.log(1000), rel=1e-12)


def test_the_floor_of_26000_uniform_samples():
  """E[KL] = 999 / 52,000 to first order; twice KL times N is chi-squared, whose deviation is sqrt(2 * 999)."""
  found = [kl_to_uniform(RNG.integers(0, 1000, 26_000), 1000) for _ in range(20)]
  deviation = math.sqrt(2 * 999) / 52_000
  # The next term of the expectation is of order 1 / N^2: 1e-4 here.
  assert abs(np.mean(found) - 999 / 52_000) < 4 * deviation / math.sqrt(20) + 2e-4
  assert 0.5 * deviation < np.std(found) < 2 * deviation


@pytest.mark.parametrize('labels', [[], [[0]], [0.0], [-1, 0], [0, 10]])
def test_labels_that_are_none(labels):
  labels = np.array(labels) if len(labels) else np.zeros(0, int)
  for measure in (modes, kl_to_uniform):
    with pytest.raises(UserError, match=r'integer labels|are not 0\.\.9'):
      measure(labels, 10)


@pytest.mark.parametrize('means, std', [(GRID, 0.05), (RING, 0.02)])
def test_samples_of_the_mixture_itself(means, std):
  which = RNG.integers(0, len(means), 2500)
  samples = means[which] + std * RNG.normal(size=(2500, 2))
  captured, high, reverse_kl = mixture_modes(samples, means, std)
  assert captured == len(means)
  share = 1 - math.exp(-4.5)  # of a Gaussian in two dimensions within 3 std
  assert abs(high - share) < 4 * math.sqrt(share * (1 - share) / 2500)
  assert reverse_kl == pytest.approx(kl_to_uniform(which, len(means)), rel=1e-9)


def test_quality_decides_what_is_captured_and_not_the_balance():
  std = 0.05
  near, far = GRID + [2.99 * std, 0], GRID[3:] + [0, 3.01 * std]
  # Three modes have one good sample each; the others have bad ones, which count for the balance alone.
  assert mixture_modes(np.concatenate([near[:3], far]), GRID, std) == (3, 3 / 25, pytest.approx(0))
  assert mixture_modes(far[:1], GRID, std) == (0, 0.0, pytest.approx(math.log(25)))
  half = np.repeat(near[:2], [3, 1], 0)
  expected = 0.75 * math.log(25 * 0.75) + 0.25 * math.log(25 * 0.25)
  assert mixture_modes(half, GRID, std) == (2, 1.0, pytest.approx(expected))


@pytest.mark.parametrize(
  'samples, message',
  [
    (np.zeros([0, 2]), r'must be \[N, d\]'),
    (np.zeros([4, 3]), r'must be \[N, d\]'),
    (np.zeros(4), r'must be \[N, d\]'),
    (np.array([[0, np.nan]]), 'NaN or infinity'),
  ],
)
def test_samples_that_are_none(samples, message):
  with pytest.raises(UserError, match=message):
    mixture_modes(samples, GRID, 0.05)
