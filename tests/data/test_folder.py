import importlib
import io
import os
import re
import shutil
import struct
import time
import types
import warnings
import zipfile

import numpy as np
import PIL.Image
import pytest

from ganjax import UserError, data
from ganjax.data import files, pixels
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
  assert source.class_names == ('ant', 'cat', 'dog')
  assert batch['label'].tolist() == [0, 1, 1, 1, 2, 2, 2]
  assert source.fields['label'].dtype == np.int32
  assert source.info['num_examples'] == 7
  expected = [BLUE, RED, RED, RED, GREEN, GREEN, GREEN]
  for image, colour in zip(batch['image'], expected):
    assert np.abs(image.astype(int) - colour).max() <= 2


def test_labels_of_many_files_take_no_search_among_the_classes(monkeypatch):
  found = sorted(f'{i % 20_000:05}/{i}.png' for i in range(200_000))
  files = types.SimpleNamespace(names=found, repeated=())
  monkeypatch.setattr(folders, 'open_files', lambda top: files)
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
    with pytest.raises(
      UserError, match=r'1 of 91 images .*: b/050x.jpg \(.*truncated.*\); repair'
    ) as error:
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


def test_folders_that_look_alike_do_not_read_each_others_pictures(tmp_path):
  """Of one name, with files of equal names, sizes and times; in one place one after the other, or in two."""
  for place, colour in ('a', RED), ('b', BLUE), ('a', GREEN):
    shutil.rmtree(tmp_path / place, ignore_errors=True)
    save(tmp_path / place / 'top' / '0.bmp', solid(colour))
    os.utime(tmp_path / place / 'top' / '0.bmp', ns=(1, 1))
    np.testing.assert_array_equal(one(tmp_path / place / 'top'), solid(colour))


def test_a_file_overwritten_with_its_time_kept_is_decoded_again(tmp_path):
  file = tmp_path / 'top' / 'a.bmp'
  contents = []
  for colour in RED, BLUE:
    save(file, solid(colour))
    os.utime(file, ns=(1, 1))
    source, batch = read(tmp_path / 'top')
    contents.append(source.content)
    np.testing.assert_array_equal(batch['image'][0], solid(colour))
  assert contents[0] != contents[1]


def test_a_copy_that_keeps_times_is_the_same_data(tmp_path):
  """As another host has it: processes compare `identity`, a resume compares records of `info`."""
  save(tmp_path / 'one' / 'top' / 'cat' / 'a.png', solid(RED))
  shutil.copytree(tmp_path / 'one', tmp_path / 'two')
  first, second = (read(tmp_path / name / 'top')[0] for name in ('one', 'two'))
  assert first.info == second.info and first.identity == second.identity


def test_links_that_lead_nowhere_and_pipes_are_broken_pictures(tmp_path, caplog):
  top = tmp_path / 'top'
  for i in range(400):
    save(top / f'{i:03}.bmp', solid(RED, 1, 1))
  (top / 'gone.png').symlink_to(tmp_path / 'nowhere')
  (top / 'round.png').symlink_to(top / 'round.png')
  os.mkfifo(top / 'pipe.png')
  source, _ = read(top)
  assert source.num_examples == 400
  assert source.info['broken'] == ['gone.png', 'pipe.png', 'round.png']
  for part in ('gone.png (No such file', 'round.png (Too many levels', 'pipe.png (not a regular'):
    assert part in caplog.text


def test_a_folder_is_read_once_however_many_links_lead_there(tmp_path, caplog):
  top = tmp_path / 'top'
  for name in ('top/cat/0.png', 'top/dog/0.png', 'away/0.png'):
    save(tmp_path / name, solid(RED))
  (top / 'a').symlink_to(top / 'cat')  # before it in every order
  (top / 'cat' / 'up').symlink_to(top)
  for name in 'ef':
    (top / name).symlink_to(tmp_path / 'away')
  assert folders.find(top)[0] == ['cat/0.png', 'dog/0.png', 'e/0.png']
  assert 'read by another name: a, cat/up, f' in caplog.text


def test_what_is_not_read_is_counted(tmp_path, caplog):
  for name in ('0.jpe', '1.tga', '2.jp2', '3.dib'):
    save(tmp_path / 'top' / name, solid(RED))
  for name in ('a.heic', 'b.heic', 'c.txt', 'README'):
    (tmp_path / 'top' / name).write_text('')
  source, batch = read(tmp_path / 'top')
  assert source.num_examples == 4 and abs(batch['image'].astype(int) - RED).max() <= 2
  assert 'were not read: 2 with .heic, 1 with no ending, 1 with .txt' in caplog.text
  for name in ('0.jpe', '1.tga', '2.jp2', '3.dib'):
    (tmp_path / 'top' / name).unlink()
  with pytest.raises(UserError, match=r'no images in .*; of other files there are 2 with .heic'):
    read(tmp_path / 'top')


