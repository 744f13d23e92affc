import os
import time

import numpy as np
import PIL.Image
import pytest

from ganjax import UserError, data
from ganjax.data import folder as folders

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save(path, array, mode=None, **kwargs):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = PIL.Image.fromarray(np.asarray(array, getattr(array, 'dtype', np.uint8)))
  (image if mode is None else image.convert(mode)).save(path, **kwargs)


def solid(colour, height=8, width=8):
  return np.tile(np.array(colour, np.uint8), (height, width, 1))


def read(folder, **kwargs):
  source = data.build(**{'dataset': 'folder', 'data_dir': str(folder), 'resolution': 8, **kwargs})
  return source, source.read(np.arange(source.num_examples))


def one(folder, **kwargs):
  source, batch = read(folder, **kwargs)
  assert source.num_examples == 1
  return batch['image'][0]


def test_class_folders_give_labels(tmp_path):
  top = tmp_path / 'top'
  for i in range(3):
    save(top / 'cat' / f'{i}.png', solid(RED))
    save(top / 'dog' / 'deep' / 'er' / f'{i}.JPG', solid(GREEN))
  save(top / 'ant' / '0.webp', solid(BLUE), lossless=True)
  (top / 'notes.txt').write_text('not an image')
  (top / '.hidden').mkdir()
  save(top / '.hidden' / 'x.png', solid(BLUE))
  (top / 'cat' / '._0.png').write_bytes(b'what macOS leaves')
  os.symlink(top, top / 'cat' / 'loop')
  source, batch = read(top)
  assert source.class_names == ['ant', 'cat', 'dog']
  assert batch['label'].tolist() == [0, 1, 1, 1, 2, 2, 2]
  assert source.fields['label'] == ((), np.int32)
  assert source.info['num_examples'] == 7
  expected = [BLUE, RED, RED, RED, GREEN, GREEN, GREEN]
  for image, colour in zip(batch['image'], expected):
    assert np.abs(image.astype(int) - colour).max() <= 2


def test_labels_of_many_files_take_no_search_among_the_classes(monkeypatch):
  paths = [f'{i % 20_000:05}/{i}.png' for i in range(200_000)]
  monkeypatch.setattr(folders, '_walk', lambda top: paths)
  since = time.monotonic()
  found, class_names, labels = folders.find('top')
  assert time.monotonic() - since < 5  # by a search: 20 s and more
  assert [class_names[label] for label in labels[::999]] == [path[:5] for path in found[::999]]


def test_a_flat_folder_has_no_labels(tmp_path):
  save(tmp_path / 'top' / 'a.png', solid(RED))
  source, batch = read(tmp_path / 'top')
  assert source.class_names is None
  assert source.num_classes is None
  assert set(batch) == {'image'} == set(source.fields)


def test_the_right_size_passes_bit_for_bit(tmp_path):
  image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  save(tmp_path / 'top' / 'a.png', image)
  np.testing.assert_array_equal(one(tmp_path / 'top'), image)


@pytest.mark.parametrize('turn', [False, True])
def test_centre_square(tmp_path, turn):
  wide = np.concatenate([solid(c) for c in (RED, GREEN, BLUE)], axis=1)
  save(tmp_path / 'top' / 'a.png', wide.swapaxes(0, 1) if turn else wide)
  np.testing.assert_array_equal(one(tmp_path / 'top'), solid(GREEN))


def test_reduction_is_antialiased(tmp_path):
  checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
  save(tmp_path / 'top' / 'a.png', checks)
  assert np.abs(one(tmp_path / 'top')[2:-2, 2:-2].astype(int) - 127.5).max() < 2


def test_modes(tmp_path):
  grey = np.tile(np.arange(0, 256, 36, dtype=np.uint8), (8, 1))
  half = np.dstack([solid(RED), np.full((8, 8), 128, np.uint8)])
  colours = np.concatenate([solid(RED, 8, 4), solid(BLUE, 8, 4)], axis=1)
  wide = np.tile(np.linspace(0, 65535, 8).round().astype(np.uint16), (8, 1))
  palette = PIL.Image.fromarray(colours).quantize(4, dither=0)
  transparent = palette.getpixel((0, 0))

  def grey3(array):
    return np.repeat(np.asarray(array)[..., None], 3, -1)

  save(tmp_path / 'grey' / 'a.png', grey)
  np.testing.assert_array_equal(one(tmp_path / 'grey'), grey3(grey))
  np.testing.assert_array_equal(one(tmp_path / 'grey', channels=1), grey[..., None])

  save(tmp_path / 'alpha' / 'a.png', half)
  assert np.abs(one(tmp_path / 'alpha').astype(int) - (255, 127, 127)).max() <= 1
  save(tmp_path / 'grey_alpha' / 'a.png', half, mode='LA')
  assert np.abs(one(tmp_path / 'grey_alpha').astype(int) - (127 * 255 + 128 * 76) / 255).max() <= 1

  for folder in ('palette', 'palette_alpha'):
    (tmp_path / folder).mkdir()
  palette.save(tmp_path / 'palette' / 'a.png')
  np.testing.assert_array_equal(one(tmp_path / 'palette'), colours)
  palette.save(tmp_path / 'palette_alpha' / 'a.png', transparency=transparent)
  expected = colours.copy()
  expected[:, :4] = 255
  np.testing.assert_array_equal(one(tmp_path / 'palette_alpha'), expected)

  save(tmp_path / 'cmyk' / 'a.tif', colours, mode='CMYK')
  np.testing.assert_array_equal(one(tmp_path / 'cmyk'), colours)

  expected = grey3((wide / 257).round().astype(np.uint8))
  for extension in ('png', 'tif', 'pgm'):
    save(tmp_path / extension / f'a.{extension}', wide)
    np.testing.assert_array_equal(one(tmp_path / extension), expected)

  save(tmp_path / 'bits' / 'a.png', grey, mode='1')
  assert set(np.unique(one(tmp_path / 'bits'))) == {0, 255}

  luma = one(tmp_path / 'palette', channels=1)
  assert luma.shape == (8, 8, 1)
  assert luma[0, [0, -1], 0].tolist() == [76, 29]


