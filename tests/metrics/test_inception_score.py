"""The Inception score against closed forms. The reference's shuffle and splits are held by test_golden_metrics.py."""

import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics import inception_score

SURE = np.repeat(1e4 * np.eye(10), 20, axis=0)  # 20 images of each of 10 classes, in order


def test_sure_and_diverse_logits_score_their_number_of_classes():
  assert inception_score.score(SURE, splits=1) == (pytest.approx(10, rel=1e-12), 0)


def test_equal_logits_score_one():
  assert inception_score.score(np.ones((40, 10)) * 7) == (pytest.approx(1), pytest.approx(0))


def test_images_in_order_of_class_are_shuffled_first():
  assert inception_score.score(SURE, splits=10, shuffle_seed=None)[0] == pytest.approx(1)
  assert inception_score.score(SURE, splits=10)[0] > 6


def test_adm_cuts_consecutive_rows_and_the_rest():
  """As its evaluator: 12,000 rows are 5,000, 5,000 and 2,000, and each counts alike."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(12_000, 10)) * np.linspace(0.1, 5, 12_000)[:, None]
  parts = [logits[i : i + 5000] for i in range(0, 12_000, 5000)]
  scores = [inception_score.score(part, splits=1)[0] for part in parts]
  found = inception_score.score(logits, splits=None, shuffle_seed=None)
  np.testing.assert_allclose(found, (np.mean(scores), np.std(scores)), rtol=1e-12)
  assert inception_score.edges(12_000, None) == [(0, 5000), (5000, 10_000), (10_000, 12_000)]
  assert inception_score.edges(10_000, None) == [(0, 5000), (5000, 10_000)]
  assert inception_score.edges(12_000, 3) == [(0, 4000), (4000, 8000), (8000, 12_000)]


def test_standard_deviation_is_over_splits():
  logits = 3 * np.random.default_rng(0).normal(size=(100, 10))
  parts = [inception_score.score(part, splits=1)[0] for part in np.split(logits, 4)]
  for ddof in (0, 1):
    found = inception_score.score(logits, splits=4, ddof=ddof, shuffle_seed=None)
    np.testing.assert_allclose(found, (np.mean(parts), np.std(parts, ddof=ddof)), rtol=1e-12)
  assert inception_score.score(logits, splits=1, ddof=1)[1] == 0


def test_bad_input_is_one_line():
  with pytest.raises(UserError, match='fewer splits'):
    inception_score.score(SURE[:4], splits=5)
  with pytest.raises(UserError, match='of 0 images'):
    inception_score.score(SURE[:0], splits=None)
  with pytest.raises(UserError, match='NaN'):
    inception_score.score(SURE * np.nan)
