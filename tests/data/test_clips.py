"""Clips: drawings that move by the formula, and the user's own GIFs, films and folders of frames."""

import numpy as np
import PIL.Image
import pytest
from absl import logging

from ganjax import UserError, data
from ganjax.data.sets import clips, moving
from ganjax.media import image

SIDE = 16


def build(**more):
  return data.build(dataset='moving', resolution=SIDE, size=6, speed=(0.5, 2.5), **more)


def test_drawings_fly_straight_and_bounce():
  """Walked frame by frame: at a border the velocity turns."""
  speed, room = (0.5, 2.5), np.array([10, 7])
  drawings, path = moving.lay_out('train', 2, room, speed)
  assert drawings.shape == (moving.COUNT, 2)
  for index in range(20):
    first, second = path(index, np.array([0, 1e-6]))
    at, velocity = first.copy(), (second - first) * 1e6
    length = np.linalg.norm(velocity, axis=-1)
    assert (length > 0.49).all() and (length < 2.51).all()
    found = path(index, np.arange(40))
    for t in range(1, 40):
      at += velocity
      for low in (at < 0, at > room):
        border = np.where(at > room, room, 0)
        at, velocity = np.where(low, 2 * border - at, at), np.where(low, -velocity, velocity)
      np.testing.assert_allclose(found[t], at, atol=1e-3)
  assert (moving.lay_out('test', 2, room, speed)[0] != drawings).any()


def test_a_clip_shows_its_drawing_where_its_path_says():
  source = build(frames=5, rate=7)
  field = source.fields['clip']
  assert field.shape == (5, SIDE, SIDE, 3) and field.rate == 7 and field.dtype == np.uint8
  found = source.read([3, 8])['clip']
  assert found.shape == (2, *field.shape)
  drawings, path = moving.lay_out('train', 1, (10, 10), (0.5, 2.5))
  sprites = moving._emoji('train', 6, 3)
  for row, index in enumerate((3, 8)):
    for t, ((y, x),) in enumerate(np.round(path(index, np.arange(5))).astype(int)):
      wanted = np.full((SIDE, SIDE, 3), 255, np.uint8)
      wanted[y : y + 6, x : x + 6] = sprites[drawings[index, 0] % len(sprites)]
      np.testing.assert_array_equal(found[row, t], wanted)


def test_training_begins_anywhere_on_a_path_whatever_the_process():
  source = build(frames=3)
  rows = source.rows(5, 0, 2000)
  np.testing.assert_array_equal(rows[900:910], source.rows(5, 900, 10))
  assert len(np.unique(rows[:, 0])) == 2000 and rows[:, 1].max() > 500 > rows[:, 1].min() >= 0
  ((index, start),) = rows[:1]
  long = build(frames=1000).read_rows(np.array([[index, 0]]))['clip'][0]
  np.testing.assert_array_equal(source.read_rows(rows[:1])['clip'][0], long[start : start + 3])


@pytest.mark.parametrize('more, message', [
  (dict(sprites='emojis'), 'not known .did you mean emoji'),
  (dict(frames=0), 'data.frames=0 must be'),
  (dict(size=16), 'data.size=16 must be a number of pixels below 16'),
  (dict(speed=(2.0, 1.0)), 'two rising numbers'),
  (dict(split='val'), 'moving has no split'),
])  # fmt: skip
def test_what_moving_refuses(more, message):
  arguments = dict(dataset='moving', resolution=SIDE) | more
  with pytest.raises(UserError, match=message):
    data.build(**arguments)


def grey(level):
  return np.full((8, 8, 3), level, np.uint8)


@pytest.fixture
def folder(tmp_path):
  """A GIF of 4 frames, a film of 6, a folder of 5 pictures, and a file that is no clip."""
  top = tmp_path / 'clips'
  (top / 'walk').mkdir(parents=True)
  image.save_gif(top / 'a.gif', [grey(20 * t) for t in range(4)], {})
  image.save_mp4(top / 'b.mp4', np.stack([grey(100 + 20 * t) for t in range(6)]), {})
  for t in range(5):
    PIL.Image.fromarray(grey(5 + 30 * t)).save(top / f'walk/{t}.png')
  (top / 'c.mp4').write_bytes(b'no film')
  (top / 'alone.png').write_bytes((top / 'walk/0.png').read_bytes())
  return top


def own(folder, **more):
  return data.build(dataset='clips', data_dir=str(folder), resolution=8, **more)


