"""Looks for copies of training pictures among samples: ganjax copies runs/dcgan

It computes the distance of each sample to the nearest training picture, and the same for held-out pictures, which are
no copies. Without a held-out split it takes training pictures, and their distance to the nearest other one. Distances
are of pixels, averaged over 16x16 blocks. It draws the samples that are nearest to a training picture, each next to its
nearest training pictures.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
WORKDIR = COMMAND.string('workdir', None, 'The run, instead of RUN.')
NUM = COMMAND.integer('num', 1000, 'Largest number of samples, and of real pictures.')
SPLIT = COMMAND.string(
  'split', None, "Split of the held-out pictures, such as test; by default the run's eval.split."
)
OUT = COMMAND.string('out', None, 'The .png file; by default in RUN/generated.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

from pathlib import Path

import numpy as np

import ganjax
from ganjax import UserError, data, run_state
from ganjax import config as configs
from ganjax.devices import processes
from ganjax.experiment import Experiment
from ganjax.media import image
from ganjax.metrics import neighbours

SIDE = 16  # pixels that are compared, of a side
MOST = 50_000  # training pictures that are looked through
ROWS, SHOWN = 8, 6  # samples of the picture, and training pictures of each
CHANCE = 0.01  # share of held-out pictures that are as near as what counts as near


class Bank:
  """The pictures that a run was trained on, the first MOST of its data, made small."""

  def __init__(self, run: Experiment) -> None:
    """Reads the data. Raises UserError where they are not there, or where the run makes no pictures."""
    span, self._name = run.spans[-1], run.method.makes
    if span.fields[self._name].kind != 'image':
      raise UserError(f'{run.config.name} makes no pictures')
    self.source = data.build(**{**run.config.data, **span.source})
    count = min(self.source.num_examples, MOST)
    parts = np.array_split(np.arange(count), -(-count // 1000))
    self._small = np.concatenate([small(self._read(rows)) for rows in parts])

  def nearest(self, pictures: np.ndarray, k: int) -> tuple:
    """(indices, distances) [N, k] of the training pictures nearest to pictures uint8 [N, H, W, C], nearest first."""
    return neighbours.nearest(small(pictures), self._small, min(k, len(self._small)))

  def draw(self, pictures: np.ndarray) -> np.ndarray:
    """A picture of pictures uint8 [N, H, W, C]: a row each, and behind it the training pictures nearest to it."""
    indices, _ = self.nearest(pictures, SHOWN)
    near = self._read(indices.ravel()).reshape(*indices.shape, *pictures.shape[1:])
    cells = np.concatenate([pictures[:, None], near], 1)
    return image.grid(cells.reshape(-1, *pictures.shape[1:]), cells.shape[1])

  def _read(self, rows):
    return self.source.read(rows, (self._name,))[self._name]


def small(pictures: np.ndarray) -> np.ndarray:
  """uint8 [N, H, W, C] -> float32 [N, d]: means over at most SIDE by SIDE blocks, in units of the range [0, 1]."""
  x = pictures.astype(np.float32) / 255
  for axis in (1, 2):
    count = min(SIDE, x.shape[axis])
    edges = np.arange(count + 1) * x.shape[axis] // count
    shape = [1, 1, 1, 1]
    shape[axis] = count
    x = np.add.reduceat(x, edges[:-1], axis) / np.diff(edges).reshape(shape)
  return x.reshape(len(x), -1).astype(np.float32)


def _spread(source, name) -> np.ndarray:
  """At most --num pictures uint8 [n, H, W, C] of a source, evenly spread: data often lie class by class."""
  total = min(source.num_examples, MOST)
  count = min(NUM.value, total)
  return source.read(np.arange(count) * total // count, (name,))[name]


def sentence(fakes: np.ndarray, reals: np.ndarray, held_out: bool = True) -> str:
  """What the distances of samples [n] and of real pictures [m] to the nearest training pictures say."""
  near = np.quantile(reals, CHANCE)
  count = int((fakes < near).sum())
  what = 'held-out pictures are' if held_out else 'training pictures are to another one'
  return (
    f'{count} of {len(fakes):,} samples ({count / len(fakes):.1%}) are nearer to a training picture than '
    f'{1 - CHANCE:.0%} of {len(reals):,} {what}; {CHANCE:.0%} would be chance. Median distance: samples '
    f'{np.median(fakes):.3g}, these {np.median(reals):.3g}'
  )


def main() -> None:
  if OUT.value:
    commandline.check_ending(OUT, '.png', 'ganjax copies')
  if NUM.value < 1:
    raise UserError('--num must be at least 1')
  place = COMMAND.run(WORKDIR)
  processes.start()
  generator = ganjax.from_pretrained(place)
  run = generator.run
  bank = Bank(run)
  split = SPLIT.value or run.config.eval.split
  held_out = bool(split) and split != run.config.data.split
  if held_out:
    source = data.whole({**run.config.data, **run.spans[-1].source}, split)
    real = bank.nearest(_spread(source, run.method.makes), 1)[1][:, 0]
    if np.median(real) == 0:
      raise UserError(
        f'the pictures of --split={split} are training pictures: name others, or leave it out'
      )
  else:
    # Nearest is the picture itself.
    real = bank.nearest(_spread(bank.source, run.method.makes), 2)[1][:, 1]
  # One of each example, of samples that start from examples.
  most = run.held_out(run.spans[-1]).num_examples if run.method.examples else NUM.value
  fakes = generator.sample(np.arange(min(NUM.value, most)))
  distances = bank.nearest(fakes, 1)[1][:, 0]
  print(sentence(distances, real, held_out))
  closest = np.argsort(distances, kind='stable')[:ROWS]
  name = f'copies-{generator.step:08}.png'
  out = Path(OUT.value) if OUT.value else run_state.generated(place, name)
  image.make_folder(out.parent)
  text = image.describe(run.config.name, generator.step, ', '.join(map(str, closest)))
  image.save_png(out, bank.draw(fakes[closest]), text)
  print(out)


if __name__ == '__main__':
  configs.run(main)
