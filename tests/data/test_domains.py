"""Data sets of two domains: what goes together, windows and mirroring, and each kind of file that is refused."""

import os
import zipfile

import numpy as np
import PIL.Image
import pytest

from ganjax import UserError, data
from ganjax.data import emoji

RNG = np.random.default_rng(0)


def save(path, array, **how):
  os.makedirs(os.path.dirname(path), exist_ok=True)
  PIL.Image.fromarray(array).save(path, **how)


def pictures(n, height=8, width=8):
  """Smooth ones, whose like survives a resize: a colour each, with a brighter left half."""
  x = np.tile(RNG.integers(40, 160, (n, 1, 1, 3)), (1, height, width, 1)).astype(np.uint8)
  x[:, :, : width // 2] += 80
  return x


@pytest.fixture
def facades(tmp_path):
  """(folder with train and test, sources, targets) of pairs side by side, the target in the left half."""
  sources, targets = pictures(6), pictures(6)
  for i, (a, b) in enumerate(zip(sources, targets)):
    split = 'train' if i < 4 else 'test'
    save(tmp_path / f'facades/{split}/{i}.png', np.concatenate([b, a], 1))
  return tmp_path / 'facades', sources, targets


def pairs(data_dir=None, **arguments):
  where = None if data_dir is None else str(data_dir)
  return data.build(**{'dataset': 'pairs', 'data_dir': where, 'resolution': 8, **arguments})


def read(source):
  found = source.read(np.arange(source.num_examples))
  return found['source'], found['target']


def test_both_halves_in_either_direction(facades):
  top, sources, targets = facades
  for direction, a, b in (('BtoA', sources, targets), ('AtoB', targets, sources)):
    for split, part in (('train', slice(0, 4)), ('test', slice(4, 6))):
      found = pairs(top, direction=direction, split=split)
      assert found.num_examples == len(a[part])
      np.testing.assert_array_equal(read(found), (a[part], b[part]))
  assert {name: field.shape for name, field in found.fields.items()} == {
    'source': (8, 8, 3),
    'target': (8, 8, 3),
  }
  with pytest.raises(UserError, match='no pictures in a folder tset .did you mean test'):
    pairs(top, split='tset')


def test_an_archive_and_a_folder_without_splits(facades, tmp_path):
  top, sources, targets = facades
  with zipfile.ZipFile(tmp_path / 'facades.zip', 'w') as archive:
    for i in range(6):
      split = 'train' if i < 4 else 'test'
      archive.write(top / f'{split}/{i}.png', f'facades/{split}/{i}.png')
  np.testing.assert_array_equal(
    read(pairs(tmp_path / 'facades.zip', direction='BtoA'))[0], sources[:4]
  )
  found = pairs(top / 'test', direction='BtoA')
  np.testing.assert_array_equal(read(found), (sources[4:], targets[4:]))


def test_two_folders_are_matched_by_name(tmp_path):
  a, b = pictures(3), pictures(3)
  for i, name in enumerate(('x', 'deep/y', 'z')):
    save(tmp_path / f'photos/{name}.png', a[i])
    save(tmp_path / f'maps/{name}.bmp', b[i])
  folders = {'source': str(tmp_path / 'photos'), 'target': str(tmp_path / 'maps')}
  order = [1, 0, 2]
  np.testing.assert_array_equal(read(pairs(**folders)), (a[order], b[order]))
  np.testing.assert_array_equal(read(pairs(**folders, direction='BtoA')), (b[order], a[order]))
  for i in range(2):
    save(tmp_path / f'maps/more{i}.png', b[0])
  with pytest.raises(
    UserError, match=r'2 of 5 pictures in .*maps have no partner in .*photos: more0, more1$'
  ):
    pairs(**folders)
  save(tmp_path / 'photos/z.webp', a[0])
  with pytest.raises(UserError, match='photos has two pictures named z: pairs go by their names'):
    pairs(**folders)


def test_windows_are_alike_in_both_and_of_all_places(facades):
  """The target is the source, negated: so it is of every window."""
  top, *_ = facades
  noise = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)
  for i, x in enumerate(noise):
    save(top / f'noise/{i:02}.png', np.concatenate([x, 255 - x], 1))
  found = pairs(top / 'noise', jitter=3, flip=True)
  rows = found.rows(5, 0, 240)
  assert rows.shape == (240, 2, 4)
  batch = found.read_rows(rows)
  assert batch['source'].shape == (240, 8, 8, 3)
  # Resized by the same filter, they are negatives but for rounding.
  total = batch['source'].astype(int) + batch['target']
  assert np.abs(total - 255).max() <= 1
  places = {tuple(row) for row in rows[:, 0, 1:3]}
  assert places == {(i, j) for i in range(4) for j in range(4)}
  np.testing.assert_array_equal(np.sort(rows[:12, 0, 0]), np.arange(12))
  # Read by index they are whole.
  np.testing.assert_array_equal(read(found)[0], noise)


