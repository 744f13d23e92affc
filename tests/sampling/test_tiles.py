"""Tiles: what they cover, and that seams do not show."""

import jax
import numpy as np
import pytest

from ganjax.networks import srresnet
from ganjax.sampling import tiles

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
  'size, side, multiple', [(100, 32, 4), (33, 32, 1), (32, 32, 4), (512, 256, 256)]
)
def test_tiles_cover_a_side_and_overlap(size, side, multiple):
  overlap = side // tiles.OVERLAP
  found = tiles.starts(size, side, overlap, multiple)
  assert found[0] == 0 and found[-1] == size - side
  assert all(0 < b - a <= side - overlap for a, b in zip(found, found[1:]))
  if multiple < side - overlap:
    assert all(at % multiple == 0 for at in found if size % multiple == 0)
  total = np.zeros(size)
  for at in found:
    total[at : at + side] += tiles.ramp(side, overlap, at > 0, at + side < size)
  assert (total > 0.99).all()
  # Within an overlap that is as it should be, weights are shares.
  np.testing.assert_allclose(total[: found[-1] or None], 1, atol=1e-6)


def test_mirrored_pictures_are_those_of_numpy():
  x = RNG.integers(0, 256, (3, 5, 2), np.uint8)
  np.testing.assert_array_equal(
    tiles.mirror(x, (5, 8)), np.pad(x, ((0, 2), (0, 3), (0, 0)), 'reflect')
  )
  assert tiles.mirror(x[:, :1], (64, 4)).shape == (64, 4, 2)


@pytest.mark.parametrize('tile', [8, 16, 100])
def test_what_sees_no_neighbours_is_the_same_in_tiles(tile):
  """Of a picture whose sides the multiple does not divide, enlarged; no tile is larger than was asked for."""
  seen = []

  def make(x):
    seen.append(x.shape[:2])
    return np.repeat(np.repeat(x, 2, 0), 2, 1)[..., :1] / 2

  x = RNG.uniform(size=(21, 30, 3))
  found = tiles.enlarge(make, x, multiple=4, tile=tile)
  np.testing.assert_allclose(found, np.repeat(np.repeat(x, 2, 0), 2, 1)[..., :1] / 2, rtol=1e-6)
  assert all(side <= tile and side % 4 == 0 for sides in seen for side in sides)
  assert (len(seen) > 1) == (tile < 30)


def test_seams_of_a_network():
  """One that sees 4 pixels around each: tiles of 64 leave out as many; the seams of small ones differ little."""
  net = srresnet.build(resolution=32, channels=3, scale=2, width=4, blocks=0)['G']
  x = RNG.uniform(-1, 1, (80, 40, 3)).astype(np.float32)
  run = jax.jit(lambda variables, x: net.apply(variables, x[None], train=False)[0])
  variables = net.init(jax.random.key(0), x[None], train=False)
  variables = jax.tree.map(lambda w: 8 * w, variables)  # what is learnt is not small
  whole, bilinear = run(variables, x), run(jax.tree.map(np.zeros_like, variables), x)
  learnt = np.abs(whole - bilinear).max()
  differ = lambda tile: np.abs(
    tiles.enlarge(lambda x: run(variables, x), x, multiple=1, tile=tile) - whole
  ).max()
  assert learnt > 0.1 and differ(64) < 1e-5
  assert 1e-5 < differ(16) < learnt / 2
