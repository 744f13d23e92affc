"""benchmarks/augmentation.py on toy digits: what is drawn, what each classifier learns, its table, and a tiny run."""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from ganjax import UserError, data, experiment
from ganjax.data.sets.folder import fields
from ganjax.data.source import Source, gather

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'benchmarks'))

import augmentation  # noqa: E402
import jobs  # noqa: E402

NAMES = [str(9 - c) for c in range(10)]  # not in the order of folders


def toy(channels, each=4, seed=0):
  """A data set of noisy copies of a symmetric template for each class."""
  rng, labels = np.random.default_rng(seed), np.tile(np.arange(10, dtype=np.int32), each)
  blocks = np.random.default_rng(9).normal(size=(10, 4, 2, channels))
  blocks = np.concatenate([blocks, blocks[:, :, ::-1]], 2)
  templates = np.kron(blocks, np.ones((1, 8, 8, 1)))
  x = 127 + 40 * (templates[labels] + rng.normal(size=(len(labels), 32, 32, channels)))
  images = np.clip(x, 0, 255).astype(np.uint8)
  return Source(
    read_rows=functools.partial(gather, {'image': images, 'label': labels}),
    rows=np.arange(len(images)),
    fields=fields(resolution=32, channels=channels),
    class_names=NAMES,
    info={},
  )


@pytest.fixture
def job(tmp_path, monkeypatch):
  """The job on toy digits, two of each class; returns what runs it."""
  opened, few = augmentation.opened, augmentation.SETS['mnist']
  digits = {'train': toy(1), 'test': toy(1, seed=1)}
  monkeypatch.setitem(augmentation.SETS, 'mnist', few._replace(num=2, batch=4, steps=150))
  monkeypatch.setattr(augmentation.mnist_classifier, 'BATCH', 4)
  monkeypatch.setattr(
    augmentation,
    'opened',
    lambda dataset, name, place, split='train': (
      digits[split] if dataset == 'mnist' else opened(dataset, name, place)
    ),
  )
  monkeypatch.setattr(sys, 'argv', ['job', '--workdir', str(tmp_path / 'w'), '--sets', 'mnist'])
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path / 'cache'))
  return augmentation.main


