"""What an evaluation takes as pictures, and what it refuses."""

import json
import os
import types
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ganjax import UserError
from ganjax.devices.sharding import make_mesh
from ganjax.evaluation import sides
from ganjax.evaluation.extract import pictures
from ganjax.media import image as images
from ganjax.media.image import quantise


def _noise(n=6, size=8, channels=3, seed=0):
  shape = (n, size, size, channels)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _save(folder, array, name):
  (folder / name).parent.mkdir(exist_ok=True)
  Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(folder / name)


def test_an_npz_and_a_folder_of_the_same_pictures_are_the_same(tmp_path):
  x = _noise()
  np.savez(tmp_path / 'x.npz', arr_0=x, arr_1=np.arange(6))
  for i, image in enumerate(x):
    _save(tmp_path / 'folder', image, f'{i}.png') if i else (tmp_path / 'folder').mkdir()
  _save(tmp_path / 'folder', x[0], '0.png')
  a, b = sides.parse(str(tmp_path / 'x.npz')), sides.parse(str(tmp_path / 'folder'))
  assert a.count == b.count == 6
  np.testing.assert_array_equal(a.rows(np.arange(6)), x)
  np.testing.assert_array_equal(b.rows(np.arange(6)), x)
  np.testing.assert_array_equal(a.labels(), np.arange(6))
  assert b.labels is None and a.content != b.content
  # Beyond the end the last one fills a batch up.
  np.testing.assert_array_equal(b.rows(np.array([5, 6, 7])), x[[5, 5, 5]])
  assert sides.size_of(a) == sides.size_of(b) == (8, 3)
  assert sides.is_file(str(tmp_path)) and not sides.is_file('cifar10:test')


def test_folders_in_a_folder_are_classes_and_grey_stays_grey(tmp_path):
  for i, name in enumerate(['cat/1.png', 'dog/0.png', 'cat/0.png']):
    _save(tmp_path, _noise(1, channels=1, seed=i)[0], name)
  side = sides.parse(str(tmp_path))
  assert side.rows(np.arange(3)).shape == (3, 8, 8, 1)
  assert side.labels().tolist() == [0, 0, 1] and side.info['class_names'] == ['cat', 'dog']
  np.testing.assert_array_equal(side.rows(np.array([1]))[0], _noise(1, channels=1, seed=0)[0])


def test_a_folder_is_read_as_training_reads_it(tmp_path, monkeypatch):
  """Class folders may be links, hidden ones are none, and pictures beside class folders are refused."""
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  (top := tmp_path / 'top').mkdir()
  for name in ('top/cat/0.png', 'elsewhere/0.png', 'top/.hidden/0.png'):
    _save(tmp_path, _noise(1)[0], name)
  (top / 'dog').symlink_to(tmp_path / 'elsewhere')
  side = sides.parse(str(top))
  training = sides.dataset(dataset='folder', data_dir=str(top), resolution=8)
  for found in (side, training):
    assert found.count == 2 and found.labels().tolist() == [0, 1]
  _save(top, _noise(1)[0], 'loose.png')
  for read in (
    lambda: sides.parse(str(top)),
    lambda: sides.dataset(dataset='folder', data_dir=str(top), resolution=8),
  ):
    with pytest.raises(UserError, match=r'1 images beside its class folders \(cat, dog'):
      read()


def test_a_folder_is_prepared_as_for_training(tmp_path, monkeypatch):
  """Turned by EXIF, composited on white, 16 bits rounded, cut and resized; up to 1 % broken files are left out."""
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  top, rng = tmp_path / 'top', np.random.default_rng(0)
  top.mkdir()
  noise = lambda *shape: rng.integers(0, 256, shape).astype(np.uint8)
  Image.fromarray(noise(12, 9, 4)).save(top / 'alpha.png')
  Image.fromarray(noise(12, 9, 2)).save(top / 'grey_alpha.png')
  turned = Image.Exif()
  turned[0x0112] = 6  # a quarter to the right
  Image.fromarray(noise(24, 10, 3)).save(top / 'turned.jpg', exif=turned, quality=95)
  Image.fromarray(rng.integers(0, 2**16, (8, 8)).astype(np.uint16)).save(top / 'wide.png')
  for i in range(100):
    Image.fromarray(noise(7, 8, 3)).save(top / f'{i}.png')
  (top / '007b.png').write_bytes(b'no picture')
  side = sides.parse(str(top), size=(8, 3))
  training = sides.dataset(dataset='folder', data_dir=str(top), resolution=8)
  assert side.count == training.count == 104 and side.info['broken'] == ['007b.png']
  everything = np.arange(104)
  np.testing.assert_array_equal(side.rows(everything), training.rows(everything))
  assert side.info['preprocessing'] == training.info['preprocessing']
  grey = sides.dataset(dataset='folder', data_dir=str(top), resolution=8, channels=1)
  np.testing.assert_array_equal(
    sides.parse(str(top), size=(8, 1)).rows(everything), grey.rows(everything)
  )