def deep_tiff(path, bits):
  """Two by one grey pixels of 12 bits, black and white, as Pillow cannot write them."""
  save(path, np.zeros((1, 2), np.uint16))
  content = bytearray(path.read_bytes())
  at = content.index(struct.pack('<HHII', 258, 3, 1, 16))
  content[at : at + 12] = struct.pack('<HHII', 258, 3, 1, bits)
  path.write_bytes(content)


def test_pixels_whose_range_is_not_known_are_refused_by_name(tmp_path):
  save(tmp_path / 'wide' / 'a.tif', np.full((8, 8), 70_000, np.int32))
  save(tmp_path / 'dark' / 'a.tif', np.full((8, 8), 200, np.int32))
  save(tmp_path / 'float' / 'a.tif', np.full((8, 8), 0.5, np.float32))
  deep_tiff(tmp_path / 'deep' / 'a.tif', 12)
  kinds = {'wide': '32-bit', 'dark': '32-bit', 'float': 'floating point', 'deep': '12-bit'}
  for name, kind in kinds.items():
    line = rf'a.tif \(.*{kind} pixels, whose range is not known: save it with 8 or 16 bits\)'
    with pytest.raises(UserError, match=line):
      read(tmp_path / name)


def test_pictures_too_large_are_named_with_the_reason(tmp_path, monkeypatch):
  monkeypatch.setattr(PIL.Image, 'MAX_IMAGE_PIXELS', 100)
  save(tmp_path / 'large' / 'a.png', solid(RED, 8, 16))  # Pillow warns
  with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter('default')
    importlib.reload(pixels)  # pytest takes back what an import has set
    np.testing.assert_array_equal(one(tmp_path / 'large'), solid(RED))
  assert not seen
  save(tmp_path / 'huge' / 'a.png', solid(RED, 16, 16))
  with pytest.raises(UserError, match=r'a.png \(Image size \(256 pixels\) exceeds') as error:
    read(tmp_path / 'huge')
  assert '\n' not in str(error.value)
  monkeypatch.setattr(files, 'LARGEST', 50)
  save(tmp_path / 'heavy' / 'a.png', solid(RED))
  with pytest.raises(UserError, match=r'a.png \(.*are no picture'):
    read(tmp_path / 'heavy')


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
  """Else its pictures would be left out silently."""
  save(tmp_path / 'top' / 'cat' / 'a.png', solid(RED))
  save(tmp_path / 'top' / 'dog' / 'a.png', solid(RED))
  look = os.scandir

  def scandir(path):
    if str(path).endswith('dog'):
      raise PermissionError(13, 'Permission denied')
    return look(path)

  monkeypatch.setattr(os, 'scandir', scandir)
  with pytest.raises(UserError, match=r'cannot read the folder .*dog: Permission denied'):
    read(tmp_path / 'top')


def pack(path, **entries):
  with zipfile.ZipFile(path, 'w') as archive:
    for name, content in entries.items():
      archive.writestr(name, content)
  return path


def bmp(colour):
  file = io.BytesIO()
  PIL.Image.fromarray(solid(colour)).save(file, 'BMP')
  return file.getvalue()


@pytest.mark.parametrize('where', ['', './', 'top/', 'top/deep/'])
def test_a_zip_archive_is_read_as_a_folder(tmp_path, where):
  names = {'cat/0.bmp': RED, 'cat/deep/1.bmp': GREEN, 'dog/0.bmp': BLUE}
  entries = {f'{where}{name}': bmp(colour) for name, colour in names.items()}
  more = {
    f'{where}cat/.hidden.bmp': b'x',
    '__MACOSX/cat/0.bmp': b'x',
    f'{where}empty/': b'',
    './': b'',
  }
  path = pack(tmp_path / 'pics.zip', **entries, **more)
  for cache in True, False:
    source, batch = read(path, cache=cache)
    assert source.class_names == ('cat', 'dog') and batch['label'].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(batch['image'][:, 0, 0], [RED, GREEN, BLUE])
  pack(path, **{name: bmp(GREEN) for name in entries})
  assert (read(path)[1]['image'] == GREEN).all()
  folder = tmp_path / 'folder'
  zipfile.ZipFile(path).extractall(folder)
  assert read(folder / where)[1]['label'].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
  'name', ['/etc/0.bmp', '../0.bmp', 'a/../../0.bmp', '..\\0.bmp', 'C:\\0.bmp', 'cat//0.bmp']
)
def test_names_that_lead_out_of_an_archive(tmp_path, name):
  path = pack(tmp_path / 'pics.zip', **{'cat/0.bmp': bmp(RED), name: bmp(RED)})
  with pytest.raises(UserError, match=re.escape(f'{name!r}, a name that leads out of it')):
    read(path)


