"""Pictures beside line drawings of them: which lines there are, which pictures, one's own, what is refused."""

import numpy as np
import PIL.Image
import pytest

from ganjax import UserError, data
from ganjax.data.sets.sketches import lines


def test_lines_are_dark_where_colours_change():
  # Steps of a channel along a row, in every fourth column: a step of n is an edge of n on both sides of it.
  steps = np.array([0, 12, 13, 60, 97, 200])
  row = np.repeat(np.array([0, *np.cumsum([12, -13, 60, -97, 200])]), 4)
  row -= row.min()
  picture = np.zeros((5, len(row), 3), np.uint8)
  picture[..., 1] = row
  found = lines(picture)
  assert found.shape == (5, len(row), 1) and found.dtype == np.uint8
  assert (found[:, 1:3] == 255).all()  # far from all steps
  darkness = np.clip(3 * steps[1:] - 36, 0, 255)
  for i, dark in enumerate(darkness):
    assert (found[:, 4 * i + 3 : 4 * i + 5] == 255 - dark).all()
  assert darkness.tolist() == [0, 3, 144, 255, 255]


def test_emoji_beside_their_lines():
  of = dict(resolution=16, channels=3)
  known = data.fields(dataset='sketches', **of)
  assert {name: field.shape for name, field in known.items()} == {
    'source': (16, 16, 1),
    'target': (16, 16, 3),
  }
  plain = data.build(dataset='emoji', split='test', **of)
  source = data.build(dataset='sketches', split='test', **of)
  assert source.num_examples == plain.num_examples and source.fields == known
  rows = source.rows(3, 17, 5)
  np.testing.assert_array_equal(rows, plain.rows(3, 17, 5))
  found, drawn = source.read_rows(rows), plain.read_rows(rows)['image']
  np.testing.assert_array_equal(found['target'], drawn)
  np.testing.assert_array_equal(found['source'], lines(drawn))
  assert source.info['dataset'] == 'sketches' and source.info['of'] == 'emoji'
  assert source.content != plain.content


def test_ones_own_pictures_beside_their_lines(tmp_path):
  for i in range(3):
    picture = np.full((8, 8, 3), 60 * i, np.uint8)
    picture[:, 4:] = 250
    PIL.Image.fromarray(picture).save(tmp_path / f'{i}.png')
  own = dict(dataset='sketches', of='folder', data_dir=str(tmp_path), resolution=8)
  found = data.build(**own).read(np.arange(3))
  assert found['target'][:, 0, 0, 0].tolist() == [0, 60, 120]
  np.testing.assert_array_equal(found['source'][:, :, 3:5], 0)
  np.testing.assert_array_equal(found['source'][:, :, :3], 255)


@pytest.mark.parametrize('more, message', [
  (dict(of='emojis'), "data.of='emojis' is not known.*did you mean emoji"),
  (dict(data_dir='mine/'), 'data.data_dir=mine/ is of data.of=folder'),
  (dict(of='folder'), 'needs data.data_dir'),
  (dict(split='validation'), "emoji has no split 'validation'"),
])  # fmt: skip
def test_what_sketches_refuse(more, message):
  with pytest.raises(UserError, match=message):
    data.build(**{'dataset': 'sketches', 'resolution': 8, **more})