def test_without_a_resolution_pictures_are_turned_and_composited_alone(tmp_path):
  x = _noise(1, channels=4)[0]
  for name in ('as_it_is', 'resized'):
    (tmp_path / name).mkdir()
  Image.fromarray(x[:, :5]).save(tmp_path / 'as_it_is/a.png')
  lying = Image.Exif()
  lying[0x0112] = 6
  Image.fromarray(x[:5, :, :3]).save(tmp_path / 'as_it_is/b.png', exif=lying)
  side = sides.parse(str(tmp_path / 'as_it_is'))
  a, b = side.rows(np.arange(2))
  alpha = x[:, :5, 3:] / 255
  np.testing.assert_allclose(a, x[:, :5, :3] * alpha + 255 * (1 - alpha), atol=1)
  np.testing.assert_array_equal(b, np.rot90(x[:5, :, :3], -1))
  assert side.info['resolution'] == [8, 5] and 'neither cut' in side.info['preprocessing']
  # Another preparation of the same files is other content: statistics are not mixed up.
  assert (
    len({sides.parse(str(tmp_path / 'as_it_is'), size=s).content for s in (None, (4, 3), (4, 1))})
    == 3
  )


def test_grey_among_colours_becomes_colour_and_content_is_that_of_the_bytes(tmp_path):
  grey, colour = _noise(1, channels=1)[0], _noise(1)[0]
  contents = []
  for folder, red in ('a', 0), ('b', 255):
    (tmp_path / folder).mkdir()
    _save(tmp_path / folder, grey, '0.bmp')
    other = colour.copy()
    other[0, 0, 0] = red
    _save(tmp_path / folder, other, '1.bmp')
    for name in ('0.bmp', '1.bmp'):
      os.utime(tmp_path / folder / name, (1, 1))  # as an unpacked archive has them
    side = sides.parse(str(tmp_path / folder))
    np.testing.assert_array_equal(side.rows(np.arange(2)), [np.repeat(grey, 3, 2), other])
    contents.append(side.content)
  assert contents[0] != contents[1]


def test_a_generator_that_diverged_is_an_error():
  rows = lambda seeds, examples: _latents(seeds) / jnp.where(seeds == 2, 0.0, 1.0)[:, None] * 0
  method = types.SimpleNamespace(rows=rows, examples=(), styles=None)
  side = sides.generator(_Stage, {'scale': 1.0}, method, num=4, info={'name': 'g'})
  with pytest.raises(UserError, match='pictures of g hold NaN or infinity'):
    pictures(side, np.arange(4), mesh=make_mesh(), batch_size=4)


def test_in_batch_mode_a_picture_is_that_of_its_batch():
  stage = type('S', (), {})
  stage.sample = staticmethod(
    lambda s, z, train: (jnp.tanh((z - z.mean(0)).reshape(-1, 2, 2, 3)), s)
  )
  side = sides.generator(stage, {}, _Method, num=16, batch_norm='batch', info={'name': 'g'})
  work = dict(mesh=make_mesh(), batch_size=8)
  whole = pictures(side, np.arange(16), **work)
  np.testing.assert_array_equal(pictures(side, np.array([3, 12]), **work), whole[[3, 12]])
  assert (pictures(side, np.array([3, 12]), mesh=make_mesh(), batch_size=4) != whole[[3, 12]]).any()


def test_content_follows_the_pictures(tmp_path):
  np.savez(tmp_path / 'x.npz', arr_0=_noise())
  before = sides.parse(str(tmp_path / 'x.npz')).content
  np.savez(tmp_path / 'x.npz', arr_0=_noise())
  assert sides.parse(str(tmp_path / 'x.npz')).content == before
  np.savez(tmp_path / 'x.npz', arr_0=_noise(seed=1))
  assert sides.parse(str(tmp_path / 'x.npz')).content != before


