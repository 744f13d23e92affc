"""Crops: windows that cover pictures, places that are a function of seed and position, what is refused."""

import numpy as np
import pytest
from PIL import Image

from ganjax import UserError, data


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Pictures whose pixels say where they are: red the column, green the row, blue the picture."""
  top = tmp_path_factory.mktemp('crops')
  for split, sizes in {'train': [(50, 40), (24, 64)], 'test': [(33, 32)]}.items():
    (top / split).mkdir()
    for number, (height, width) in enumerate(sizes):
      y, x = np.mgrid[:height, :width]
      picture = np.stack([x, y, np.full_like(x, number)], 2).astype(np.uint8)
      Image.fromarray(picture).save(top / split / f'{number}.png')
  return top


def build(folder, **changes):
  given = dict(dataset='crops', data_dir=str(folder), resolution=16, window=24)
  return data.build(**{**given, **changes})


def test_windows_cover_every_picture(folder):
  source = build(folder, resolution=24)
  images = source.read(np.arange(source.num_examples))['image']
  for number, (height, width) in enumerate([(50, 40), (24, 64)]):
    own = images[images[:, 0, 0, 2] == number].astype(int)
    assert len(own) == -(-height // 24) * -(-width // 24)
    seen = {(y, x) for one in own for y, x in one[..., 1::-1].reshape(-1, 2).tolist()}
    assert len(seen) == height * width
  assert build(folder, split='test').num_examples == 4


@pytest.mark.parametrize('turn', [False, True])
def test_crops_are_a_function_of_seed_and_position(folder, turn):
  source = build(folder, turn=turn)
  read = lambda *where: source.read_rows(source.rows(*where))['image']
  many = read(3, 0, 400)
  assert many.shape == (400, 16, 16, 3)
  np.testing.assert_array_equal(read(3, 7, 5), many[7:12])
  assert (read(4, 0, 400) != many).any()
  # How far a row and a column go down and to the right.
  steps = many.astype(int)[..., :2]
  down, right = steps[:, 1, 0] - steps[:, 0, 0], steps[:, 0, 1] - steps[:, 0, 0]
  kinds = {(*a, *b) for a, b in zip(down.tolist(), right.tolist())}
  plain, over = (0, 1, 1, 0), (0, -1, 1, 0)
  assert kinds == ({plain, over, (1, 0, 0, 1), (1, 0, 0, -1)} if turn else {plain})
  corners = {
    tuple(x) for x in many[many[..., 2].max((1, 2)) == 1][:, :, :, :2].min((1, 2)).tolist()
  }
  assert {y for _, y in corners} == {*range(9)}  # of 24 pixels less 16
  epoch = source.rows(3, 0, source.num_examples)
  assert sorted(epoch[:, 0]) == [*range(source.num_examples)]
  centre = source.read(np.array([0]))['image'][0]
  assert centre[0, 0, :2].tolist() == [4, 4]


@pytest.mark.parametrize('changes, message', [
  (dict(window=8), 'data.window=8 must be a number of pixels from 16'),
  (dict(window=48), r'2 of 2 windows in .* used: train/0.png \(40x50 pixels, smaller than data.window=48: lower it\)'),
  (dict(resolution=(16, 8), turn=True), 'square crops, not 16x8'),
  (dict(split='val'), 'no pictures in a folder val'),
  (dict(data_dir=None), 'needs data.data_dir'),
])  # fmt: skip
def test_what_is_refused(folder, changes, message):
  with pytest.raises(UserError, match=message):
    build(folder, **changes)


def test_turned_photographs_are_cut_as_they_are_seen(tmp_path):
  exif = Image.Exif()
  exif[0x112] = 6
  Image.new('RGB', (60, 24)).save(tmp_path / 'a.jpg', exif=exif)
  assert build(tmp_path).num_examples == 3