def test_ones_own_clips(folder, caplog, monkeypatch):
  said = []
  monkeypatch.setattr(logging, 'warning', lambda text, *args: said.append(text % args))
  source = own(folder, frames=2, stride=2)
  assert said == [f'1 of 4 clips in {folder} cannot be decoded: c.mp4; they are left out']
  assert source.num_examples == 3 and source.info['total_frames'] == 15
  levels = source.read(np.arange(3))['clip'][:, :, 4, 4, 0].astype(int)
  np.testing.assert_allclose(levels, [[0, 40], [100, 140], [5, 65]], atol=4)
  rows = source.rows(0, 0, 300)
  np.testing.assert_array_equal(rows[7:9], source.rows(0, 7, 2))
  for clip, length in enumerate((4, 6, 5)):
    starts = rows[rows[:, 0] == clip, 1]
    assert {*starts} == {*range(length - 2)}
  last = source.read_rows(np.array([[2, 2]]))['clip'][0, :, 0, 0, 0]
  np.testing.assert_array_equal(last, [65, 125])


def test_frames_are_decoded_once_and_in_parts_as_a_whole(folder, monkeypatch):
  """Where a part of the cache begins and ends within clips."""
  whole = own(folder, frames=4).read(np.arange(3))['clip']
  monkeypatch.setattr(clips, 'read', None)  # from the cache
  np.testing.assert_array_equal(own(folder, frames=4).read(np.arange(3))['clip'], whole)
  monkeypatch.undo()
  table = [
    (name, paths)
    for name, paths in clips.find(clips.open_files(folder).names).items()
    if name != 'c.mp4'
  ]
  seen = {}
  monkeypatch.setattr(
    clips, 'open_arrays', lambda examples, names: seen.update(of=examples) or {'image': 0}
  )
  clips._frames(str(folder), table, np.array([4, 6, 5]), '', '', 8, 3)
  parts = [seen['of'].decode(np.arange(a, b))['image'] for a, b in ((0, 3), (3, 11), (11, 15))]
  every = seen['of'].decode(np.arange(15))['image']
  np.testing.assert_array_equal(np.concatenate(parts), every)
  np.testing.assert_array_equal(every[[0, 4, 10]], whole[:, 0])


@pytest.mark.parametrize('more, message', [
  (dict(frames=5), 'a.gif has 4 frames, and data.frames=5 with data.stride=1 take 5'),
  (dict(frames=2, stride=0), 'data.stride=0 must be'),
  (dict(split='test'), 'has no folder test'),
])  # fmt: skip
def test_what_clips_refuse(folder, more, message):
  with pytest.raises(UserError, match=message):
    own(folder, **more)


def test_a_folder_without_clips(folder):
  for name in ('a.gif', 'b.mp4', 'c.mp4'):
    (folder / name).unlink()
  (folder / 'only').mkdir()
  with pytest.raises(UserError, match='no clips in'):
    own(folder / 'only')


def test_folders_of_clips_are_classes(folder, tmp_path):
  """Where all clips lie in them, below the folder of a split; a folder of frames is a clip, no class."""
  source = own(folder, frames=2)
  assert source.class_names is None and source.fields.keys() == {'clip'}
  top = tmp_path / 'actions'
  for split, places in ('train', ('jump/a.gif', 'walk/b.gif', 'walk/c')), ('test', ('walk/a.gif',)):
    for place in places:
      to = top / split / place
      to.parent.mkdir(parents=True, exist_ok=True)
      if place == 'walk/c':
        (folder / 'walk').rename(to)
      else:
        to.write_bytes((folder / 'a.gif').read_bytes())
  source = own(top, frames=2)
  assert source.class_names == ('jump', 'walk')
  np.testing.assert_array_equal(source.read(np.arange(3), ('label',))['label'], [0, 1, 1])
  rows = source.rows(0, 0, 30)
  found = source.read_rows(rows)
  np.testing.assert_array_equal(found['label'], rows[:, 0] > 0)
  assert found['label'].dtype == np.int32 and found['clip'].shape == (30, 2, 8, 8, 3)
  edges = data.build(dataset='edges', of='clips', data_dir=str(top), resolution=8, frames=2)
  np.testing.assert_array_equal(edges.read(np.arange(3))['label'], [0, 1, 1])
  assert own(top, frames=2, split='test').class_names == ('walk',)
