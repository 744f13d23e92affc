import errno
import json
import os
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ganjax import UserError, __version__
from ganjax.media import image as images
from ganjax.media import xmp


def _noise(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


TEXT = images.describe('dcgan_cifar', 1200, 7)


@pytest.mark.parametrize(
  'x, expected',
  [(-1, 0), (-1.5, 0), (1, 255), (9, 255), (0, 128), (-1 / 127.5, 127), (-0.001, 127), (0.5, 191)]
  + [
    (-127 / 127.5 - 1e-4, 0),
    (-127 / 127.5 + 1e-4, 1),
    (126.9 / 127.5, 254),
    (127.1 / 127.5, 255),
  ],
)
def test_quantiser_table(x, expected):
  result = images.to_stored(np.full((1, 1, 1, 1), x, np.float32))
  assert result.dtype == np.uint8 and result.item() == expected


def test_quantiser_inverts_the_uint8_scale_and_leaves_its_input_alone():
  levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  x = levels.astype(np.float32) / 127.5 - 1
  before = x.copy()
  np.testing.assert_array_equal(images.to_stored(x), levels)
  np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_quantiser_refuses_what_is_not_finite_and_counts_images(bad):
  x = np.zeros((5, 4, 4, 3), np.float32)
  x[1, 0, 0, 0] = x[1, 2, 2, 1] = x[4, 3, 3, 2] = bad
  with pytest.raises(UserError, match='^2 of 5 generated images hold NaN or Inf'):
    images.to_stored(x)


def test_grid_places_image_i_at_row_and_column():
  x = _noise(7, 4, 6, 3)
  result = images.grid(x, columns=3)
  assert result.shape == (12, 18, 3)
  for i in range(7):
    r, c = divmod(i, 3)
    np.testing.assert_array_equal(result[4 * r : 4 * r + 4, 6 * c : 6 * c + 6], x[i])
  assert (result[8:, 6:] == 255).all()


@pytest.mark.parametrize(
  'n, h, w, shape',
  [(64, 32, 32, (256, 256)), (1, 8, 8, (8, 8)), (5, 8, 8, (16, 24)), (16, 8, 32, (64, 64))]
  + [(3, 64, 8, (64, 24)), (100, 32, 32, (320, 320))],
)
def test_grid_is_near_square(n, h, w, shape):
  assert images.grid(_noise(n, h, w, 1)).shape == (*shape, 1)


@pytest.mark.parametrize('channels, mode', [(1, 'L'), (3, 'RGB'), (4, 'RGBA')])
def test_png_round_trip(tmp_path, channels, mode):
  x = _noise(5, 9, channels)
  images.save_png(tmp_path / 'a.png', x, {**TEXT, 'caption': 'snow ☃'})
  with Image.open(tmp_path / 'a.png') as read:
    assert read.mode == mode
    np.testing.assert_array_equal(np.asarray(read).reshape(x.shape), x)
    packet = ElementTree.fromstring(read.text.pop('XML:com.adobe.xmp'))
    assert read.text == {
      'Software': f'ganjax {__version__}',
      'Description': 'synthetic image',
      'DigitalSourceType': xmp.SYNTHETIC,
      'config': 'dcgan_cifar',
      'step': '1200',
      'seed': '7',
      'caption': 'snow ☃',
    }
  raw = (tmp_path / 'a.png').read_bytes()
  assert raw.count(b'tEXt') == 6 and raw.count(b'iTXt') == 2
  (about,) = packet.iter('{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description')
  iptc = '{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType'
  assert about.attrib[iptc].endswith('/trainedAlgorithmicMedia')
  assert os.listdir(tmp_path) == ['a.png']


def test_a_picture_of_no_generator_says_nothing(tmp_path):
  images.save_png(tmp_path / 'a.png', _noise(5, 9, 3), {})
  with Image.open(tmp_path / 'a.png') as read:
    assert read.text == {}


def test_gif_round_trip(tmp_path):
  frames = np.zeros((4, 8, 8, 3), np.uint8)
  frames[np.arange(4), :, :, [0, 1, 2, 0]] = np.array([255, 255, 255, 100])[:, None, None]
  images.save_gif(tmp_path / 'a.gif', frames, TEXT, milliseconds=120)
  with Image.open(tmp_path / 'a.gif') as read:
    assert read.n_frames == 4 and read.info['loop'] == 0
    assert json.loads(read.info['comment']) == TEXT
    for i in range(4):
      read.seek(i)
      assert read.info['duration'] == 120
      np.testing.assert_array_equal(np.asarray(read.convert('RGB')), frames[i])
  assert os.listdir(tmp_path) == ['a.gif']


def test_npz_follows_the_adm_convention(tmp_path):
  x = _noise(6, 4, 4, 3)
  images.save_npz(tmp_path / 'a.npz', x, TEXT)
  images.save_npz(tmp_path / 'b.npz', x, TEXT, labels=np.arange(6, dtype=np.int32))
  for name, entries in (('a', ['arr_0', 'metadata']), ('b', ['arr_0', 'arr_1', 'metadata'])):
    with np.load(tmp_path / f'{name}.npz', allow_pickle=False) as read:
      assert sorted(read.files) == entries
      assert read['arr_0'].dtype == np.uint8
      np.testing.assert_array_equal(read['arr_0'], x)
      assert json.loads(read['metadata'].item()) == TEXT
      if name == 'b':
        np.testing.assert_array_equal(read['arr_1'], np.arange(6))
  assert sorted(os.listdir(tmp_path)) == ['a.npz', 'b.npz']


SAVES = {
  'png': lambda path: images.save_png(path, _noise(64, 64, 3), TEXT),
  'gif': lambda path: images.save_gif(path, _noise(3, 64, 64, 3), TEXT),
  'npz': lambda path: images.save_npz(path, _noise(40, 64, 64, 3), TEXT),
}


@pytest.mark.parametrize('kind', SAVES)
def test_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch, kind):
  def full(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  path = tmp_path / f'a.{kind}'
  path.write_bytes(b'old')
  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(UserError) as error:
    SAVES[kind](path)
  assert str(error.value) == f'could not write {path}: No space left on device'
  assert path.read_bytes() == b'old' and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize('kind', SAVES)
def test_missing_folder_is_one_line(tmp_path, kind):
  with pytest.raises(UserError, match='could not write .*No such file'):
    SAVES[kind](tmp_path / 'missing' / f'a.{kind}')


@pytest.mark.parametrize(
  'save',
  [
    lambda path: images.save_png(path, np.zeros((4, 4, 3), np.float32), {}),
    lambda path: images.save_png(path, np.zeros((4, 4, 5), np.uint8), {}),
    lambda path: images.save_npz(path, np.zeros((2, 4, 4, 3), np.float32), {}),
  ],
)
def test_wrong_arrays_are_refused_before_anything_is_written(tmp_path, save):
  with pytest.raises(ValueError, match='must be (uint8|stored)'):
    save(tmp_path / 'a')
  assert os.listdir(tmp_path) == []