def test_the_order_is_a_function_of_seed_and_position(facades):
  found = pairs(facades[0], jitter=2)
  rows = found.rows(3, 0, 50)
  np.testing.assert_array_equal(found.rows(3, 17, 20), rows[17:37])
  assert (found.rows(4, 0, 50) != rows).any()
  # Without windows it is that of every data set.
  plain = pairs(facades[0])
  np.testing.assert_array_equal(plain.rows(3, 0, 9)[:, 0, 0], data.indices(3, 0, 9, 4))


def test_without_a_cache_the_same_is_read(facades):
  kept, read_again = (pairs(facades[0], jitter=2, cache=cache) for cache in (True, False))
  rows = kept.rows(0, 0, 8)
  a, b = kept.read_rows(rows), read_again.read_rows(rows)
  for name in a:
    np.testing.assert_array_equal(a[name], b[name])


def test_grey_sixteen_bit_and_cmyk_files(tmp_path):
  grey = np.full((8, 16), 100, np.uint8)
  grey[:, 8:] = 200
  save(tmp_path / 'a.png', grey)
  PIL.Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / 'b.png')
  PIL.Image.fromarray(np.repeat(grey[..., None], 3, 2)).convert('CMYK').save(
    tmp_path / 'c.jpg', quality=100
  )
  for channels in 3, 1:
    source, target = read(pairs(tmp_path, channels=channels))
    assert source.shape == (3, 8, 8, channels)
    assert (
      np.abs(source.astype(int) - 100).max() <= 3 and np.abs(target.astype(int) - 200).max() <= 3
    )


@pytest.mark.parametrize('name, size, message', [
  ('odd.png', (8, 17), 'odd.png .a width of 17 pixels has no two halves'),
  ('small.png', (6, 14), r'small.png .7x6 pixels, smaller than data.resolution, 8x8'),
])  # fmt: skip
def test_pairs_that_cannot_be_used_are_named(tmp_path, name, size, message):
  save(tmp_path / 'good.png', pictures(1, 8, 16)[0])
  save(tmp_path / name, pictures(1, *size)[0])
  with pytest.raises(UserError, match=message):
    pairs(tmp_path)


def test_partners_of_two_sizes_are_named(tmp_path):
  save(tmp_path / 'a/x.png', pictures(1)[0])
  save(tmp_path / 'b/x.png', pictures(1, 9, 8)[0])
  with pytest.raises(
    UserError, match='x .the source has 8x8 pixels and the target 8x9: a pair is of one size'
  ):
    pairs(source=str(tmp_path / 'a'), target=str(tmp_path / 'b'))


@pytest.mark.parametrize('arguments, message', [
  (dict(direction='BtoC'), "data.direction='BtoC' is neither AtoB nor BtoA"),
  (dict(jitter=9), 'data.jitter=9 must be a number of pixels from 0 to 8'),
  (dict(source='/a'), 'give one of both'),
  (dict(data_dir=None), 'give one of both'),
  (dict(jiter=3), "data set 'pairs' does not take jiter"),
])  # fmt: skip
def test_what_is_refused(facades, arguments, message):
  with pytest.raises(UserError, match=message):
    pairs(**{'data_dir': str(facades[0]), **arguments})


# Unpaired.


@pytest.fixture
def horses(tmp_path):
  """(folder of trainA, trainB, testA, testB, horses, zebras), of unequal lengths."""
  a, b = pictures(5), pictures(7)
  for letter, x in ('A', a), ('B', b):
    for i, one in enumerate(x):
      save(tmp_path / f'h2z/train{letter}/{i}.png', one)
    save(tmp_path / f'h2z/test{letter}/0.png', x[0])
  return tmp_path / 'h2z', a, b


def unpaired(data_dir=None, **arguments):
  where = None if data_dir is None else str(data_dir)
  return data.build(**{'dataset': 'unpaired', 'data_dir': where, 'resolution': 8, **arguments})