def test_exif_rotation(tmp_path):
  image = PIL.Image.fromarray(np.concatenate([solid(RED, 4), solid(BLUE, 4)]))
  exif = PIL.Image.Exif()
  exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: the top becomes the right side
  (tmp_path / 'top').mkdir()
  image.save(tmp_path / 'top' / 'a.png', exif=exif)
  expected = np.concatenate([solid(BLUE, 8, 4), solid(RED, 8, 4)], axis=1)
  np.testing.assert_array_equal(one(tmp_path / 'top'), expected)


def mixed(top, good):
  """`good` pictures of many sizes, and a truncated one, in two classes."""
  rng = np.random.default_rng(0)
  for i in range(good):
    height, width = rng.integers(4, 20, 2)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    save(top / 'ab'[i % 2] / f'{i:03d}.png', image)
  save(top / 'b' / '050x.jpg', rng.integers(0, 256, (64, 64, 3), np.uint8))
  file = top / 'b' / '050x.jpg'
  file.write_bytes(file.read_bytes()[:1500])


def test_a_few_broken_files_are_left_out_and_named(tmp_path, caplog):
  mixed(tmp_path / 'top', 110)
  source, batch = read(tmp_path / 'top')
  assert source.num_examples == 110
  assert source.info['broken'] == ['b/050x.jpg']
  assert '1 of 111 images' in caplog.text
  assert 'b/050x.jpg' in caplog.text
  assert batch['label'].tolist() == [0] * 55 + [1] * 55
  direct, same = read(tmp_path / 'top', cache=False)
  assert direct.num_examples == 110
  assert direct.info == source.info
  for name, value in batch.items():
    np.testing.assert_array_equal(same[name], value)


def test_many_broken_files_are_an_error(tmp_path):
  mixed(tmp_path / 'top', 90)
  for cache in (True, False):
    with pytest.raises(UserError, match=r'1 of 91 images .*: b/050x.jpg; mend') as error:
      read(tmp_path / 'top', cache=cache)
    assert '\n' not in str(error.value)


def test_a_file_that_breaks_later_is_named(tmp_path):
  save(tmp_path / 'top' / 'a.png', solid(RED))
  source, _ = read(tmp_path / 'top', cache=False)
  (tmp_path / 'top' / 'a.png').write_bytes(b'')
  with pytest.raises(UserError, match='a.png could be decoded when'):
    source.read(np.array([0]))


def test_a_changed_file_is_decoded_again(tmp_path):
  file = tmp_path / 'top' / 'a.bmp'
  save(file, solid(RED))
  before = file.stat()
  np.testing.assert_array_equal(one(tmp_path / 'top'), solid(RED))
  save(file, solid(BLUE))
  os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
  assert file.stat().st_size == before.st_size
  np.testing.assert_array_equal(one(tmp_path / 'top'), solid(BLUE))


@pytest.mark.parametrize('case', ['none', 'missing', 'empty', 'file', 'both', 'split'])
def test_one_line_for_what_is_wrong(tmp_path, case):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'file').write_text('')
  save(tmp_path / 'both' / 'loose.png', solid(RED))
  save(tmp_path / 'both' / 'class' / 'a.png', solid(RED))
  message = {
    'none': 'needs data.data_dir=DIRECTORY',
    'missing': 'missing is not a directory',
    'empty': 'no images in .*empty',
    'file': 'file is not a directory',
    'both': '1 images beside its class folders',
    'split': "no split 'test'; it has: train",
  }[case]
  kwargs = {'none': {'data_dir': None}, 'split': {'split': 'test'}}.get(case, {})
  with pytest.raises(UserError, match=message) as error:
    read(tmp_path / case, **kwargs)
  assert '\n' not in str(error.value)