def test_bad_sides_are_one_line(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'sounds').mkdir()
  (tmp_path / 'sounds/ä 1.wav').write_bytes(b'RIFF')
  _save(tmp_path / 'mixed', _noise(1)[0], 'a.png') if (tmp_path / 'mixed').mkdir() is None else None
  _save(tmp_path / 'mixed', _noise(1, size=9)[0], 'b.png')
  (tmp_path / 'broken').mkdir()
  (tmp_path / 'broken/a.png').write_bytes(b'no picture')
  (tmp_path / 'broken.npz').write_bytes(b'PK no archive')
  np.savez(tmp_path / 'float.npz', arr_0=_noise() / 255)
  np.savez(tmp_path / 'other.npz', images=_noise())
  np.savez(tmp_path / 'labels.npz', arr_0=_noise(), arr_1=np.arange(5))
  np.savez(tmp_path / 'nothing.npz', arr_0=_noise(0))
  np.savez(tmp_path / 'objects.npz', arr_0=np.array([{}], object))
  for height, width in ((0, 8), (8, 0)):
    np.savez(tmp_path / f'flat{height}.npz', arr_0=np.zeros((5, height, width, 3), np.uint8))
  np.savez(tmp_path / 'label.npz', arr_0=_noise())
  for name, member in ('members.npz', 'arr_0'), ('label.npz', 'arr_1'):
    with zipfile.ZipFile(tmp_path / name, 'a') as archive:
      archive.writestr(member, b'no array')
  for name, line in {
    'flat0.npz': r'it is uint8 .5, 0, 8, 3.',
    'flat8.npz': r'it is uint8 .5, 8, 0, 3.',
    'members.npz': r'images must be uint8 .* in arr_0; it is .S8 ',
    'label.npz': 'arr_1 is .S8 .*, not a label for each of 6',
    'empty': 'no images in .*empty: looked for .png',
    'broken': r'1 of 1 images in .*broken cannot be used: a\.png',
    'broken.npz': 'is not readable as an .npz file',
    'float.npz': r'uint8 \[N, H, W, 1 or 3\] in arr_0; it is float64',
    'other.npz': 'it holds images',
    'objects.npz': 'is not readable as an .npz file',
    'labels.npz': 'arr_1 is int64 .5., not a label for each of 6 pictures',
    'nothing.npz': 'holds no pictures',
    'none.npz': 'none.npz is not there',
    'gone/a/b': 'gone/a/b is not there',
    'sounds': r'sounds holds no pictures but files such as ä 1.wav: of folders only pictures are',
    'sounds/ä 1.wav': 'ä 1.wav is neither a folder nor a .zip or .npz file of pictures',
  }.items():
    with pytest.raises(UserError, match=line) as error:
      sides.parse(str(tmp_path / name))
    assert '\n' not in str(error.value)
  with pytest.raises(UserError, match=r'mixed sizes in .*: a.png is 8x8, b.png 9x9; say --reso'):
    sides.parse(str(tmp_path / 'mixed'))
  assert sides.parse(str(tmp_path / 'mixed'), size=(8, None)).rows(np.arange(2)).shape == (
    2,
    8,
    8,
    3,
  )
  with pytest.raises(UserError, match='say --resolution'):
    sides.parse('cifar10:test')


def test_a_data_set_is_named_with_version_and_split(monkeypatch):
  """TFDS's name:version, and ours, name:split."""
  asked = []
  monkeypatch.setattr(sides, 'dataset', lambda **how: asked.append((how['dataset'], how['split'])))
  for text, found in {
    'mnist': ('mnist', 'train'),
    'mnist:test': ('mnist', 'test'),
    'mnist:3.0.1': ('mnist:3.0.1', 'train'),
    'mnist:3.*.*:test': ('mnist:3.*.*', 'test'),
    'lsun/bedroom:3.1.0:train[:80%]': ('lsun/bedroom:3.1.0', 'train[:80%]'),
    'cifar10:train[10:20]': ('cifar10', 'train[10:20]'),
    'cifar10:3.0': ('cifar10', '3.0'),
  }.items():
    sides.parse(text, size=(8, 3))
    assert asked.pop() == found


