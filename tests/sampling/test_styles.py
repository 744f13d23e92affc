"""Styles of samples: found, mixed, drawn to the average of a class, moved, and read from files."""

import jax
import numpy as np
import pytest
import style_run

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.sampling import directions, sampler, styles, tables


@pytest.fixture(scope='module')
def made():
  return style_run.start()


@pytest.fixture(scope='module')
def draw(made):
  """rows -> pictures."""
  run, state = made
  mesh = sharding.make_mesh(jax.devices()[:1])
  state = sharding.replicate(state.replace(key=(), opt={}), mesh)
  (stage,) = run.method.stages
  return lambda rows: sampler.generate(stage, state, rows, mesh=mesh, batch_size=8)


def find(made, seeds, centre=None, **options):
  run, state = made
  return styles.find(
    run.method, state, sampler.rows(run.method, np.array(seeds), **options), centre
  )


def test_rows_of_styles_make_the_seeds_own_pictures(made, draw):
  """With noise and truncation, which is not done twice."""
  run, _ = made
  how = dict(truncation=0.5, cutoff=2)
  found = find(made, [3, 4, 5], **how)
  assert (
    found['w'].shape == (3, style_run.LAYERS, style_run.WIDTH) == (3, *styles.shape(*made_of(made)))
  )
  pictures = draw(sampler.rows(run.method, np.array([3, 4, 5]), **how))
  np.testing.assert_array_equal(draw(found), pictures)
  whole = find(made, [3, 4, 5])['w']
  np.testing.assert_allclose(found['w'][:, 2:], whole[:, 2:], atol=1e-6)
  assert np.abs(found['w'] - whole)[:, :2].min() > 0 and len(np.unique(pictures, axis=0)) == 3


def made_of(made):
  return made[0].method, made[1]


def test_styles_that_are_there_are_kept_and_truncated(made):
  run, state = made
  w = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
  rows = sampler.rows(run.method, np.arange(2))
  np.testing.assert_allclose(styles.find(run.method, state, rows | {'w': w})['w'], w, atol=1e-6)
  rows = sampler.rows(run.method, np.arange(2), truncation=0.0)
  np.testing.assert_allclose(styles.find(run.method, state, rows | {'w': w})['w'], 0.5, atol=1e-6)


def test_the_table_of_mixed_styles(made, draw):
  rows, columns = find(made, [0, 1, 2]), find(made, [7, 8])
  table = styles.mix(rows, columns, [0, 2])
  w = table['w'].reshape(3, 2, 4, 6)
  for layer in range(4):
    wanted = columns['w'][None, :, layer] if layer in (0, 2) else rows['w'][:, None, layer]
    np.testing.assert_array_equal(w[:, :, layer], np.broadcast_to(wanted, (3, 2, 6)))
  # No layers: the row's picture, noise too, bit for bit; all of them and the column's noise: the column's.
  pictures, sources = draw(styles.mix(rows, columns, [])), draw(rows)
  np.testing.assert_array_equal(pictures, np.repeat(sources, 2, 0))
  quiet = [{**x, 'noise': np.full_like(x['noise'], -1)} for x in (rows, columns)]
  pictures = draw(styles.mix(*quiet, [0, 1, 2, 3]))
  np.testing.assert_array_equal(pictures, np.tile(draw(quiet[1]), (3, 1, 1, 1)))


def test_truncation_towards_the_average_of_the_class(made):
  """Seed n is of class n mod 3; at 0 every style is the mean of its class, which no other class has."""
  run, state = made
  labels = np.array([0, 1, 2, 0])
  means = styles.class_means(run.method, state, labels, 500)
  mapping = jax.jit(run.method.styles.map)
  for label in range(3):
    rows = sampler.rows(run.method, -np.arange(1, 501)) | {'label': np.full(500, label, np.int32)}
    np.testing.assert_allclose(means[label], mapping(state, rows)['w'][:, 0].mean(0), atol=1e-5)
  found = find(made, [0, 1, 2, 3], means, truncation=0.0)['w']
  np.testing.assert_allclose(found, np.broadcast_to(means[:, None], found.shape), atol=1e-6)
  apart = np.linalg.norm(means[:3, None] - means[:3], axis=-1)
  assert apart[np.triu_indices(3, 1)].min() > 0.01
  half = find(made, [0, 1, 2, 3], means, truncation=0.5)['w']
  whole = find(made, [0, 1, 2, 3])['w']
  np.testing.assert_allclose(half, (whole + means[:, None]) / 2, atol=1e-6)


