"""Clips and their edges: the operator by closed forms, the true flow, the order, one's own clips."""

import numpy as np
import pytest

from ganjax import UserError, data
from ganjax.data.sets.edges import edges
from ganjax.layers.warp import warp
from ganjax.media import image

SIDE = 16
SIZE = dict(resolution=SIDE, frames=4, speed=(1.0, 3.0))


def test_edges_are_lengths_of_gradients():
  picture = np.zeros((6, 8, 3), np.uint8)
  picture[:, 4:, 1] = 200  # of one channel: a step along a row
  found = edges(picture)
  assert found.shape == (6, 8, 1) and found.dtype == np.uint8
  assert (found[:, 3:5] == 200).all() and not found[:, :3].any() and not found[:, 5:].any()
  y, x = np.mgrid[:6, :8]
  slope = (6 * x + 8 * y).astype(np.uint8)[..., None]
  np.testing.assert_array_equal(edges(slope)[1:-1, 1:-1], 20)  # over two pixels
  np.testing.assert_array_equal(edges(slope)[0, 1:-1], int((12**2 + 8**2) ** 0.5))
  corner = np.zeros((4, 4, 1), np.uint8)
  corner[2:, 2:] = 255
  assert edges(corner).max() == 255


def test_moving_drawings_have_their_edges_and_their_flow():
  source = data.build(dataset='edges', **SIZE)
  plain = data.build(dataset='moving', **SIZE)
  at = np.arange(40)
  found = source.read(at)
  assert {name: x.shape[1:] for name, x in found.items()} == {
    'source': (4, SIDE, SIDE, 1),
    'target': (4, SIDE, SIDE, 3),
    'flow': (4, SIDE, SIDE, 2),
  }
  assert {name: field.shape for name, field in source.fields.items()} == {
    name: x.shape[1:] for name, x in found.items()
  }
  np.testing.assert_array_equal(found['target'], plain.read(at)['clip'])
  np.testing.assert_array_equal(found['source'], edges(found['target']))
  flow = found['flow']
  assert not flow[:, 0].any() and np.abs(flow).max() == 3
  moving = (flow != 0).any(-1)
  for t in (1, 2, 3):
    before, now = (found['target'][:, i].astype(np.float32) for i in (t - 1, t))
    explained = (np.abs(warp(before, flow[:, t]) - now) < 1e-3).all(-1)
    assert explained[moving[:, t]].all()  # all of a drawing comes from where it was
    assert (before == now).all(-1)[moving[:, t]].mean() < 0.7
  only = source.read(at[:2], ('source',))
  assert only.keys() == {'source'}


def test_training_sees_the_clips_in_their_own_order():
  source = data.build(dataset='edges', **SIZE)
  plain = data.build(dataset='moving', **SIZE)
  rows = source.rows(3, 17, 5)
  np.testing.assert_array_equal(rows, plain.rows(3, 17, 5))
  assert rows[:, 1].any()
  found, clip = source.read_rows(rows), plain.read_rows(rows)['clip']
  np.testing.assert_array_equal(found['target'], clip)
  assert found.keys() == {'source', 'target', 'flow'}


def test_ones_own_clips_have_edges_and_no_flow(tmp_path):
  for i in range(2):
    frames = np.full((3, 8, 8, 3), 40 * i, np.uint8)
    frames[:, :, 4:] += np.array([0, 80, 160], np.uint8)[:, None, None, None]
    image.save_gif(tmp_path / f'{i}.gif', frames, {})
  own = dict(dataset='edges', of='clips', data_dir=str(tmp_path), resolution=8, frames=3)
  source = data.build(**own)
  found = source.read(np.arange(2))
  assert found.keys() == {'source', 'target'} == source.fields.keys()
  assert data.fields(**own).keys() - {'label'} == source.fields.keys()  # which these may lack
  np.testing.assert_allclose(found['source'][0, :, 4, 4, 0], [0, 80, 160], atol=6)
  with pytest.raises(UserError, match='0.gif has 3 frames, and data.frames=4'):
    data.build(**{**own, 'frames': 4})


@pytest.mark.parametrize('more, message', [
  (dict(of='clip'), "data.of='clip' is not known.*did you mean clips"),
  (dict(data_dir='clips/'), 'data.data_dir=clips/ is of data.of=clips'),
  (dict(of='clips'), 'needs data.data_dir'),
  (dict(frames=0), 'data.frames=0 must be'),
])  # fmt: skip
def test_what_edges_refuse(more, message):
  with pytest.raises(UserError, match=message):
    data.build(**{'dataset': 'edges', 'resolution': SIDE, **more})
