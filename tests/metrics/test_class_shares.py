"""Classes of samples by their nearest reals."""

import numpy as np

from ganjax.metrics import class_shares


def test_what_falls_into_each_class():
  """Two classes apart, a picture of the second that lies among the first, and one without a class."""
  real = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [0.15], [9.0]])
  labels = np.array([0, 0, 0, 1, 1, 1, -1])
  fake = np.array([[0.01], [5.06], [8.0], [5.2]])  # the third is nearest to one without a class
  moved, each = class_shares.measure(real, fake, labels, ['cat', 'dog'])
  # By their nearest others: 0 -> 0.1, 0.1 -> 0.15 (dog), 0.2 -> 0.15 (dog), 5 and 5.1 -> dog, 0.15 -> a cat.
  assert each == {'cat': 1 / 4 - 2 / 6, 'dog': 3 / 4 - 4 / 6}
  assert np.isclose(moved, 1 / 4 - 1 / 6)


def test_copies_do_not_find_themselves():
  real = np.array([[1.0], [1.0], [1.0], [4.0], [4.0]])
  moved, each = class_shares.measure(real, real, np.array([0, 0, 0, 1, 1]), ['a', 'b'])
  assert moved == 0 and list(each.values()) == [0, 0]