@pytest.mark.parametrize('name', augmentation.SETS)
def test_gans_of_few_pictures(name):
  run, few = experiment.build(augmentation.get_config(name)), augmentation.SETS[name]
  config = run.config
  assert (config.name, config.data.dataset) == (f'augmentation_{name}', 'folder')
  assert config.data.channels == few.channels and run.method.num_classes == 10
  assert 'translation' in config.method.diffaugment
  assert config.data.flip == (name != 'mnist')  # a mirrored digit is none
  # Every classifier learns for the same number of steps.
  for times in augmentation.WAYS.values():
    assert few.steps % (10 * few.num * (1 + times) // few.batch) == 0


def test_draws_are_balanced_and_those_of_their_seed():
  source = toy(1, each=30)
  one, same, other = (augmentation.draw(source, 5, seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(source.read(one)['label'], np.repeat(np.arange(10), 5))
  np.testing.assert_array_equal(one, same)
  assert len(set(one)) == 50 and len({*one} & {*other}) < 25


def test_what_the_classifiers_learn(job, tmp_path, monkeypatch, capsys):
  """The reals, then fakes of each class beside them. What is done is not done again."""
  trained, sampled, learnt = [], [], []

  def train(script, name, workdir, seed, data__data_dir):
    source = data.build(dataset='folder', data_dir=str(data__data_dir), resolution=32, channels=1)
    trained.append((name, seed, source.read(np.arange(source.num_examples))))

  def run(*words):
    sampled.append(words)
    folder = words[words.index('--out') + 1]
    for c in range(10):
      (folder / f'{c}').mkdir(parents=True)
      for i in range(8):  # the grey level says which fake of which folder it is
        Image.fromarray(np.full((32, 32), 10 * c + i, np.uint8)).save(folder / f'{c}/{i:08}.png')

  def accuracy(name, images, labels, test, seed):
    learnt.append((images, labels, seed))
    assert (test[0].shape, set(test[1])) == ((40, 32, 32, 1), {*range(10)})
    return 50.0 + len(images) / 20 + seed

  monkeypatch.setattr(jobs, 'train', train)
  monkeypatch.setattr(jobs, 'run', run)
  monkeypatch.setattr(augmentation, 'accuracy', accuracy)
  job()
  workdir = tmp_path / 'w'
  for seed, (name, own, reals) in enumerate(trained):
    ways = learnt[3 * seed : 3 * seed + 3]
    assert (name, own) == ('mnist', seed) and {way[2] for way in ways} == {seed}
    words = ' '.join(map(str, sampled[seed]))
    assert words == (
      f'-m ganjax sample {workdir}/mnist-{seed}/gan --classes 0-9 --seeds 0-7 --format folders '
      f'--out {workdir}/mnist-{seed}/fakes'
    )
    for (images, labels, _), times in zip(ways, (0, 1, 4)):
      assert len(images) == len(labels) == 20 * (1 + times)
      assert {*map(bytes, images[:20])} == {*map(bytes, reals['image'])}
      np.testing.assert_array_equal(labels[:20], np.repeat(np.arange(10), 2))
      np.testing.assert_array_equal(np.bincount(labels), np.full(10, 2 * (1 + times)))
      np.testing.assert_array_equal(9 - images[20:, 0, 0, 0] // 10, labels[20:])
      assert len(np.unique(images[20:, 0, 0, 0])) == 20 * times
  lines = capsys.readouterr().out.splitlines()
  assert lines[1] == 'mnist-1: reals 52.0, and as many fakes 53.0, and four times as many 56.0'
  assert lines[3:] == [
    '| | reals a class | reals | and as many fakes | and four times as many |',
    '|---|---|---|---|---|',
    '| mnist | 2 | 52.0 (51.0 to 53.0) | 53.0 (52.0 to 54.0) | 56.0 (55.0 to 57.0) |',
  ]
  results = json.loads((workdir / 'results.json').read_text())
  del results['mnist-1']
  (workdir / 'results.json').write_text(json.dumps(results))
  (workdir / 'mnist-1/fakes').rename(tmp_path / 'before')
  job()
  assert [seed for _, seed, _ in trained] == [0, 1, 2, 1]
  assert capsys.readouterr().out.splitlines() == lines


def test_a_set_that_is_not_known_is_one_line(job, monkeypatch, tmp_path):
  monkeypatch.setattr(
    sys, 'argv', ['job', '--workdir', str(tmp_path / 'w'), '--sets', 'mnist,nist']
  )
  with pytest.raises(UserError, match="set 'nist' is not known; there are mnist, cifar10"):
    job()
  assert not (tmp_path / 'w').exists()


@pytest.mark.slow
@pytest.mark.parametrize('name', augmentation.SETS)
def test_the_classifiers_learn(name, monkeypatch):
  few = augmentation.SETS[name]._replace(batch=40, steps=60)
  monkeypatch.setitem(augmentation.SETS, name, few)
  monkeypatch.setattr(augmentation.mnist_classifier, 'BATCH', 40)
  train, test = (toy(few.channels, each=40, seed=i) for i in (0, 1))
  (images, labels), test = (
    (found['image'], found['label'])
    for found in (source.read(np.arange(source.num_examples)) for source in (train, test))
  )
  right = augmentation.accuracy(name, images, labels, test, 0)
  assert right > 80 and right == augmentation.accuracy(name, images, labels, test, 0)
  assert augmentation.accuracy(name, images, (labels + 1) % 10, test, 0) < 20


@pytest.mark.slow
def test_a_tiny_run(job, tmp_path, monkeypatch, capsys):
  train = functools.partial(jobs.train, steps=2, networks__width=1, networks__width_D=1)
  monkeypatch.setattr(jobs, 'train', train)
  monkeypatch.setattr(augmentation, 'SEEDS', 1)
  # Its commands are processes of their own: on one device, and with what compiling for tests takes.
  monkeypatch.setenv('XLA_FLAGS', '')
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', jax.config.jax_compilation_cache_dir)
  job()
  fakes = sorted((tmp_path / 'w/mnist-0/fakes').glob('*/*.png'))
  assert len(fakes) == 80 and {path.parent.name for path in fakes} == {*NAMES}
  *_, line = capsys.readouterr().out.splitlines()
  assert line.startswith('| mnist | 2 | ')
