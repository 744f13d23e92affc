"""Are samples copies of training pictures: ganjax copies runs/dcgan

The distance of each sample to the nearest training picture is held against those of held-out pictures, which are no
copies. Pictures are compared by pixels, as means over 16x16 blocks. The samples that are nearest to a training
picture become a picture: each sample, then the training pictures nearest to it.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
WORKDIR = COMMAND.string('workdir', None, 'The run, where RUN is not given.')
NUM = COMMAND.integer('num', 1000, 'Samples, and held-out pictures, at most.')
OUT = COMMAND.string('out', None, 'The picture, .png; by default in RUN/generated.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

from pathlib import Path

import numpy as np

import ganjax
from ganjax import UserError, data, run_state
from ganjax import config as configs
from ganjax.devices import processes
from ganjax.media import image
from ganjax.metrics import neighbours

SIDE = 16  # pixels that are compared, of a side
MOST = 50_000  # training pictures that are looked through
ROWS, SHOWN = 8, 6  # samples of the picture, and training pictures of each
CHANCE = 0.01  # share of held-out pictures that are as near as what counts as near


class Bank:
  """The pictures that a run was trained on, the first MOST of its data, made small."""

  def __init__(self, run):
    """Reads the data. Raises UserError where they are not there, or where the run makes no pictures."""
    span, self._name = run.spans[-1], run.method.makes
    if span.fields[self._name].kind != 'image':
      raise UserError(f'{run.config.name} makes no pictures')
    self._source = data.build(**{**run.config.data, **span.source})
    count = min(self._source.num_examples, MOST)
    parts = np.array_split(np.arange(count), -(-count // 1000))
    self._small = np.concatenate([small(self._read(rows)) for rows in parts])

  def nearest(self, pictures, k) -> tuple:
    """(indices, distances) [N, k] of the training pictures nearest to pictures uint8 [N, H, W, C], nearest first."""
    return neighbours.nearest(small(pictures), self._small, min(k, len(self._small)))

  def draw(self, pictures) -> np.ndarray:
    """A picture of pictures uint8 [N, H, W, C]: a row each, and behind it the training pictures nearest to it."""
    indices, _ = self.nearest(pictures, SHOWN)
    near = self._read(indices.ravel()).reshape(*indices.shape, *pictures.shape[1:])
    cells = np.concatenate([pictures[:, None], near], 1)
    return image.grid(cells.reshape(-1, *pictures.shape[1:]), cells.shape[1])

  def _read(self, rows):
    return self._source.read(rows, (self._name,))[self._name]


def small(pictures) -> np.ndarray:
  """uint8 [N, H, W, C] -> float32 [N, d]: means over at most SIDE by SIDE blocks, in units of the range [0, 1]."""
  x = pictures.astype(np.float32) / 255
  for axis in (1, 2):
    count = min(SIDE, x.shape[axis])
    edges = np.arange(count + 1) * x.shape[axis] // count
    shape = [1, 1, 1, 1]
    shape[axis] = count
    x = np.add.reduceat(x, edges[:-1], axis) / np.diff(edges).reshape(shape)
  return x.reshape(len(x), -1).astype(np.float32)


def sentence(fakes, reals) -> str:
  """What the distances of samples [n] and of held-out pictures [m] to the nearest training pictures say."""
  near = np.quantile(reals, CHANCE)
  count = int((fakes < near).sum())
  return (
    f'{count} of {len(fakes):,} samples ({count / len(fakes):.1%}) are nearer to a training picture than '
    f'{1 - CHANCE:.0%} of {len(reals):,} held-out pictures are; {CHANCE:.0%} would be chance. Median distance: samples '
    f'{np.median(fakes):.3g}, held-out pictures {np.median(reals):.3g}'
  )


def main():
  if OUT.value:
    commandline.check_ending(OUT, '.png', 'ganjax copies')
  if NUM.value < 1:
    raise UserError('--num must be at least 1')
  place = COMMAND.run(WORKDIR)
  processes.start()
  generator = ganjax.from_pretrained(place)
  run = generator.run
  bank = Bank(run)
  held_out = run.held_out(run.spans[-1])
  count = min(NUM.value, held_out.num_examples)
  fakes = generator.sample(np.arange(count))
  reals = held_out.read(np.arange(count), (run.method.makes,))[run.method.makes]
  distances = [bank.nearest(x, 1)[1][:, 0] for x in (fakes, reals)]
  print(sentence(*distances))
  closest = np.argsort(distances[0], kind='stable')[:ROWS]
  name = f'copies-{generator.step:08}.png'
  out = Path(OUT.value) if OUT.value else run_state.generated(place, name)
  image.make_folder(out.parent)
  text = image.describe(run.config.name, generator.step, ', '.join(map(str, closest)))
  image.save_png(out, bank.draw(fakes[closest]), text)
  print(out)


if __name__ == '__main__':
  configs.run(main)
