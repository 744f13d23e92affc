"""R-precision: pictures that show their texts, that show nothing, and that show others'."""

import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics import r_precision

RNG = np.random.default_rng(0)
TEXTS = RNG.normal(size=(400, 16))
MAP = RNG.normal(size=(16, 40))


def features(texts, noise=0.3):
  """Of pictures that show their texts."""
  return texts @ MAP + noise * RNG.normal(size=(len(texts), 40)) + 5


def test_pictures_that_show_their_texts_and_that_do_not():
  real, texts = features(TEXTS[:250]), TEXTS[:250]
  held_out = TEXTS[250:]
  fake, of_real = r_precision.measure(real, texts, features(held_out), held_out)
  assert fake > 0.97 and of_real > 0.97
  blind, _ = r_precision.measure(real, texts, RNG.normal(size=(150, 40)), held_out)
  assert blind < 0.06
  others, _ = r_precision.measure(real, texts, features(np.roll(held_out, 1, 0)), held_out)
  assert others < 0.06


def test_reals_are_judged_by_maps_that_saw_none_of_their_text():
  """Features that are nothing but the number of the text: by heart all would be found."""
  numbers = np.repeat(np.arange(150), 3)
  real = np.eye(150)[numbers]
  _, of_real = r_precision.measure(real, TEXTS[numbers], real, TEXTS[numbers])
  assert of_real < 0.06


def test_equal_texts_are_no_rivals():
  twice = np.concatenate([TEXTS[:200], TEXTS[:200]])
  fake, _ = r_precision.measure(features(twice), twice, features(twice), twice)
  assert fake > 0.97


def test_too_few_texts():
  with pytest.raises(UserError, match='among 100 texts, and the fakes have 99 that differ'):
    r_precision.measure(features(TEXTS), TEXTS, features(TEXTS[:99]), TEXTS[:99])