def test_a_subset_is_drawn_once_and_named():
  x = _noise(20)
  side = sides._stored(20, {'name': 'x'}, lambda i: x[i], lambda: np.arange(20), 'x')
  small = side.take(5)
  assert small.count == 5 and small.content != side.content and 'seed 0' in small.info['subset']
  chosen = small.labels()
  assert len(set(chosen)) == 5 and chosen.tolist() != [0, 1, 2, 3, 4]
  np.testing.assert_array_equal(small.rows(np.arange(5)), x[chosen])
  np.testing.assert_array_equal(small.labels(), side.take(5).labels())
  np.testing.assert_array_equal(small.rows(np.array([4, 5])), x[chosen[[4, 4]]])  # fills a batch up
  assert side.take(None) is side
  with pytest.raises(UserError, match='x has 20 pictures, fewer than the 21 asked for'):
    side.take(21)


class _Stage:
  @staticmethod
  def sample(state, z, *, train):
    return jnp.tanh(z[:, :12].reshape(-1, 2, 2, 3) * state['scale']) + train, state


def _latents(seeds):
  draw = lambda seed: jax.random.normal(jax.random.key(seed), (12,))
  return jax.vmap(draw)(seeds)


class _Method:
  examples = ()
  styles = None
  rows = staticmethod(lambda seeds, examples: _latents(seeds))


def _generator(num=10, **more):
  return sides.generator(
    _Stage, {'scale': jnp.float32(0.5)}, _Method, num=num, info={'name': 'g'}, **more
  )


def test_a_generator_gives_the_pictures_of_its_seeds():
  mesh = make_mesh()
  side = _generator()
  ours = pictures(side, np.arange(10), mesh=mesh, batch_size=4)
  z = _latents(np.arange(10))
  np.testing.assert_array_equal(
    ours, images.to_stored(_Stage.sample({'scale': 0.5}, z, train=False)[0])
  )
  # In any order, in any batches; another seed takes other latents.
  shuffled = pictures(side, np.array([7, 2, 9]), mesh=mesh, batch_size=8)
  np.testing.assert_array_equal(shuffled, ours[[7, 2, 9]])
  other = _generator(seed=1)
  assert other.rows(np.arange(2)).tolist() == [10, 11] and other.info['seed'] == 1
  # Past the end come fresh latents, so that a batch can always be full.
  assert side.rows(np.array([9, 10, 11])).tolist() == [9, 10, 11]
  batch = pictures(_generator(batch_norm='batch'), np.arange(3), mesh=mesh, batch_size=4)
  assert (batch == 255).mean() > 0.4  # train=True reached the sampler: it added 1


def test_labels_among_latents_are_those_of_the_pictures():
  rows = lambda seeds, examples: {'z': _latents(seeds), 'label': seeds % 3}
  method = types.SimpleNamespace(rows=rows, examples=(), styles=None)
  stage = type(
    'S', (), {'sample': staticmethod(lambda s, z, train: _Stage.sample(s, z['z'], train=train))}
  )
  side = sides.generator(stage, {'scale': 1.0}, method, num=7, info={'name': 'g'})
  assert side.labels().tolist() == [0, 1, 2, 0, 1, 2, 0] and side.info['classes'] == [3, 2, 2]


def test_quantisers():
  """The two in use: StyleGAN's rounds, ADM's truncates; they differ in half of all values by one level."""
  x = np.linspace(-1.1, 1.1, 100_001, dtype=np.float32).reshape(-1, 1, 1, 1)
  rounded = np.asarray(quantise(jnp.asarray(x), 'round'))
  cut = np.asarray(quantise(jnp.asarray(x), 'truncate'))
  assert (
    rounded != images.to_stored(x)
  ).mean() < 1e-4  # a fused multiply-add may round the other way
  np.testing.assert_array_equal(cut, np.clip((x + 1) * np.float32(127.5), 0, 255).astype(np.uint8))
  inside = np.abs(x) < 1
  assert 0.45 < (rounded != cut)[inside].mean() < 0.55
  assert np.abs(rounded.astype(int) - cut).max() == 1


def test_pictures_keep_what_their_generator_was_trained_on(tmp_path):
  text = {'seed': '0-5', 'trained_on': ['efficientnet_lite0']}
  images.save_npz(tmp_path / 'x.npz', _noise(), text)
  info = sides.parse(str(tmp_path / 'x.npz')).info
  assert info['trained_on'] == ['efficientnet_lite0']
  for metadata in json.dumps({'seed': 0}), 'no JSON', '[1]':
    np.savez(tmp_path / 'y.npz', arr_0=_noise(), metadata=np.array(metadata))
    assert 'trained_on' not in sides.parse(str(tmp_path / 'y.npz')).info
