"""Does a GAN of few pictures help a classifier of few pictures? python benchmarks/augmentation.py --workdir W

For each of three seeds: draws a few MNIST digits or CIFAR-10 pictures of each class, trains a small conditional BigGAN
with DiffAugment on these alone, and writes fakes of each class by `ganjax sample --format folders`. Then a classifier
learns the drawn pictures alone, with as many fakes, and with four times as many, in the same number of steps. The table
has its accuracy on all test pictures, in percent: mean and range of the seeds. The classifiers augment by themselves:
the one of digits moves its training pictures by up to 2 pixels, the one of CIFAR-10 by up to 4, and mirrors half of
them. A job that was stopped or killed goes on where it was when started again; W/results.json keeps what is done.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parent))  # train.py reads this file as a config

import jobs
import mnist_classifier
import numpy as np

from ganjax import UserError, config, data
from ganjax.devices import processes, sharding
from ganjax.metrics import cas
from ganjax.workdir.files import write_json

SEEDS = 3
# Title -> fakes for each real.
WAYS = {'reals': 0, 'and as many fakes': 1, 'and four times as many': 4}
# Tables of each class's own and high rates: in so few steps classes come apart with these alone.
GAN = {
  'batch_size': 32,
  'data.dataset': 'folder',
  'networks.width': 8,
  'networks.width_D': 16,
  'networks.shared_dim': 0,
  'optim.G.lr': 1e-3,
  'optim.D.lr': 1e-3,
  'log_every_steps': 100,
  'sample_every_steps': 500,
  'checkpoint_every_steps': 500,
}


class Set(NamedTuple):
  channels: int
  num: int  # reals of each class
  base: str  # the file in configs/ that the GAN starts from
  changes: dict  # what differs from it besides GAN
  batch: int  # of the classifier
  steps: int  # of the classifier: whole epochs of all ways


SETS = {
  'mnist': Set(
    channels=1,
    num=20,
    base='digits',
    changes={'steps': 1000, 'method.diffaugment': 'translation'},
    batch=mnist_classifier.BATCH,
    steps=630,
  ),
  'cifar10': Set(
    channels=3,
    num=100,
    base='emoji32',
    changes={'steps': 1000, 'data.flip': True},
    batch=100,
    steps=600,
  ),
}


def get_config(name):
  """The configuration of the GAN of a data set, for train.py."""
  if name not in SETS:
    raise UserError(f'set {name!r} is not known; there are {", ".join(SETS)}')
  few = SETS[name]
  return jobs.configure(f'augmentation_{name}', few.base, GAN, few.changes)


def opened(dataset, name, data_dir, split='train'):
  """A data set with the size and channels of the set `name`."""
  how = dict(resolution=32, channels=SETS[name].channels)
  return data.build(dataset=dataset, data_dir=data_dir, split=split, **how)


def draw(source, num, seed):
  """Indices of num pictures of each class, int64 [classes * num], class by class."""
  labels = source.read(np.arange(source.num_examples), ('label',))['label']
  rng = np.random.default_rng(seed)
  return np.concatenate(
    [rng.permutation(np.flatnonzero(labels == c))[:num] for c in range(source.num_classes)]
  )


def accuracy(name, images, labels, test, seed) -> float:
  """Trains a classifier on uint8 [N, 32, 32, C] and labels [N]; the percentage of `test`, the same, that it tells."""
  batch, steps = SETS[name].batch, SETS[name].steps
  epochs, rest = divmod(steps, len(images) // batch)
  assert not rest, f'{steps} steps are no whole epochs of {len(images)} pictures'
  if name == 'mnist':
    params = mnist_classifier.train(images, labels, epochs, seed)
    return 100 * float((mnist_classifier.predict(params, test[0]) == test[1]).mean())
  how = dict(mesh=sharding.make_mesh(), num_classes=10, epochs=epochs, batch_size=batch, seed=seed)
  return cas.classification_accuracy(images, labels, *test, blocks=1, **how)['cas_top1']


def row(name, seed, folder, data_dir) -> dict:
  """{way: accuracy} of one seed, which draws the reals, and is that of the GAN and of the classifier."""
  few, train = SETS[name], opened(name, name, data_dir)
  folder.mkdir(parents=True, exist_ok=True)
  rows = draw(train, few.num, seed)
  reals, names = train.read(rows), train.class_names
  files = [f'{names[label]}/{i:05}.png' for i, label in zip(rows, reals['label'])]
  jobs.pack(folder / 'reals.zip', reals['image'], files)
  jobs.train(__file__, name, folder / 'gan', seed=seed, data__data_dir=folder / 'reals.zip')
  most = max(WAYS.values()) * few.num
  what = ('--classes', f'0-{len(names) - 1}', '--seeds', f'0-{most - 1}', '--format', 'folders')
  jobs.run('-m', 'ganjax', 'sample', folder / 'gan', *what, '--out', folder / 'fakes')
  source = opened('folder', name, folder / 'fakes')
  fakes = source.read(np.arange(source.num_examples))
  fakes['label'] = np.array([names.index(n) for n in source.class_names])[fakes['label']]
  held = opened(name, name, data_dir, 'test')
  test = held.read(np.arange(held.num_examples))
  found = {}
  for way, times in WAYS.items():
    some = np.concatenate(
      [np.flatnonzero(fakes['label'] == c)[: times * few.num] for c in range(len(names))]
    )
    images, labels = (np.concatenate([reals[k], fakes[k][some]]) for k in ('image', 'label'))
    found[way] = accuracy(name, images, labels, (test['image'], test['label']), seed)
  return found


def table(results, sets) -> str:
  """Markdown of {SET-SEED: {way: accuracy}}: a row for each set."""
  lines = ['| | reals a class | ' + ' | '.join(WAYS) + ' |', '|---' * (2 + len(WAYS)) + '|']
  for name in sets:
    rows = [row for key, row in results.items() if key.rsplit('-', 1)[0] == name]
    cells = [jobs.spread([row[way] for row in rows]) for way in WAYS]
    lines.append(f'| {name} | {SETS[name].num} | ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def main():
  parser = jobs.parser(__doc__)
  parser.add_argument('--data_dir', type=jobs.folder, help="TFDS's, which holds mnist and cifar10")
  parser.add_argument('--sets', default=','.join(SETS))
  args = parser.parse_args()
  workdir, sets = args.workdir, args.sets.split(',')
  for name in sets:
    get_config(name)
  processes.start()
  workdir.mkdir(parents=True, exist_ok=True)
  kept = workdir / 'results.json'
  results = json.loads(kept.read_text()) if kept.exists() else {}
  for key, name, seed in [(f'{name}-{seed}', name, seed) for name in sets for seed in range(SEEDS)]:
    if key not in results:
      results[key] = row(name, seed, workdir / key, args.data_dir)
      write_json(kept, results)
    print(
      f'{key}: ' + ', '.join(f'{way} {value:.1f}' for way, value in results[key].items()),
      flush=True,
    )
  print(table(results, sets))


if __name__ == '__main__':
  config.run(main)
