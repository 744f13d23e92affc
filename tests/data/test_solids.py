"""Solids by formula and one's own, and lines of text."""

import io
import struct
import tracemalloc

import numpy as np
import pytest

from ganjax import UserError, data
from ganjax.data import voxels
from ganjax.data.sets import solids
from ganjax.media import line
from ganjax.metrics import voxels as measures


def build(**changes):
  return data.build(**{**dict(dataset='solids', resolution=16, count=40), **changes})


def test_a_solid_is_a_function_of_its_index_and_the_split():
  source = build()
  found = source.read(np.arange(40))
  assert found['solid'].shape == (40, 16, 16, 16, 1) and found['solid'].dtype == bool
  np.testing.assert_array_equal(found['label'], np.arange(40) % 5)
  assert source.class_names == solids.CLASSES
  np.testing.assert_array_equal(build(count=7).read(np.arange(7))['solid'], found['solid'][:7])
  other = build(split='test').read(np.arange(40))['solid']
  assert np.mean([(a != b).any() for a, b in zip(other, found['solid'])]) > 0.8


def test_solids_have_the_shape_that_their_class_says():
  x = solids.draw(100, 0, 32)['solid'][..., 0]
  assert measures.validity(x) == 1
  kinds = [x[k::5] for k in range(5)]
  for box in kinds[0]:
    sides = [np.ptp(np.flatnonzero(box.any(axes))) + 1 for axes in ((1, 2), (0, 2), (0, 1))]
    assert np.prod(sides) == box.sum()
  for torus in kinds[1]:
    assert not torus[15:17, 15:17].any() and np.array_equal(torus, torus.swapaxes(0, 1))
  for kind in kinds[2:4]:
    for one in kind:  # four legs at the floor, one top
      floor = np.flatnonzero(one.any((0, 1)))[0]
      assert len(_runs(one[:, :, floor].any(0))) == len(_runs(one[:, :, floor].any(1))) == 2
  assert all(one[:, 16:].sum() > 1.3 * one[:, :16].sum() for one in kinds[2])  # the back
  for plane in kinds[4]:
    assert np.array_equal(plane, plane[:, ::-1]) and plane[:8].any((0, 1))[18:].any()


def _runs(x):
  return np.flatnonzero(np.diff(np.concatenate([[0], x.astype(int)])) > 0)


def test_own_solids(tmp_path):
  rng = np.random.default_rng(0)
  dense = rng.integers(0, 2, (2, 16, 16, 16)).astype(bool)
  for name in 'a', 'b':
    (tmp_path / name).mkdir()
  np.savez(tmp_path / 'a/x.npz', arr_0=dense)
  # A .binvox counts y, which points up, fastest, and x slowest.
  cube = np.zeros((32, 32, 32), bool)
  cube[:16, 8:16, :24] = True
  pairs = b''.join(struct.pack('?B', value, 1) for value in cube.ravel())
  head = b'#binvox 1\ndim 32 32 32\ntranslate 0 0 0\nscale 1\ndata\n'
  (tmp_path / 'b/y.binvox').write_bytes(head + pairs)
  source = build(data_dir=str(tmp_path))
  found = source.read(np.arange(3))
  assert source.class_names == ('a', 'b') and found['label'].tolist() == [0, 0, 1]
  np.testing.assert_array_equal(found['solid'][:2, ..., 0], dense)
  np.testing.assert_array_equal(found['solid'][2, ..., 0], cube[::2, ::2, ::2])
  small = np.ones((1, 2, 4), bool)
  fitted = voxels.fit(small, 8)
  assert fitted.sum() == 2 * 4 * 8 and fitted[2:4, 2:6].all()  # a cube of 4, twice as fine
  thin = np.zeros((32, 32, 32), bool)
  thin[:, :, 4:6] = True
  assert voxels.fit(thin, 16).sum() == 16 * 16


@pytest.mark.parametrize('changes, message', [
  (dict(resolution=2), 'data.resolution=2 must be a number of voxels'),
  (dict(split='val'), "solids has no split 'val'; it has: train, test"),
  (dict(count=0), 'data.count=0 must be a whole number from 1'),
  (dict(data_dir='{}'), 'no solids in .*: looked for .npz .npy .binvox'),
  (dict(data_dir='{}', split='test'), 'it has: train'),
])  # fmt: skip
def test_solids_refuse(tmp_path, changes, message):
  changes = {k: v.format(tmp_path) if k == 'data_dir' else v for k, v in changes.items()}
  with pytest.raises(UserError, match=message):
    build(**changes)


