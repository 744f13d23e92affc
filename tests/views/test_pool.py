"""The pool of earlier fakes: CycleGAN's rule, picture by picture."""

import jax
import numpy as np
import pytest

from ganjax.views import pool

NUMBERS = np.arange(1, 601, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)


def run(size, images, batch, seed=0):
  """(pool, what D sees) of numbered pictures, shown `batch` at a time."""
  step = jax.jit(pool.exchange)
  held, seen = pool.start(size, images.shape[1:]), []
  for i in range(0, len(images), batch):
    held, found = step(held, images[i : i + batch], jax.random.key(seed + i))
    seen.append(found)
  return held, np.concatenate(seen)


@pytest.mark.parametrize('size, batch', [(50, 1), (50, 4), (50, 200), (5, 8), (1, 3)])
def test_the_rule(size, batch):
  """The first `size` come back; then half are old ones, uniform over the pool, in whose place the new one lies."""
  held, seen = run(size, NUMBERS, batch)
  assert (seen == seen[:, :1, :1]).all()
  seen = seen[:, 0, 0]
  np.testing.assert_array_equal(seen[:size], np.arange(1, size + 1))
  assert held['count'] == size
  # The same, in a list.
  kept, places = list(range(1, size + 1)), []
  for new, shown in zip(range(size + 1, 601), seen[size:].astype(int)):
    if shown != new:
      places.append(kept.index(shown))
      kept[places[-1]] = new
  np.testing.assert_array_equal(held['images'][:, 0, 0], kept)
  assert abs(len(places) / (600 - size) - 0.5) < 0.07
  assert len(set(places)) > 0.9 * size
  assert abs(np.mean(places) - (size - 1) / 2) <= 0.07 * size


def test_a_pool_that_is_not_full_yet():
  held, seen = run(50, NUMBERS[:30], 10)
  assert held['count'] == 30
  np.testing.assert_array_equal(seen, NUMBERS[:30])
  np.testing.assert_array_equal(held['images'][:30], NUMBERS[:30])
  assert (held['images'][30:] == 0).all()


def test_draws_are_of_the_key_alone():
  a, b, c = (run(5, NUMBERS[:60], 6, seed) for seed in (0, 0, 7))
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert (a[1] != c[1]).any()
