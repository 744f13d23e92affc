"""benchmarks/stacked_mnist.py: what its runs are, what it counts, how it prints; and its classifier on toy digits."""

import runpy
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ganjax import experiment

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'benchmarks'))
JOB = runpy.run_path(str(ROOT / 'benchmarks/stacked_mnist.py'), run_name='stacked_mnist')

import mnist_classifier  # noqa: E402


@pytest.mark.parametrize('method', JOB['METHODS'])
def test_methods_share_the_budget(method):
  run = experiment.build(JOB['get_config'](method))
  span = run.spans[0]
  assert (span.stop, span.batch_size, run.images_per_step(span)) == (2000, 64, 64)
  assert (run.config.data.dataset, run.config.data.resolution) == ('stacked_mnist', 32)
  assert not run.config.data.flip  # a mirrored digit is none
  assert run.config.name == f'stacked_mnist_{method}'


def blocks(n, seed):
  """Toy digits: digit d is a bright block at place d of a 5 x 2 raster, on noise."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 10, n).astype(np.int32)
  images = rng.integers(0, 60, (n, 32, 32, 1), np.uint8)
  for image, label in zip(images, labels):
    row, column = divmod(label, 5)
    image[6 + 12 * row : 12 + 12 * row, 2 + 6 * column : 7 + 6 * column] = 250
  return images, labels


@pytest.fixture(scope='module')
def params():
  return mnist_classifier.train(*blocks(640, 0), epochs=5)


@pytest.mark.slow
def test_the_classifier_learns_and_stacks_are_counted(params):
  images, labels = blocks(900, 1)
  found = mnist_classifier.predict(params, images, size=64)  # the last batch is not full
  assert (found == labels).mean() > 0.98
  stacks = np.moveaxis(images.reshape(300, 3, 32, 32), 1, 3)
  digits = mnist_classifier.predict_stacks(params, stacks)
  np.testing.assert_array_equal(digits, found.reshape(300, 3))
  measured = JOB['measure'](params, stacks)
  assert measured['modes'] == len(set(digits @ [100, 10, 1]))
  assert 0 < measured['kl'] < np.log(1000)


@pytest.mark.slow
def test_the_classifier_is_deterministic_and_kept(tmp_path, monkeypatch):
  few = blocks(256, 2)
  monkeypatch.setattr(mnist_classifier, 'read', lambda *_: few)
  path = tmp_path / 'new' / 'classifier.npz'
  first = mnist_classifier.load(path, resolution=32)
  monkeypatch.setattr(mnist_classifier, 'read', None)  # what is kept is not trained again
  for other in (mnist_classifier.load(path, resolution=32), mnist_classifier.train(*few)):
    jax.tree.map(np.testing.assert_array_equal, first, other)


def test_pictures_move_within_their_frame():
  images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
  moved = mnist_classifier.shift(images, np.array([[1, 0], [0, -2]]))
  np.testing.assert_array_equal(moved[0, :, :, 0], images[0, [0, 0, 1, 2], :, 0])
  np.testing.assert_array_equal(moved[1, :, :, 0], images[1][:, [2, 3, 3, 3], 0])


def test_the_table_has_a_line_for_each_method_and_paper():
  row = lambda modes, kl: {'modes': modes, 'kl': kl, 'steps': 4000}
  results = {
    'real': row(1000, 0.02),
    'dcgan-0': row(100, 3.0),
    'dcgan-1': row(104, 3.2),
    'pacgan-0': row(998, 0.1),
  }
  lines = JOB['table'](results, ['dcgan', 'pacgan', 'sngan']).splitlines()
  lines = [' '.join(line.split()) for line in lines]
  assert lines[2] == 'dcgan 102.0 +- 2.8 3.100 +- 0.141 4000 2 DCGAN: 99 / 3.40'
  assert lines[3] == 'pacgan 998 0.100 4000 1 PacDCGAN2: 1000 / 0.06'
  assert lines[4] == 'sngan - - - - -'
  assert lines[-1] == 'veegan - - - - VEEGAN: 150 / 2.95'