def test_sefa_finds_the_eigenvectors_of_the_weights(made):
  """Those that a style goes through first: moved along all else, nothing of the layers below it moves."""
  run, state = made
  affines = run.method.styles.affines(state)
  params = state.params['G']['synthesis']
  names = ['b4_conv1', 'b8_conv0', 'b8_conv1', 'b8_torgb']
  for name, A in zip(names, affines, strict=True):
    own = params[name] if 'torgb' in name else params[name]['conv']
    np.testing.assert_array_equal(A, own['affine']['kernel'])
  found = directions.find('sefa', run.method, state, [1, 3])
  A = np.concatenate([np.float64(affines[i]) for i in (1, 3)], 1)
  A /= np.linalg.norm(A, axis=0)
  strength = np.linalg.norm(found @ A, axis=1)
  np.testing.assert_allclose(strength, np.linalg.svd(A)[1], rtol=1e-6)
  np.testing.assert_allclose(found @ found.T, np.eye(6), atol=1e-8)
  assert (found.max(1) >= -found.min(1)).all()


def test_ganspace_finds_the_axes_of_the_styles():
  rng = np.random.default_rng(0)
  turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
  w = rng.normal(size=(200_000, 4)) * [1, 4, 0.1, 2] @ turn + 7
  found = directions.ganspace(w)
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), [4, 2, 1, 0.1], rtol=0.02)
  cosine = np.abs(found @ turn.T) / np.linalg.norm(found, axis=1, keepdims=True)
  np.testing.assert_allclose(cosine[np.arange(4), [1, 3, 0, 2]], 1, atol=1e-3)


def test_styles_move_along_directions_in_the_layers_that_were_named():
  rows = {'w': np.zeros((2, 3, 4), np.float32), 'noise': np.array([5, 6], np.int32)}
  moved = directions.move(rows, np.eye(4)[:2] * 2, [-1, 0, 3], [0, 2])
  w = moved['w'].reshape(2, 2, 3, 3, 4)  # rows, directions, strengths
  assert (w[:, :, 1] == 0).all() and (w[..., 1, :] == 0).all()
  assert (w[:, 1, 2, 0] == [0, 6, 0, 0]).all() and (w[:, 0, 0, 2] == [-2, 0, 0, 0]).all()
  assert moved['noise'].tolist() == [5] * 6 + [6] * 6


def test_a_table_with_its_border():
  cells = tables.columns([np.array([1, 11]), np.array([2, 12])])
  assert tables.bordered(np.array([0, 10]), cells).tolist() == [0, 1, 2, 10, 11, 12]
  assert tables.bordered(np.array([0, 10]), cells, np.array([8, 9])).tolist()[:3] == [8, 9, 0]


def test_styles_of_files(tmp_path):
  w = np.random.default_rng(0).normal(size=(3, 4, 6))
  np.savez(tmp_path / 'a.npz', w=w[:1])
  np.savez(tmp_path / 'b.npz', w=w[1:])
  found, names = styles.read([tmp_path / 'a.npz', tmp_path / 'b.npz'], (4, 6))
  np.testing.assert_array_equal(found, w.astype(np.float32))
  assert names == ['a', 'b-0', 'b-1'] and found.dtype == np.float32


@pytest.mark.parametrize(
  ('content', 'line'),
  [
    (None, 'x.npz is not there'),
    (b'nothing', 'is no .npz with an array w'),
    ({'v': np.zeros(3)}, 'is no .npz with an array w'),
    ({'w': np.zeros((1, 5, 6))}, r'holds float64 \[1, 5, 6\]: this run takes n styles of 4 layers'),
    ({'w': np.full((1, 4, 6), np.nan)}, 'this run takes'),
  ],
)
def test_files_that_hold_no_styles(tmp_path, content, line):
  path = tmp_path / 'x.npz'
  if isinstance(content, bytes):
    path.write_bytes(content)
  elif content:
    np.savez(path, **content)
  with pytest.raises(UserError, match=line):
    styles.read([path], (4, 6))
