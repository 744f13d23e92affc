"""Colours of pictures, counted."""

import numpy as np
import pytest

from ganjax.metrics import colours


def flat(*colour, count=1):
  return np.full((count, 4, 6, len(colour)), colour, np.uint8)


@pytest.mark.parametrize(('channels', 'boxes'), [(1, 16), (3, 216), (4, 216)])
def test_shares_are_of_all_pixels(channels, boxes):
  x = np.random.default_rng(0).integers(0, 256, (300, 40, 48, channels), np.uint8)
  found = colours.shares(x)
  assert len(found) == boxes and found.sum() == pytest.approx(1)
  # Levels of equal chance, but for boxes of 42 and of 43 of the 256.
  np.testing.assert_allclose(found, 1 / boxes, rtol=0.15)


def test_the_distance_is_what_would_have_to_change():
  red, blue = flat(255, 0, 0), flat(0, 0, 255)
  mixed = np.concatenate([red, red, red, blue])
  of = lambda x: colours.shares(x)
  assert colours.distance(of(red), of(red)) == 0
  assert colours.distance(of(red), of(blue)) == 1
  assert colours.distance(of(mixed), of(red)) == 0.25
  # Alpha is no colour.
  assert colours.distance(of(flat(255, 0, 0, 9)), of(red)) == 0


def test_what_differs_most_is_named_by_its_colour():
  red, blue, grey = flat(255, 0, 0), flat(0, 0, 255), flat(128, 128, 128)
  a = colours.shares(np.concatenate([red, red, red, blue]))
  b = colours.shares(np.concatenate([red, blue, blue, grey]))
  assert colours.largest(a, b) == {'#ea1515': 0.5, '#1515ea': -0.25, '#959595': -0.25}
  dark, light = (colours.shares(flat(level)) for level in (3, 250))
  assert colours.largest(dark, light) == {'#080808': 1.0, '#f8f8f8': -1.0}
