"""The embedding of labels."""

import jax
import numpy as np

from ganjax.layers.embed import ClassEmbed


def test_labels_outside_the_classes_have_the_row_nan():
  """-1 among them, which is TFDS's for a picture without a label and would count from the end."""
  net = ClassEmbed(3, 4)
  variables = net.init(jax.random.key(0), np.arange(3))
  rows = np.asarray(net.apply(variables, np.array([2, -1, 0, 3, -3])))
  table = variables['params']['embedding']
  np.testing.assert_array_equal(rows[[0, 2]], table[np.array([2, 0])])
  assert np.isnan(rows[[1, 3, 4]]).all()
