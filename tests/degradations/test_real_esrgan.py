"""Real-ESRGAN's degradation: what is drawn, that it depends on a picture's own key, and what noise is like."""

import jax
import numpy as np
import pytest
import scipy.stats

from ganjax.degradations import bicubic, real_esrgan

RNG = np.random.default_rng(0)


def smooth(*shape):
  """Pictures in [-1, 1] of a few waves."""
  y, x = np.mgrid[: shape[1], : shape[2]] / shape[1]
  waves = [
    np.sin(RNG.uniform(2, 9, 2) @ [y.ravel(), x.ravel()]) for _ in range(shape[0] * shape[3])
  ]
  maps = np.stack(waves).reshape(shape[0], shape[3], *shape[1:3])
  return np.float32(0.8 * maps.transpose(0, 2, 3, 1))


@pytest.fixture(scope='module')
def made():
  """(pictures, keys, jitted function, small pictures)."""
  x, keys = smooth(6, 64, 48, 3), jax.random.split(jax.random.key(1), 6)
  call = jax.jit(real_esrgan.build(4).low)
  return x, keys, call, np.asarray(call(x, keys))


@pytest.mark.slow
def test_pictures_are_small_have_256_levels_and_stay_alike(made):
  x, _, _, low = made
  assert low.shape == (6, 16, 12, 3) and low.dtype == np.float32
  levels = (low + 1) * 127.5
  np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
  assert low.min() >= -1 and low.max() <= 1
  clean = np.asarray(bicubic.build(4).low(x, None))
  assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.5 for a, b in zip(low, clean))
  assert np.abs(low - clean).mean() > 0.03


@pytest.mark.slow
def test_a_picture_depends_on_its_own_key_alone(made):
  x, keys, call, low = made
  order = np.array([3, 1, 5, 0, 4, 2])
  np.testing.assert_allclose(call(x[order], keys[order]), low[order], atol=2.1 / 255)
  same = np.repeat(x[:1], 6, 0)
  drawn = np.asarray(call(same, keys))
  assert all(np.abs(drawn[i] - drawn[0]).mean() > 0.01 for i in range(1, 6))


def test_kernels_come_in_their_shares():
  """A twentieth of sinc filters have negative weights, all sum to 1, and sizes are from 7 to 21."""
  u = RNG.uniform(size=(2000, 8)).astype(np.float32)
  kernels = np.asarray(jax.jit(jax.vmap(lambda u: real_esrgan.draw_kernel(u, 0.2, 3.0)))(u))
  np.testing.assert_allclose(kernels.sum((1, 2)), 1, atol=1e-4)
  np.testing.assert_allclose(kernels, kernels[:, ::-1, ::-1], atol=1e-6)
  sincs = (kernels < -1e-6).any((1, 2))
  assert abs(sincs.mean() - real_esrgan.SINC) < 0.03
  is_round = np.abs(kernels - kernels.transpose(0, 2, 1)).max((1, 2)) < 1e-6
  shares = 0.9 * (0.45 + 0.12 + 0.12) + 0.1
  assert abs(is_round.mean() - shares) < 0.1  # narrow ellipses of a pixel are round as well
  widths = (np.abs(kernels[sincs]) > 1e-8).any(1).sum(1)
  assert set(widths) <= set(range(7, 22, 2)) and len(set(widths)) == 8


@pytest.mark.parametrize('mean', [1, 4, 60])
def test_shot_noise_is_poissons(mean):
  """Of a picture with all levels there are 256 photons a pixel of full brightness."""
  levels = np.full((2, 20_000, 1), mean)
  levels[0, :256, 0] = np.arange(256)
  draws = RNG.normal(size=levels.shape)
  # Levels are of 255, photons of 256.
  noise = np.asarray(real_esrgan.shot_noise(draws, levels / 255, levels.shape[:2], False))[1]
  photons = 256 * noise + mean * 256 / 255
  np.testing.assert_allclose(photons, photons.round(), atol=1e-3)
  at = np.arange(150)
  found = (photons.round() <= at).mean(0)
  np.testing.assert_allclose(found, scipy.stats.poisson.cdf(at, mean * 256 / 255), atol=0.015)


def test_noise_has_its_strength():
  """Gaussian from 1 to 30 of 255, grey in two fifths; places outside of the picture do not count."""
  x = np.full((40, 50, 3), 0.5, np.float32)
  call = jax.jit(lambda u, sides: real_esrgan.add_noise(jax.random.key(0), u, x, sides, 0) - x)
  for strength in (0.0, 0.5):
    found = np.asarray(call(np.float32([0.5, strength, 0.2]), (30, 40)))
    assert 255 * found.std() == pytest.approx(1 + 29 * strength, rel=0.05)
    grey = np.asarray(call(np.float32([0.3, strength, 0.2]), (30, 40)))
    assert not np.any(grey - grey[..., :1]) and np.any(found - found[..., :1])
  # One level is one photon: with three times its noise all places are black or white.
  shot = np.asarray(call(np.float32([0.5, 1.0, 0.7]), (30, 40)))
  assert set(np.unique(shot)) == {-0.5, 0.5}
  assert (shot > 0).mean() == pytest.approx(1 - np.exp(-0.5), abs=0.05)


def test_the_unsharp_mask_leaves_flat_places_and_lifts_edges():
  x = np.full((1, 64, 64, 3), -0.5, np.float32)
  x[:, :, 32:] = 0.5
  target = jax.jit(real_esrgan.build(4).target)
  found = np.asarray(target(x))
  np.testing.assert_allclose(found[0, 8, 31, 0], x[0, 8, 31, 0] - 0.25, atol=0.06)
  np.testing.assert_allclose(found[0, 8, 32, 0], x[0, 8, 32, 0] + 0.25, atol=0.06)
  flat = np.full_like(x, 0.3)
  np.testing.assert_allclose(target(flat), flat, atol=1e-5)
