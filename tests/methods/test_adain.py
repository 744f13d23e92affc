"""AdaIN: its arithmetic in closed form, and what is refused."""

import jax
import numpy as np
import pytest

from ganjax import UserError, media
from ganjax.methods import adain

RNG = np.random.default_rng(0)


def test_transfer_has_the_moments_of_the_style():
  content, style = RNG.normal(2, 3, (2, 6, 5, 3)), RNG.normal(-1, 0.5, (2, 4, 4, 3))
  with jax.enable_x64(True):
    found = np.asarray(jax.jit(adain.transfer)(content, style))
    np.testing.assert_allclose(found.mean((1, 2)), style.mean((1, 2)), rtol=1e-9)
    variance = content.var((1, 2))
    shrunk = np.sqrt(variance / (variance + 1e-5))
    np.testing.assert_allclose(found.std((1, 2)), style.std((1, 2)) * shrunk, rtol=1e-9)
    # Nothing but shift and scale: the content's pattern stays.
    pattern = lambda x: (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
    np.testing.assert_allclose(pattern(found), pattern(content), rtol=1e-9)


def test_the_style_distance_is_summed_over_channels_and_halved_by_no_pixel():
  ones = np.ones((2, 4, 4, 3))
  distance = jax.jit(adain.style_distance)
  np.testing.assert_allclose(distance(3 * ones, ones), 3 * 4.0, rtol=1e-6)
  # Means are alike; deviations 2 and 1, of the biased kind.
  board = np.where(np.indices((4, 4)).sum(0) % 2, 1.0, -1.0)[None, ..., None] * ones
  np.testing.assert_allclose(distance(2 * board, board), 3.0, rtol=1e-5)
  slope = jax.jit(jax.grad(adain.style_distance))(ones, 2 * ones)
  assert np.isfinite(slope).all() and np.abs(slope).max() > 0


FIELDS = {'source': media.Field('image', (16, 16, 4))}


@pytest.mark.parametrize('arguments, message', [
  (dict(network='vgg16'), "network='vgg16' is not known.*there are vgg19_normalised, vgg19, eff"),
  (dict(style_weight=-1.0), 'style_weight=-1.0 must be numbers from 0'),
  ({}, 'takes pictures of 1 or 3 channels, not 4'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    adain.build({'G': None}, fields=FIELDS, **arguments)
