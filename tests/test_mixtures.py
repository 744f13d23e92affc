"""benchmarks/mixtures.py: its mixtures, its table, and a whole small run that is not computed twice."""

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganjax import UserError

JOB = runpy.run_path(
  str(Path(__file__).resolve().parents[1] / 'benchmarks/mixtures.py'), run_name='mixtures'
)
draw, mixtures = JOB['draw'], JOB['MIXTURES']


@pytest.mark.parametrize(
  'name, count, radius, std', [('ring', 8, 1, 0.01), ('grid', 25, 4 * math.sqrt(2), 0.05)]
)
def test_points_lie_round_their_means(name, count, radius, std):
  means, _ = mixtures[name]
  assert means.shape == (count, 2)
  assert np.linalg.norm(means, axis=1).max() == pytest.approx(radius)
  gaps = np.linalg.norm(means[:, None] - means, axis=-1)[~np.eye(count, dtype=bool)]
  assert gaps.min() == pytest.approx({'ring': 2 * math.sin(math.pi / 8), 'grid': 2}[name])
  n = 1000 * count
  points = draw(name, n, 3)
  assert points.shape == (n, 2) and points.dtype == np.float32
  nearest = np.linalg.norm(points[:, None] - means, axis=-1).argmin(1)
  shares = np.bincount(nearest, minlength=count)
  assert abs(shares - 1000).max() < 5 * math.sqrt(1000)
  for mode, mean in enumerate(means):
    mine = points[nearest == mode]
    np.testing.assert_allclose(mine.mean(0), mean, atol=5 * std / math.sqrt(len(mine)))
    np.testing.assert_allclose(mine.std(0), std, rtol=5 / math.sqrt(2 * len(mine)))
  np.testing.assert_array_equal(points, draw(name, n, 3))
  assert not np.array_equal(points, draw(name, n, 4))


def test_networks_see_both_mixtures_in_the_same_range():
  for name, (means, _) in mixtures.items():
    assert abs(JOB['scale'](name) * means).max() == pytest.approx(JOB['SPAN'])


def test_every_method_has_a_batch_that_packs():
  for method, fields in JOB['METHODS'].items():
    assert JOB['BATCH_SIZE'] % fields.get('packing', 1) == 0, method


def run(monkeypatch, *arguments):
  monkeypatch.setattr('sys.argv', ['mixtures.py', *map(str, arguments)])
  return JOB['main']()


def test_a_run_prints_a_table_and_is_not_computed_twice(tmp_path, monkeypatch, capsys):
  given = ('--workdir', tmp_path, '--methods', 'pacgan2', '--mixtures', 'ring', '--seeds', 2)
  assert run(monkeypatch, *given, '--steps', 30) == 0
  lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
  assert lines[1] == 'ring of 8 modes'
  assert lines[3].startswith('real 8.0 +- 0.0 9') and lines[4].startswith('pacgan2 ')
  kept = (tmp_path / 'results.json').read_text()
  row = json.loads(kept)['ring-pacgan2']
  assert (row['steps'], row['seeds'], len(row['modes'])) == (30, 2, 2)
  assert row['kl'][0] != row['kl'][1]  # each seed has networks of its own
  samples = np.load(tmp_path / 'ring-pacgan2.npy')
  assert samples.shape == (2500, 2)
  assert JOB['measure'](samples[None], 'ring')['kl'] == pytest.approx(row['kl'][:1])
  with Image.open(tmp_path / 'mixtures.png') as picture:
    assert picture.size == (340, 180)

  def train(*_):
    raise UserError('trained again')

  monkeypatch.setitem(JOB['main'].__globals__, 'train', train)
  assert run(monkeypatch, *given, '--steps', 30) == 0
  assert (tmp_path / 'results.json').read_text() == kept
  with pytest.raises(UserError, match='trained again'):
    run(monkeypatch, *given, '--steps', 31)


def test_a_seed_that_diverged_has_no_row(tmp_path, monkeypatch, capsys):
  broken = np.full((1, 2500, 2), np.nan)
  monkeypatch.setitem(JOB['main'].__globals__, 'train', lambda *_: broken)
  given = ('--workdir', tmp_path, '--methods', 'gan', '--mixtures', 'grid', '--seeds', 1)
  assert run(monkeypatch, *given) == 1
  assert 'grid-gan has no row: samples hold NaN' in capsys.readouterr().out
  with pytest.raises(UserError, match='nogan: methods are gan'):
    run(monkeypatch, '--workdir', tmp_path, '--methods', 'nogan')
