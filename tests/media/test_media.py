"""Kinds of data: stored form and floats and back, mirrors, what a grid shows, files."""

import jax
import numpy as np
import pytest
import scipy.io.wavfile
from PIL import Image

from ganjax import UserError, media
from ganjax.layers.warp import warp
from ganjax.media import augment, clip, image, line, solid, sound

RNG = np.random.default_rng(0)
STORED = {
  'image': RNG.integers(0, 256, (3, 4, 6, 3)).astype(np.uint8),
  'clip': RNG.integers(0, 256, (3, 5, 4, 6, 1)).astype(np.uint8),
  'sound': RNG.integers(-(2**15), 2**15, (3, 50, 2)).astype(np.int16),
  'solid': RNG.integers(0, 2, (3, 4, 5, 6, 1)).astype(bool),
  'roll': RNG.integers(0, 2, (3, 16, 12, 2)).astype(bool),
}


@pytest.mark.parametrize('name', STORED)
def test_floats_lie_in_minus_one_to_one_and_come_back(name):
  kind, x = media.find(name), STORED[name]
  floats = np.asarray(kind.to_float(x))
  assert floats.dtype == np.float32 and -1 <= floats.min() < -0.9 and 0.9 < floats.max() <= 1
  np.testing.assert_array_equal(kind.to_stored(floats), x)
  np.testing.assert_array_equal(kind.to_float(floats), floats)  # floats stay
  ends = kind.to_stored(np.full(4, 3.0)), kind.to_stored(np.full(4, 1.0))
  np.testing.assert_array_equal(*ends)  # what is beyond saturates
  with pytest.raises(UserError, match='NaN'):
    kind.to_stored(np.where(floats == floats.ravel()[0], np.nan, floats))


@pytest.mark.parametrize(
  ('name', 'axis'), [('image', 2), ('clip', 3), ('solid', 1), ('sound', None), ('roll', None)]
)
def test_an_example_is_mirrored_as_a_whole_or_not_at_all(name, axis):
  x = np.concatenate([STORED[name]] * 20)
  same = {'a': x, 'b': x, 'label': np.arange(60, dtype=np.int32)}
  kinds = {'a': name, 'b': name, 'label': 'label'}
  found = augment.prepare(same, jax.random.key(0), flip=True, kinds=kinds)
  np.testing.assert_array_equal(found['a'], found['b'])
  np.testing.assert_array_equal(found['label'], same['label'])
  plain = np.asarray(media.find(name).to_float(x))
  turned = [(a != b).any() for a, b in zip(np.asarray(found['a']), plain)]
  if axis is None:
    assert not any(turned)
    return
  assert 15 < sum(turned) < 45
  flipped = np.flip(plain, axis)
  for i, was in enumerate(turned):
    np.testing.assert_array_equal(found['a'][i], flipped[i] if was else plain[i])


def test_a_mirrored_flow_is_that_of_the_mirrored_clip():
  x = np.asarray(STORED['image'], np.float32)
  flow = RNG.uniform(-3, 3, (3, 4, 6, 2)).astype(np.float32)
  turn = media.find('flow').mirror
  found = warp(image.mirror(x), turn(flow))
  np.testing.assert_allclose(found, image.mirror(warp(x, flow)), atol=1e-3)


def test_a_filmstrip_has_frame_after_frame():
  x = STORED['clip']
  strips = clip.show(x)
  assert strips.shape == (3, 4, 30, 1)
  for t in range(5):
    np.testing.assert_array_equal(strips[:, :, 6 * t : 6 * t + 6], x[:, t])