def test_archives_that_are_damaged_or_grow(tmp_path, monkeypatch):
  path = pack(tmp_path / 'pics.zip', **{f'{i}.bmp': bmp(RED) for i in range(2)})
  content = bytearray(path.read_bytes())
  at = content.index(bmp(RED)) + 60
  content[at] ^= 1
  path.write_bytes(content)
  with pytest.raises(UserError, match=r'1 of 2 images .*: 0.bmp \(Bad CRC-32'):
    read(path)
  path.write_bytes(content[:-40])
  with pytest.raises(UserError, match='neither a folder nor a zip archive'):
    read(path)
  monkeypatch.setattr(files, 'LARGEST', 2**20)
  with zipfile.ZipFile(tmp_path / 'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('0.bmp', bmp(RED) + bytes(2**21))
  with pytest.raises(UserError, match=r'1 of 1 images .*: 0.bmp \(.*are no picture'):
    read(tmp_path / 'bomb.zip')


@pytest.mark.parametrize('kind', ['folder', 'zip'])
def test_a_path_for_a_data_set_is_a_folder(tmp_path, monkeypatch, kind):
  save(tmp_path / 'pics' / '0.bmp', solid(RED))
  pack(tmp_path / 'pics.zip', **{'0.bmp': bmp(RED)})
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  name = {'folder': 'pics', 'zip': 'pics.zip'}[kind]
  for dataset in (
    f'./{name}',
    f'~/{name}',
    str(tmp_path / name),
    *(['pics.zip'] if kind == 'zip' else ['pics/']),
  ):
    source = data.build(dataset=dataset, resolution=8)
    assert source.info['dataset'] == 'folder' and source.num_examples == 1
  with pytest.raises(UserError, match='name two places: give data.dataset=folder'):
    data.build(dataset=f'./{name}', data_dir='elsewhere', resolution=8)
  with pytest.raises(UserError, match=r"data set 'pics': for the pictures of that folder, \./pics"):
    data.build(dataset='pics', data_dir=str(tmp_path / 'nowhere'), resolution=8)


def test_a_name_with_a_slash_is_a_path_where_it_is_there(tmp_path, monkeypatch, caplog):
  save(tmp_path / 'lsun' / 'bedroom' / '0.bmp', solid(RED))
  monkeypatch.chdir(tmp_path)
  found = data.build(dataset='lsun/bedroom', resolution=8)
  assert found.info['dataset'] == 'folder' and found.num_examples == 1
  assert (
    'data.dataset=lsun/bedroom is a path here and is read as one; for a data set' in caplog.text
  )
  assert folders.locate('lsun/bedroom', '.') == ('lsun/bedroom', '.')
  assert folders.locate('lsun/cat', None) == ('lsun/cat', None)
  with pytest.raises(UserError, match='photos/? is not there: give the folder'):
    data.build(dataset='photos/', resolution=8)


@pytest.mark.parametrize('case', ['none', 'missing', 'empty', 'file', 'both', 'split'])
def test_one_line_for_what_is_wrong(tmp_path, case):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'file').write_text('')
  save(tmp_path / 'both' / 'loose.png', solid(RED))
  save(tmp_path / 'both' / 'class' / 'a.png', solid(RED))
  message = {
    'none': 'needs data.data_dir=DIRECTORY',
    'missing': 'missing is not there',
    'empty': 'no images in .*empty',
    'file': 'file is neither a folder nor a zip archive',
    'both': '1 images beside its class folders',
    'split': "no split 'test'; it has: train",
  }[case]
  kwargs = {'none': {'data_dir': None}, 'split': {'split': 'test'}}.get(case, {})
  with pytest.raises(UserError, match=message) as error:
    read(tmp_path / case, **kwargs)
  assert '\n' not in str(error.value)
