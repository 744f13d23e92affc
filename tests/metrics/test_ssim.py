"""PSNR, SSIM and MS-SSIM against closed forms, plain loops, scikit-image and compare_gan's published case."""

import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics import ms_ssim, ssim

RNG = np.random.default_rng(0)
A = RNG.integers(0, 256, (3, 40, 37, 3), np.uint8)
B = (A + RNG.normal(0, 20, A.shape)).clip(0, 255).astype(np.uint8)


def luma(image):
  r, g, b = np.moveaxis(image / 255, -1, 0)
  return 16 + 65.481 * r + 128.553 * g + 24.966 * b


def test_psnr_of_a_constant_error():
  image = np.full((2, 8, 8, 3), 100, np.uint8)
  np.testing.assert_allclose(ssim.psnr(image, image + 5), 20 * np.log10(255 / 5), rtol=1e-14)
  assert (ssim.psnr(image, image) == np.inf).all()


def test_ssim_equals_its_formula_at_every_position():
  taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
  weights = np.outer(taps, taps) / taps.sum() ** 2
  x, y = luma(A[0, 4:-4, 4:-4]), luma(B[0, 4:-4, 4:-4])
  found = []
  for i in range(32 - 10):
    for j in range(29 - 10):
      p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
      mean = lambda s: (weights * s).sum()
      u, v = mean(p), mean(q)
      cov, spread = mean((p - u) * (q - v)), mean((p - u) ** 2) + mean((q - v) ** 2)
      first = (2 * u * v + 6.5025) / (u * u + v * v + 6.5025)
      found.append(first * (2 * cov + 58.5225) / (spread + 58.5225))
  np.testing.assert_allclose(ssim.ssim(A[:1], B[:1], crop=4, luma=True), np.mean(found), rtol=1e-12)


def test_equal_to_scikit_image():
  metrics = pytest.importorskip('skimage.metrics')
  convention = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
  for i, (a, b) in enumerate(zip(A, B)):
    want = metrics.structural_similarity(a, b, channel_axis=2, **convention)
    np.testing.assert_allclose(ssim.ssim(A, B)[i], want, rtol=1e-12)
    np.testing.assert_allclose(
      ssim.psnr(A, B)[i], metrics.peak_signal_noise_ratio(a, b), rtol=1e-12
    )
    a, b = (luma(x[4:-4, 4:-4]) for x in (a, b))
    want = metrics.structural_similarity(a, b, **convention)
    np.testing.assert_allclose(ssim.ssim(A, B, crop=4, luma=True)[i], want, rtol=1e-12)
    want = metrics.peak_signal_noise_ratio(a, b, data_range=255)
    np.testing.assert_allclose(ssim.psnr(A, B, crop=4, luma=True)[i], want, rtol=1e-12)


def test_ms_ssim_of_compare_gans_test():
  # Its ms_ssim_score_test.py: all pairs of constant images of 1, 0.7 and 0 give 0.989989.
  images = np.stack([np.full((64, 64, 3), value) for value in (1, 0.7, 0)])
  found = ms_ssim.ms_ssim(images[[0, 0, 1]], images[[1, 2, 2]])
  np.testing.assert_allclose(found.mean(), 0.989989, atol=1e-6)
  # Constant images differ in luminance only, which counts at the last scale.
  want = ((2 * 0.7 + 6.5025) / (1 + 0.49 + 6.5025)) ** 0.1333
  np.testing.assert_allclose(found[0], want, rtol=1e-12)


def test_ms_ssim_of_sizes_that_do_not_halve_and_of_one_scale_each():
  assert ms_ssim.ms_ssim(A, A) == pytest.approx(1)
  worse = (A + RNG.normal(0, 60, A.shape)).clip(0, 255).astype(np.uint8)
  assert (ms_ssim.ms_ssim(A, worse) < ms_ssim.ms_ssim(A, B)).all()
  # A checkerboard vanishes when halved: the first scale alone tells it from grey, by its contrast.
  grey = np.full((1, 64, 64, 1), 127.5)
  board = grey + 50 * (-1.0) ** np.add.outer(np.arange(64), np.arange(64))[None, :, :, None]
  structure = ssim.compare(grey, board, 11)[1].mean()
  np.testing.assert_allclose(ms_ssim.ms_ssim(grey, board), structure**0.0448, rtol=1e-4)
  # At 9 pixels an odd side repeats its last row, so a last row that differs still counts at the next scale.
  edge = np.full((1, 9, 9, 1), 100.0)
  moved = edge.copy()
  moved[:, -1] = 0
  wanted = edge[:, :5, :5].copy()
  wanted[:, -1] = 0
  np.testing.assert_array_equal(ms_ssim._halve(moved), wanted)


def test_structure_of_opposite_sign_counts_as_zero():
  noise = RNG.integers(0, 256, (1, 32, 32, 3), np.uint8)
  assert ms_ssim.ms_ssim(noise, 255 - noise) == 0


def test_diversity_tells_a_collapse_and_never_pairs_an_image_with_itself():
  assert ms_ssim.diversity(np.repeat(A[:1], 8, 0), 100, seed=0) == pytest.approx(1)
  pair = ms_ssim.ms_ssim(A[:1], A[1:2])[0]
  assert ms_ssim.diversity(A[:2], 100, seed=0) == pytest.approx(pair, rel=1e-12)
  varied = RNG.integers(0, 256, (9, 32, 32, 3), np.uint8)
  assert ms_ssim.diversity(varied, 70, seed=0) == ms_ssim.diversity(varied, 70, seed=0)
  assert ms_ssim.diversity(varied, 70, seed=0) != ms_ssim.diversity(varied, 70, seed=1)


def test_bad_input_is_one_line():
  for use, match in [
    (lambda: ssim.psnr(A / 255, B), 'uint8'),
    (lambda: ssim.ssim(A, B[:, 1:]), 'one shape'),
    (lambda: ssim.ssim(A, B, crop=14), 'under 11 pixels'),
    (lambda: ssim.psnr(A[..., :1], B[..., :1], luma=True), 'RGB'),
    (lambda: ms_ssim.ms_ssim(A, B[1:]), 'one shape'),
    (lambda: ms_ssim.diversity(A[:1], 3, seed=0), 'at least 2'),
  ]:
    with pytest.raises(UserError, match=match):
      use()
