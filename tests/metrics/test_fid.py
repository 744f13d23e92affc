"""The Frechet distance against closed forms and scipy's matrix square root; moments against NumPy."""

import warnings

import numpy as np
import pytest
from scipy import linalg

from ganjax import UserError
from ganjax.metrics import fid

RNG = np.random.default_rng(0)


def draw(n, d=64):
  return RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d)) / 8 + RNG.normal(size=d)


def fit(rows, ddof=1):
  moments = fid.Moments()
  moments.add(rows)
  return moments.mean, moments.cov(ddof)


def textbook(real, fake):
  """Equation (6) with sqrtm, from np.cov."""
  covs = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # scipy says that the root of a singular matrix may be inexact
    root = linalg.sqrtm(covs[0] @ covs[1])
  difference = real.mean(0) - fake.mean(0)
  return difference @ difference + np.trace(covs[0] + covs[1] - 2 * root.real)


@pytest.mark.parametrize(
  ('n', 'm', 'rtol'), [(500, 400, 1e-9), (40, 50, 1e-6), (500, 40, 1e-6), (40, 500, 1e-6)]
)
def test_equal_to_the_matrix_square_root(n, m, rtol):
  real, fake = draw(n), draw(m)
  np.testing.assert_allclose(
    fid.frechet_distance(*fit(real), *fit(fake)), textbook(real, fake), rtol=rtol
  )


@pytest.mark.parametrize(('n', 'm'), [(40, 50), (50, 40), (40, 500), (2, 3)])
def test_fewer_rows_than_features_is_exact(n, m):
  # Tr (S1 S2)^(1/2) is the nuclear norm of X1 X2^T for centred, scaled rows: no covariance is needed.
  real, fake = draw(n), draw(m)
  a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (real, fake))
  nuclear = np.linalg.svd(a @ b.T, compute_uv=False).sum()
  difference = real.mean(0) - fake.mean(0)
  want = difference @ difference + (a**2).sum() + (b**2).sum() - 2 * nuclear
  np.testing.assert_allclose(fid.frechet_distance(*fit(real), *fit(fake)), want, rtol=1e-10)


def test_standard_normals_one_apart_are_2048_exactly():
  zeros, ones, identity = np.zeros(2048), np.ones(2048), np.eye(2048)
  assert fid.frechet_distance(zeros, identity, ones, identity, factor1=identity) == 2048


def test_diagonal_covariances():
  a, b = RNG.uniform(0.1, 9, (2, 30))
  b[:5] = 0  # features that never vary
  mean = RNG.normal(size=30)
  want = mean @ mean + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
  found = fid.frechet_distance(mean, np.diag(a), np.zeros(30), np.diag(b))
  np.testing.assert_allclose(found, want, rtol=1e-13)
  assert fid.frechet_distance(mean, np.zeros((30, 30)), mean, np.diag(a)) == pytest.approx(a.sum())


def test_ranges_that_hardly_meet_stay_finite():
  # Both covariances are singular, and their product more so than either: zeros come out as -1e-17.
  turn, _ = np.linalg.qr(RNG.normal(size=(60, 60)))
  a, b = RNG.uniform(1, 2, (2, 60))
  a[40:], b[:30] = 0, 0
  covs = (turn * a) @ turn.T, (turn * b) @ turn.T
  found = fid.frechet_distance(np.zeros(60), covs[0], np.zeros(60), covs[1])
  np.testing.assert_allclose(found, ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rtol=1e-7)


@pytest.mark.parametrize('n', [400, 40])
def test_a_set_against_itself_is_zero(n):
  mean, cov = fit(draw(n))
  assert abs(fid.frechet_distance(mean, cov, mean, cov)) < 1e-12 * 2 * np.trace(cov)


@pytest.mark.parametrize('n', [400, 40])
def test_the_factor_of_a_reference_can_be_kept(n):
  (mean, cov), other = fit(draw(n)), fit(draw(90))
  A = fid.factor(cov)
  assert A.shape == (64, min(n - 1, 64))
  np.testing.assert_allclose(A @ A.T, cov, rtol=0, atol=1e-13 * np.abs(cov).max())
  found = fid.frechet_distance(mean, cov, *other, factor1=A)
  assert found == fid.frechet_distance(mean, cov, *other)


@pytest.mark.parametrize(
  'sizes', [(1, 999, 500, 500, 600), (2600,), (100,) * 26, (1024, 1024, 552)]
)
def test_moments_do_not_depend_on_batches_bit_for_bit(sizes):
  rows = np.random.default_rng(1).normal(5, 1, (2600, 24)).astype(np.float32)
  whole = fid.Moments()
  whole.add(rows)
  moments = fid.Moments()
  for batch in np.split(rows, np.cumsum(sizes)[:-1]):
    moments.add(batch)
    if moments.n > 1:
      moments.cov(1)  # looking does not disturb
  assert moments.n == 2600
  np.testing.assert_array_equal(moments.mean, whole.mean)
  np.testing.assert_array_equal(moments.cov(1), whole.cov(1))


def test_moments_are_those_of_numpy_for_either_ddof():
  rows = RNG.normal(1e4, 1, (1500, 16))  # raw float64 moments keep 8 digits here
  moments = fid.Moments()
  moments.add(rows)
  np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-14)
  for ddof in (0, 1):
    want = np.cov(rows, rowvar=False, ddof=ddof)
    np.testing.assert_allclose(moments.cov(ddof), want, rtol=0, atol=1e-12)


def test_bad_input_is_one_line():
  rows = draw(30)
  rows[17, 3] = np.nan
  with pytest.raises(UserError, match='NaN'):
    fid.Moments().add(rows)
  with pytest.raises(UserError, match='NaN'):
    fid.frechet_distance(np.zeros(2), np.eye(2), np.array([0, np.inf]), np.eye(2))
  with pytest.raises(UserError, match='same network'):
    fid.frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))
  moments = fid.Moments()
  for use in (lambda: moments.mean, lambda: moments.cov(0)):
    with pytest.raises(UserError):
      use()
  moments.add(draw(1))
  with pytest.raises(UserError, match='more images'):
    moments.cov(1)
  with pytest.raises(UserError, match='one d'):
    moments.add(draw(4, d=63))