def npy(x):
  file = io.BytesIO()
  np.save(file, x)
  return file.getvalue()


@pytest.mark.parametrize('name, content, message', [
  ('a.npz', b'nothing', 'a.npz does not read as a solid: it is damaged, or no .* NumPy; repair or remove it'),
  ('a.npy', npy(np.array([[[{}]]])), 'it is damaged, or no file of numbers by NumPy'),
  ('a.npy', npy(np.zeros((4, 5))), r'it has no array of three axes or more, but \[\(4, 5\)\]'),
  ('a.npy', npy(np.array([[['a']]])), r'<U1 \[1, 1, 1\] is not \[X, Y, Z\]'),
  ('a.binvox', b'nothing', 'it does not begin as a .binvox file'),
  ('a.binvox', b'#binvox 1\ndim 4 4\ndata\n\x01\x02', 'its header has no line of three sides'),
  ('a.binvox', b'#binvox 1\ndim 4 4 4\ndata\n\x01\x02', 'it holds 2 voxels of 64'),
])  # fmt: skip
def test_what_is_no_solid(tmp_path, name, content, message):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError, match=message):
    build(data_dir=str(tmp_path))


def test_a_solid_without_voxels_is_refused(tmp_path):
  np.savez(tmp_path / 'a.npz', np.zeros((2, 4, 4, 4), bool))
  with pytest.raises(UserError, match='a.npz does not read as a solid: a solid without any voxel'):
    build(data_dir=str(tmp_path))


def test_a_small_file_asks_for_no_more_memory_than_it_holds():
  content = b'#binvox 1\ndim 4 4 4\ndata\n' + b'\x01\xff' * 2**19
  tracemalloc.start()
  with pytest.raises(ValueError, match='it holds 133,693,440 voxels of 64'):
    voxels.read_binvox(content)
  assert tracemalloc.get_traced_memory()[1] < 2**23
  tracemalloc.stop()


def lines(**changes):
  return data.build(**{**dict(dataset='lines', length=12), **changes})


def test_lines_are_captions_or_those_of_a_file(tmp_path):
  captions = lines()
  assert captions.num_examples == 1911 and captions.fields['line'].shape == (12,)
  (tmp_path / 'a.txt').write_text('Crème brûlée\n\n  two  \n日本 and a longer one\n')
  source = lines(data_dir=str(tmp_path / 'a.txt'))
  texts = [line.decode(x) for x in source.read(np.arange(3))['line']]
  assert texts == ['Creme brulee', 'two', '?? and a lon']
  small = lines(data_dir=str(tmp_path / 'a.txt'), lower=True)
  assert line.decode(small.read(np.array([0]))['line'][0]) == 'creme brulee'


def test_a_tenth_of_the_lines_is_held_out(tmp_path):
  (tmp_path / 'a.txt').write_text('\n'.join(map(str, range(40))))
  for where in None, str(tmp_path / 'a.txt'):
    sources = [lines(data_dir=where, split=split) for split in ('train', 'test', 'rest')]
    stored = [source.read(np.arange(source.num_examples))['line'] for source in sources]
    whole, test, rest = ([line.decode(x) for x in one] for one in stored)
    assert len(test) == round(len(whole) / 10)
    assert sorted(test + rest) == sorted(whole) and test + rest != whole


def test_lines_refuse(tmp_path):
  (tmp_path / 'a.txt').write_text('\n \n')
  (tmp_path / 'b.txt').write_bytes(b'ab\xff')
  (tmp_path / 'd.txt').write_text('one\ntwo\n')
  for changes, message in (
    (dict(data_dir=str(tmp_path / 'a.txt')), 'a.txt has no lines: give a text file'),
    (dict(data_dir=str(tmp_path / 'b.txt')), 'UTF-8: byte 2 is 0xff; save it as UTF-8'),
    (dict(data_dir=str(tmp_path / 'c.txt')), 'c.txt cannot be read'),
    (dict(split='held'), "lines has no split 'held'; it has: train, test, rest"),
    (dict(data_dir=str(tmp_path / 'd.txt'), split='test'), "too few lines for the split 'test'"),
    (dict(length=1), 'data.length=1 must be'),
  ):
    with pytest.raises(UserError, match=message):
      lines(**changes)