def test_a_sound_shows_its_loudness_and_its_pitch():
  """A sine of a quarter of the rate that fades in: half way up the spectrogram, brighter to the right."""
  t = np.arange(4096)
  wave = np.sin(np.pi / 2 * t + 0.3) * t / 4096
  stored = sound.to_stored(wave[None, :, None])
  (picture,) = sound.show(stored)[..., 0]
  above, below = picture[: sound.HEIGHT], picture[sound.HEIGHT :]
  thick = (above == 255).sum(0)
  assert thick[0] <= 3 and thick[-1] > 40 and np.all(np.diff(thick[5:]) > -4)
  assert abs(below[:, -20].argmax() - sound.HEIGHT // 2) <= 1
  silence = sound.show(np.zeros((1, 4096, 1), np.int16))
  assert silence[0, sound.HEIGHT :].max() == 0
  assert sound.show(stored[:, :20]).shape == (
    1,
    2 * sound.HEIGHT,
    sound.WIDTH,
    1,
  )  # shorter than a window


def test_a_wav_says_what_it_is(tmp_path):
  sound.save(tmp_path / 'a.wav', STORED['sound'][0], {'seed': 7}, 8000)
  rate, read = scipy.io.wavfile.read(tmp_path / 'a.wav')
  assert rate == 8000
  np.testing.assert_array_equal(read, STORED['sound'][0])
  content = (tmp_path / 'a.wav').read_bytes()
  assert b'ICMT' in content and b'{"seed": 7}' in content
  assert int.from_bytes(content[4:8], 'little') == len(content) - 8


def test_a_solid_is_seen_from_above():
  """The silhouette of a box has the area of its faces; tops are brightest, what is inside or behind does not matter."""
  sides = np.array([12, 20, 16])
  box = np.ones((1, *sides, 1), bool)
  (view,) = solid.show(box)[..., 0]
  turn, tilt = np.radians(35), np.radians(30)
  ahead = np.array([np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)])
  width = np.cos(turn) * 12 + np.sin(turn) * 20
  height = np.sin(tilt) * (np.sin(turn) * 12 + np.cos(turn) * 20) + np.cos(tilt) * 16
  pixel = max(width, height) / solid.VIEW
  faces = ahead * sides.prod() / sides
  assert (view > 0).sum() * pixel**2 == pytest.approx(faces.sum(), rel=0.01)

  box[:, 1:-1, 1:-1, 1:-1] = False
  np.testing.assert_array_equal(solid.show(box)[0, ..., 0], view)

  slab = np.zeros_like(box)
  slab[:, :, :, -1] = True
  top = solid.show(slab)[0, ..., 0]
  assert ((top > 0) <= (view > 0)).all() and np.argwhere(top)[:, 0].mean() < solid.VIEW / 2
  np.testing.assert_array_equal(top[top > 150], view[top > 150])
  assert top.max() == view.max() > view[solid.VIEW // 2 :].max()
  (floor,) = solid.show(np.flip(slab, 3))[..., 0]
  assert 0 < floor.max() < top.max()  # from above the floor is farther away


def test_the_faces_of_a_solid_look_outwards(tmp_path):
  """The volume by the divergence theorem is the number of voxels, of one voxel and of many."""
  for filled in (np.ones((1, 1, 1)), RNG.integers(0, 2, (4, 5, 6))):
    corners = solid._faces(filled.astype(bool)).astype(float)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    volume = (corners.mean(1) * normal).sum() / 3
    assert volume == pytest.approx(filled.sum())
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1)
  solid.save(tmp_path / 'a.obj', STORED['solid'][0], {'seed': 7})
  text = (tmp_path / 'a.obj').read_text()
  points = np.array([line.split()[1:] for line in text.splitlines() if line[:2] == 'v '], int)
  faces = np.array([line.split()[1:] for line in text.splitlines() if line[:2] == 'f '], int)
  assert text.startswith('# {"seed": 7}\n') and faces.min() == 1 and faces.max() == len(points)
  assert points.min() >= 0 and (points.max(0) <= (4, 5, 6)).all()


def test_clips_last_as_long_as_their_rate_says(tmp_path):
  clip.save(tmp_path / 'a.gif', STORED['clip'][0], {'seed': 7}, 10)
  found = Image.open(tmp_path / 'a.gif')
  assert found.n_frames == 5 and found.info['duration'] == 100


def test_resolutions_are_a_side_or_a_pair():
  assert media.sides(32) == (32, 32) and media.sides([8, 12]) == (8, 12)
  assert media.simplest((8, 8)) == 8 and media.simplest([8, 12]) == (8, 12)
  for bad in (0, -1, 2**15, (8,), (8, 0), 'x', 8.5, None, (1, 2, 3)):
    with pytest.raises(UserError, match='must be a number of pixels from 1'):
      media.sides(bad)


def test_lines_are_ones_among_zeros_and_come_back(tmp_path):
  texts = ['A b!', 'Zoë~', '']
  x = np.stack([line.encode(text, 6) for text in texts])
  assert [line.decode(one) for one in x] == ['A b!', 'Zoe~', '']
  floats = np.asarray(line.to_float(x))
  assert floats.shape == (3, 6, 96) and floats.dtype == np.float32
  assert {*floats.ravel()} == {0, 1} and (floats.sum(-1) == 1).all()
  assert (floats[2, :, 0] == 1).all() and floats[0, 1, 1] == 1  # an end, a space
  np.testing.assert_array_equal(line.to_float(floats), floats)
  shares = 0.5 * floats + 0.4 * np.roll(floats, 3, -1)
  np.testing.assert_array_equal(line.to_stored(shares), x)
  with pytest.raises(UserError, match='NaN'):
    line.to_stored(np.full((1, 6, 96), np.nan))
  assert line.encode('日本\t!', 4).tolist() == [63, 63, 32, 33]
  shown = line.show(x)
  assert shown.shape == (3, line.HEIGHT, 8 * line.WIDTH, 1) and shown.dtype == np.uint8
  dark = (shown < 128).sum((1, 2, 3))
  assert dark[0] > 10 and dark[2] == 0
  line.save(tmp_path / 'a.txt', x[1], {'seed': 7})
  assert (tmp_path / 'a.txt').read_text() == 'Zoe~\n# {"seed": 7}\n'