def test_each_domain_has_an_order_of_its_own(horses):
  top, a, b = horses
  found = unpaired(top)
  assert found.num_examples == 7
  rows = found.rows(0, 0, 70)
  for i, n in enumerate((5, 7)):
    for epoch in range(70 // n):
      np.testing.assert_array_equal(np.sort(rows[n * epoch : n * epoch + n, i, 0]), np.arange(n))
  batch = found.read_rows(rows)
  np.testing.assert_array_equal(batch['source'], a[rows[:, 0, 0]])
  np.testing.assert_array_equal(batch['target'], b[rows[:, 1, 0]])
  assert len({tuple(row) for row in rows[:, :, 0]}) > 20  # of 35: they meet anew each time
  np.testing.assert_array_equal(found.rows(0, 33, 11), rows[33:44])
  np.testing.assert_array_equal(read(unpaired(top, split='test')), (a[:1], b[:1]))


def test_two_folders_and_a_split_in_their_names(horses):
  top, a, b = horses
  found = unpaired(source=f'{top}/{{split}}A', target=f'{top}/trainB')
  np.testing.assert_array_equal(read(found)[0][:5], a)
  np.testing.assert_array_equal(read(found)[1], b)


def test_folders_are_told_from_names_as_those_of_one_data_set_are(horses, monkeypatch):
  top, a, b = horses
  monkeypatch.chdir(top.parent)
  found = unpaired(source='h2z/trainA', target='h2z/trainB/')
  np.testing.assert_array_equal(read(found)[1], b)
  assert found.info['places'] == ['trainA', 'trainB']
  with pytest.raises(UserError, match="'h2z' names no split: .*; for a folder, ./h2z"):
    unpaired(source='h2z', target='h2z')
  with pytest.raises(
    UserError, match="'h2z/a' names no split: .*; there is no folder of that name"
  ):
    unpaired(source='h2z/a', target='h2z/a')
  tfds = dict(source='cycle_gan/horse2zebra:{split}A', target='cycle_gan/horse2zebra:{split}B')
  with pytest.raises(
    UserError, match=r"not the folders in data.data_dir=h2z: .*source='h2z/{split}A' "
  ):
    unpaired('h2z', **tfds)
  assert unpaired('h2z', source='h2z/trainA', target='h2z/trainB').num_examples == 7


def test_windows_and_coins_are_drawn_apart(horses):
  top, a, b = horses
  found = unpaired(top, jitter=4, flip=True)
  rows = found.rows(1, 0, 400)
  same = (rows[:, 0, 1:3] == rows[:, 1, 1:3]).mean()
  assert 0.1 < same < 0.3  # a fifth by chance
  # The training step's own coin turns both.
  assert (rows[:, 0, 3] == 0).all() and 0.4 < rows[:, 1, 3].mean() < 0.6
  seen = found.read_rows(rows)['target']
  brighter_left = seen[:, :, 0].astype(int).sum((1, 2)) > seen[:, :, -1].astype(int).sum((1, 2))
  np.testing.assert_array_equal(brighter_left, rows[:, 1, 3] == 0)
  assert (unpaired(top, jitter=4).rows(1, 0, 400)[..., 3] == 0).all()


@pytest.mark.parametrize('arguments, message', [
  (dict(), 'data.data_dir, a folder with trainA and trainB, or both of data.source and data.target'),
  (dict(data_dir='/nowhere'), '/nowhere/trainA is not there'),
  (dict(source='cifar10', target='mnist:3.0.1'), "'cifar10' names no split: write it after a colon"),
  (dict(source='mnist:3.0.1', target='cifar10'), "'mnist:3.0.1' names no split"),
  (dict(source='/nowhere', target='/nowhere'), '/nowhere is not there'),
])  # fmt: skip
def test_domains_that_are_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    unpaired(**arguments)


# The shipped emoji.


def drawn(**arguments):
  return data.build(**{'dataset': 'emoji_pairs', 'resolution': 64, **arguments})


def test_emoji_of_one_id_go_together():
  table = emoji.load()
  find = lambda style: {
    id: image
    for id, image, own in zip(table['emoji_id'], table['image'], table['style'])
    if table['styles'][own] == style
  }
  noto, flat = find('noto'), find('fluent_flat')
  known = {image.tobytes(): id for id, image in noto.items()}
  parts = {}
  for split in 'train', 'test':
    found = drawn(split=split)
    source, target = read(found)
    ids = [known[image.tobytes()] for image in source]
    for id, image in zip(ids, target):
      np.testing.assert_array_equal(image, flat[id])
    parts[split] = {*ids}
    assert found.num_examples == len(ids)
  assert not parts['train'] & parts['test']
  both = len(noto.keys() & flat.keys())
  assert len(parts['train']) + len(parts['test']) == both
  assert 0.07 < len(parts['test']) / both < 0.13


def test_no_emoji_is_trained_on_in_one_pair_of_styles_and_tested_in_another():
  held_out = emoji.held_out(1911)
  assert len(held_out) == 191
  assert held_out == emoji.held_out(1911)


def test_emoji_without_their_pairing():
  found = drawn(paired=False, resolution=32, channels=1)
  rows = found.rows(0, 0, 500)
  assert (rows[:, 0, 0] == rows[:, 1, 0]).mean() < 0.05
  assert found.fields['source'].shape == (32, 32, 1)
  # Read by index they are pairs, to measure with.
  one, other = read(found), read(drawn(resolution=32, channels=1))
  np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('arguments, message', [
  (dict(source='notto'), "data.source='notto' is no style .did you mean noto"),
  (dict(target='noto'), 'both noto: take two styles'),
  (dict(split='val'), "no split 'val'; it has: train, test"),
])  # fmt: skip
def test_emoji_that_are_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    drawn(**arguments)
