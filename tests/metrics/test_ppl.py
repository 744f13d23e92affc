"""Perceptual path length against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics import ppl
from ganjax.sampling import latents

RNG = np.random.default_rng(0)
Z, OTHER = RNG.normal(size=(2, 6, 5))
T = RNG.uniform(size=6)
LINEAR = RNG.normal(size=(5, 4 * 4 * 3))


def linear(z):
  return (z @ LINEAR).reshape(-1, 4, 4, 3)


def squares(a, b):
  return jnp.sum(jnp.square(a - b), (1, 2, 3))


@pytest.fixture
def wide():
  with jax.enable_x64(True):
    yield


def test_linear_generator_on_lines(wide):
  """G(z + (z' - z) t) moves by (z' - z) A epsilon: the length is |(z' - z) A|^2 for every t and epsilon."""
  want = np.sum(((OTHER - Z) @ LINEAR) ** 2, 1)
  for epsilon in (1e-4, 0.3):
    run = jax.jit(
      lambda z, o, t, e=epsilon: ppl.lengths(linear, squares, z, o, t, epsilon=e, path=ppl.lerp)
    )
    np.testing.assert_allclose(run(Z, OTHER, T), want, rtol=1e-7)


def test_linear_generator_on_lines_in_float32():
  want = np.sum(((OTHER - Z) @ LINEAR) ** 2, 1)
  z, other, t = (x.astype(np.float32) for x in (Z, OTHER, T))
  found = ppl.lengths(linear, squares, z, other, t, path=ppl.lerp)
  np.testing.assert_allclose(found, want, rtol=2e-2)


def test_identity_on_great_circles(wide):
  """Of unit latents at angle w, the chord of a step is 2 sin(w epsilon / 2)."""
  a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (Z, OTHER))
  omega = np.arccos(np.sum(a * b, 1))
  identity = lambda z: z[:, None, None]
  for epsilon in (1e-4, 0.3):
    found = ppl.lengths(identity, squares, a, b, T, epsilon=epsilon)
    np.testing.assert_allclose(found, (2 * np.sin(omega * epsilon / 2) / epsilon) ** 2, rtol=1e-6)


def test_lerp():
  np.testing.assert_allclose(ppl.lerp(Z, OTHER, np.zeros(6)), Z, rtol=1e-6)
  np.testing.assert_allclose(ppl.lerp(Z, OTHER, 1.0), OTHER, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('crop, size', [(False, 8), (True, 8), (True, 4), (False, 64)])
def test_crop_and_reduction(crop, size, wide):
  """What the distance gets: the crop of 32 pixels is 16, and blocks are averaged to `size`."""
  pictures, seen = RNG.uniform(-1, 1, (6, 32, 32, 3)), []
  # The distance must see floats: half a grey level's worth is not rounded away.
  sample = lambda z: pictures + 1e-3 * z[:, :1, None, None]
  lpips = lambda a, b: seen.extend([a, b]) or squares(a, b)
  ppl.lengths(sample, lpips, Z, OTHER, T, crop=crop, size=size)
  want = np.asarray(sample(latents.slerp(Z, OTHER, T)))
  want = want[:, 12:28, 8:24] if crop else want
  n = min(size, want.shape[1])
  k = want.shape[1] // n
  want = np.stack(
    [
      [want[:, k * i : k * i + k, k * j : k * j + k].mean((1, 2)) for j in range(n)]
      for i in range(n)
    ]
  )
  np.testing.assert_allclose(seen[0], want.transpose(2, 0, 1, 3), atol=1e-12)
  assert 0 < np.abs(seen[0] - seen[1]).max() < 1e-6


def test_blocks_must_divide():
  flat = lambda z: jnp.zeros((6, 9, 9, 3))
  with pytest.raises(UserError, match='9 x 9 do not divide into blocks of 2 x 2'):
    ppl.lengths(flat, squares, Z, OTHER, T, size=4)


def test_mean_drops_one_percent_at_each_end():
  """Of 0..200: the percentiles lie at 2 and 198; of 0..149 at 1.49 and 147.51, taken as 1 and 148."""
  x = np.arange(201.0)
  x[-1] = 1e9
  x[0] = -1e9
  assert ppl.mean(np.random.default_rng(0).permutation(x)) == 100
  x = np.arange(150.0)
  assert ppl.mean(x) == np.arange(1, 149).mean()
  x[-1] = 1e9
  assert ppl.mean(x) == np.arange(1, 149).mean()
  x[0] = -30  # dropped; the one above it stays
  x[1] = -20
  assert ppl.mean(x) == pytest.approx((np.arange(2, 149).sum() - 20) / 148)


def test_mean_of_bad_lengths():
  for lengths in ([], [1, np.nan], [np.inf]):
    with pytest.raises(UserError, match='path length'):
      ppl.mean(lengths)
