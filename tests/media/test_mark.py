"""The invisible mark: found where it is, after what pictures go through, and nowhere else."""

import io

import numpy as np
import pytest
from PIL import Image

from ganjax import data
from ganjax.media import image, mark


@pytest.fixture(scope='module')
def pictures():
  """Grids of 16 emoji, uint8 [8, 256, 256, 3]."""
  emoji = data.build(dataset='emoji', resolution=64)
  cells = emoji.read(np.random.default_rng(0).permutation(emoji.num_examples)[:128])['image']
  return np.stack([image.grid(cells[i : i + 16]) for i in range(0, 128, 16)])


def test_it_is_found_where_it_is_and_nowhere_else(pictures):
  assert all(mark.find(x).marked for x in mark.add(pictures))
  assert not any(mark.find(x).marked for x in pictures)


def test_it_does_not_show(pictures):
  """No number moves by more than the most; flat areas by two grey levels or so."""
  change = mark.add(pictures).astype(int) - pictures
  assert np.abs(change).max() <= np.ceil(mark.MOST * np.abs(mark._TILE).max())
  flat = np.full((1, 64, 64, 3), 128, np.uint8)
  change = mark.add(flat).astype(int) - 128
  assert change.std() == pytest.approx(mark.FLAT, rel=0.1)


def _jpeg(x):
  file = io.BytesIO()
  Image.fromarray(x).save(file, 'JPEG', quality=75)
  return np.asarray(Image.open(file))


@pytest.mark.parametrize(
  'change',
  [
    _jpeg,
    lambda x: x[37:201, 50:214],
    lambda x: x[..., :1],
    lambda x: np.concatenate([x, np.full_like(x[..., :1], 255)], 2),
    lambda x: np.clip(x + 8.0 * np.random.default_rng(1).standard_normal(x.shape), 0, 255),
  ],
  ids=['jpeg', 'crop', 'red', 'opacity', 'noise'],
)
def test_it_survives(pictures, change):
  assert all(mark.find(change(x)).marked for x in mark.add(pictures))


def test_other_sizes_are_searched(pictures):
  resized = np.asarray(Image.fromarray(mark.add(pictures[0])).resize((200, 200)))
  found = mark.find(resized, resized=True)
  assert found.marked and found.scale == pytest.approx(256 / 200, abs=0.01)
  assert not mark.find(resized).marked


def test_opacity_and_shapes_stay():
  x = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 50, 4)).astype(np.uint8)
  found = mark.add(x)
  assert found.shape == x.shape and (found[..., 3] == x[..., 3]).all()
  np.testing.assert_array_equal(found[1, 2], mark.add(x[1, 2]))
  for shape in (1, 1, 3), (7, 90, 1):
    small = np.zeros(shape, np.uint8)
    assert mark.add(small).shape == shape and not mark.find(small).marked


def test_the_chance_is_one():
  """Of pictures of noise a tenth or less have a chance of a tenth or less, and not far less: it is a bound."""
  rng = np.random.default_rng(3)
  noise = lambda: np.clip(128 + 4 * rng.standard_normal((64, 64, 1)), 0, 255)
  chances = np.array([mark.find(noise()).chance for _ in range(500)])
  for level in 0.1, 0.3:
    assert level / 3 < (chances < level).mean() < level + 3 * (level / 500) ** 0.5
