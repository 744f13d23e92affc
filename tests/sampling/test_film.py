"""Rows on the way from sample to sample."""

import numpy as np
import pytest

from ganjax import UserError
from ganjax.sampling import film

RNG = np.random.default_rng(0)


def rows(n=3):
  return {
    'w': RNG.normal(size=(n, 2, 5)).astype(np.float32),
    'z': RNG.normal(size=(n, 4)).astype(np.float32),
    'label': np.arange(n, dtype=np.int32),
    'noise': np.arange(7, 7 + n, dtype=np.int32),
  }


@pytest.mark.parametrize('closed', [True, False])
def test_rows_that_start_a_leg_are_there_bit_for_bit(closed):
  x = rows()
  made = film.interpolate(x, 4, closed=closed, num_classes=3)
  assert {len(part) for part in made.values()} == {12 if closed else 9}
  for name in 'wz':
    np.testing.assert_array_equal(made[name][::4], x[name])
    assert made[name].dtype == np.float32
  np.testing.assert_array_equal(made['label'][::4], np.eye(3))
  np.testing.assert_allclose(made['label'][1], [0.75, 0.25, 0])
  # A whole number is no place on a line: noise of seed 7 and a half would be another picture's.
  assert (made['noise'] == 7).all()


def test_styles_move_along_a_periodic_cubic_spline():
  """Points of a circle: the film goes round without a corner, where it starts as well."""
  angle = 2 * np.pi * np.arange(8) / 8
  w = np.stack([np.cos(angle), np.sin(angle)], 1)[:, None]
  made = film.interpolate({'w': w}, 10, closed=True)['w'][:, 0]
  fine = 2 * np.pi * np.arange(80) / 80
  np.testing.assert_allclose(made, np.stack([np.cos(fine), np.sin(fine)], 1), atol=3e-3)


def test_latents_move_along_great_circles():
  z = np.eye(3, dtype=np.float32)
  made = film.interpolate(z, 6, closed=False)
  np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
  np.testing.assert_allclose(made[2], [np.cos(np.pi / 6), np.sin(np.pi / 6), 0], atol=1e-6)


def test_several_paths_are_each_their_own():
  x = rows(6)
  made = film.interpolate(x, 4, closed=True, paths=2, num_classes=6)
  for i in range(2):
    part = {name: one[3 * i : 3 * i + 3] for name, one in x.items()}
    alone = film.interpolate(part, 4, closed=True, num_classes=6)
    for name, one in alone.items():
      np.testing.assert_array_equal(made[name][12 * i : 12 * i + 12], one)


@pytest.mark.parametrize(('count', 'paths'), [(1, 1), (3, 2), (2, 2)])
def test_rows_that_make_no_paths(count, paths):
  with pytest.raises(UserError, match=f'{paths} path.* there are {count}$'):
    film.interpolate({'w': np.zeros((count, 2, 3))}, 4, closed=True, paths=paths)
