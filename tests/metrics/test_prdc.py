"""Precision, recall, density, coverage and neighbours against plain definitions, closed forms and the package prdc."""

import math

import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics import distances, neighbours
from ganjax.metrics.prdc import prdc

RNG = np.random.default_rng(0)
STUDIOGAN = dict(pr_k=5, pr_strict=True)


@pytest.fixture
def small_blocks(monkeypatch):
  monkeypatch.setattr(distances, 'BLOCK', 32)  # so that 70 rows take three, the last not full


def pairwise(x, y):
  return np.linalg.norm(x[:, None].astype(np.float64) - y, axis=-1)


def test_equal_to_the_definitions(small_blocks):
  real, fake = RNG.normal(size=(70, 5)), RNG.normal(0.2, 0.8, size=(50, 5))
  radius = lambda x, k: np.sort(pairwise(x, x), 1)[:, k]  # the 0th is the row itself
  between = pairwise(real, fake)
  held = between < radius(real, 5)[:, None]
  assert prdc(real, fake) == {
    'precision': (between <= radius(real, 3)[:, None]).any(0).mean(),
    'recall': (between <= radius(fake, 3)).any(1).mean(),
    'density': pytest.approx(held.sum() / (5 * 50), rel=1e-15),
    'coverage': held.any(1).mean(),
  }


def _ties():
  """{case: (real, fake)} in which distances are equal, to 0 or to one another."""
  rng = np.random.default_rng(1)
  real, fake = (rng.normal(size=(n, 64)).astype(np.float32) for n in (150, 120))
  return {
    'a collapsed generator': (real, real[rng.integers(0, 10, 200)]),
    'one real many times': (np.concatenate([np.repeat(real[:1], 100, 0), real]), fake),
    'a real many times on either side': tuple(np.repeat(real[:2], n, 0) for n in (70, 50)),
    'copies in another order': (real, rng.permutation(real)[:90]),
    'whole numbers': tuple(rng.integers(0, 5, (200, 4)).astype(np.float32) for _ in range(2)),
  }


@pytest.mark.parametrize('case', _ties())
@pytest.mark.parametrize('settings', [{}, STUDIOGAN])
def test_ties_are_ties(case, settings, small_blocks):
  real, fake = _ties()[case]
  k, strict = settings.get('pr_k', 3), settings.get('pr_strict', False)

  def square(x, y):
    return np.square(x[:, None].astype(np.float64) - y).sum(-1)

  def border(x, k):
    own = square(x, x)
    np.fill_diagonal(own, np.inf)
    return np.sort(own, 1)[:, k - 1]

  between, inside = square(real, fake), np.less if strict else np.less_equal
  held = between < border(real, 5)[:, None]
  assert prdc(real, fake, **settings) == {
    'precision': inside(between, border(real, k)[:, None]).any(0).mean(),
    'recall': inside(between, border(fake, k)).any(1).mean(),
    'density': pytest.approx(held.sum() / (5 * len(fake)), rel=1e-14),
    'coverage': held.any(1).mean(),
  }
  if case == 'whole numbers' and settings:  # which the package computes exactly
    found = pytest.importorskip('prdc').compute_prdc(real, fake, 5)
    assert prdc(real, fake, **settings) == pytest.approx(found, rel=1e-14)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('k', [3, 5])
def test_equal_to_the_package_prdc(k, dtype, small_blocks):
  package = pytest.importorskip('prdc')
  real = RNG.normal(3, 1, size=(300, 16)).astype(dtype)
  fake = RNG.normal(3.1, 0.9, size=(260, 16)).astype(dtype)
  want = package.compute_prdc(real, fake, k)
  found = prdc(real, fake, pr_k=k, pr_strict=True, dc_k=k)
  assert found == {name: pytest.approx(value, rel=1e-14) for name, value in want.items()}


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_identical_sets_give_exactly_one(dtype, small_blocks):
  rows = RNG.normal(100, 1, size=(90, 8)).astype(dtype)  # far from the origin
  for convention in ({}, STUDIOGAN):
    assert set(prdc(rows, rows, **convention).values()) == {1.0}


def test_borders_are_inside_unless_strict():
  # On a line of integers with k = 2 the balls at either end reach 2 beyond it, where two fakes lie; all is exact.
  real, fake = np.arange(8.0)[:, None], np.array([[-2.0], [9.0], [41.0]])
  assert prdc(real, fake, pr_k=2, dc_k=2)['precision'] == 2 / 3
  assert prdc(real, fake, pr_k=2, pr_strict=True, dc_k=2)['precision'] == 0
  assert prdc(fake, real, pr_k=2, dc_k=2)['recall'] == 2 / 3
  assert prdc(fake, real, pr_k=2, pr_strict=True, dc_k=2)['recall'] == 0
  assert prdc(real, fake, pr_k=2, dc_k=2)['density'] == 0
  assert prdc(real, fake, pr_k=2, dc_k=2, dc_strict=False)['density'] == 2 / (2 * 3)


def test_coverage_of_one_law_is_its_expectation():
  # Naeem et al., section 3.3: no fake among the k nearest of N - 1 reals and M fakes.
  k, n, draws = 5, 200, 40
  found = [prdc(*RNG.normal(size=(2, n, 8)))['coverage'] for _ in range(draws)]
  want = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
  assert abs(np.mean(found) - want) < 4 * np.std(found) / np.sqrt(draws)


def test_a_collapsed_generator_is_precise_and_recalls_little():
  real, fake = RNG.normal(size=(200, 8)), 0.1 * RNG.normal(size=(200, 8))
  found = prdc(real, fake)
  assert found['precision'] > 0.8
  assert found['recall'] < 0.3
  swapped = prdc(fake, real)
  assert (swapped['precision'], swapped['recall']) == (found['recall'], found['precision'])


def test_neighbours_come_in_order(small_blocks):
  queries, bank = (1e5 + RNG.normal(size=(n, 6)) for n in (40, 75))  # far from the origin
  bank[60] = queries[7]
  indices, found = neighbours.nearest(queries, bank, 4)
  want = pairwise(queries, bank)
  np.testing.assert_array_equal(indices, np.argsort(want, 1)[:, :4])
  np.testing.assert_allclose(found, np.sort(want, 1)[:, :4], atol=1e-6)
  assert indices[7, 0] == 60 and found[7, 0] == 0
  assert neighbours.nearest(queries, bank, 75)[0].shape == (40, 75)


def test_a_row_is_not_its_own_neighbour_though_others_equal_it(small_blocks):
  rows = np.repeat(RNG.normal(size=(35, 3)), 2, axis=0)
  indices, squared = distances.smallest(rows, rows, 1, exclude_self=True)
  np.testing.assert_array_equal(indices[:, 0], np.arange(70) ^ 1)
  np.testing.assert_array_equal(squared, 0)


def test_bad_input_is_one_line():
  rows = RNG.normal(size=(5, 3))
  with pytest.raises(UserError, match='more images'):
    prdc(rows, rows)
  with pytest.raises(UserError, match='one network'):
    neighbours.nearest(rows, rows[:, :2], 1)
  with pytest.raises(UserError, match='NaN'):
    neighbours.nearest(rows, rows * np.nan, 1)
