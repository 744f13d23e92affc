"""benchmarks/cifar.py: what its runs are, what counts as measured, and its picture of all of them."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganjax import experiment
from ganjax.evaluation import records

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'benchmarks'))
JOB = runpy.run_path(str(ROOT / 'benchmarks/cifar.py'), run_name='cifar')
COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (200, 0, 200), (0, 200, 200)]


@pytest.mark.parametrize('method', JOB['METHODS'])
def test_methods_share_the_budget(method):
  run = experiment.build(JOB['get_config'](method))
  (span,), config = run.spans, run.config
  assert config.name == f'cifar_{method}' and span.stop == JOB['METHODS'][method][2]
  # As many fakes as reals, in each update.
  assert (span.batch_size, run.images_per_step(span)) == (32, 32 * run.method.n_critic)
  assert config.method.fakes_per_real == 1
  assert (config.data.dataset, config.data.resolution, config.data.flip) == ('cifar10', 32, True)
  # A job that goes on where it was loses little.
  assert config.checkpoint_every_steps == 100


def test_a_run_is_measured_once_both_metrics_stand_at_its_step(tmp_path):
  measured, (frechet, kid) = JOB['measured'], JOB['METRICS'].split(',')
  file = tmp_path / 'floor.jsonl'
  record = lambda metric, step: {'metric': metric, 'step': step, 'values': {metric: 1.0}}
  assert not measured(tmp_path) and not measured(tmp_path, 100)
  for path in (file, tmp_path / records.NAME):
    records.append(path, [record(frechet, 100), record('kid_inception', 100), record(kid, 50)])
  assert not measured(tmp_path, 100) and not measured(tmp_path, 50)
  assert measured(file)  # which has no steps
  records.append(tmp_path / records.NAME, [record(kid, 100)])
  assert measured(tmp_path, 100) and not measured(tmp_path, 50)


@pytest.mark.parametrize('count', [1, 4, 6])
def test_the_picture_shows_the_last_grid_of_every_run(tmp_path, count):
  runs = [tmp_path / f'run{i}' for i in range(count)]
  for run, colour in zip(runs, COLOURS):
    (run / 'samples').mkdir(parents=True)
    for step, shown in ((500, (90, 90, 90)), (1000, colour)):
      pixels = np.broadcast_to(np.uint8(shown), (32, 32, 3))
      Image.fromarray(pixels).save(run / f'samples/{step:08}.png')
  JOB['picture'](tmp_path / 'all.png', runs)
  picture = np.asarray(Image.open(tmp_path / 'all.png').convert('RGB'))
  height, width = (picture.shape[0] // -(-count // 3), picture.shape[1] // 3)
  for i, colour in enumerate(COLOURS[:count]):
    row, column = divmod(i, 3)
    panel = picture[row * height :, column * width :][:height, :width]
    own = (panel == colour).all(-1)
    assert own.mean() > 0.6, (i, own.mean())
    assert (panel[~own] < 100).any()  # its title
