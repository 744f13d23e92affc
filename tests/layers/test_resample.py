"""Resampling by 2."""

import numpy as np
import pytest

from ganjax import UserError
from ganjax.layers.resample import max_pool, mean_pool, upsample

X = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)


def test_upsample_repeats_pixels():
  y = np.asarray(upsample(X))
  assert y.shape == (2, 8, 12, 3)
  for i in range(8):
    for j in range(12):
      np.testing.assert_array_equal(y[:, i, j], X[:, i // 2, j // 2])


@pytest.mark.parametrize('pool, reduce', [(mean_pool, np.mean), (max_pool, np.max)])
def test_pools_reduce_squares(pool, reduce):
  y = np.asarray(pool(X))
  assert y.shape == (2, 2, 3, 3)
  for i in range(2):
    for j in range(3):
      square = X[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
      np.testing.assert_allclose(y[:, i, j], reduce(square, (1, 2)), rtol=1e-5, atol=1e-7)
  with pytest.raises(UserError, match='3x6'):
    pool(X[:, :3])
