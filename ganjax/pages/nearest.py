"""The training pictures that are nearest to samples: copies would show here."""

import numpy as np

from ganjax import data
from ganjax.media import image
from ganjax.metrics import neighbours

SIDE, MOST, SHOWN = (
  16,
  20_000,
  6,
)  # pixels that are compared; pictures that are looked through; shown of each sample


class Bank:
  """The pictures that a run was trained on, the first MOST of its data, made small."""

  def __init__(self, run):
    span = run.spans[-1]
    self._source = data.build(**{**run.config.data, **span.source})
    self._name = run.method.makes
    count = min(self._source.num_examples, MOST)
    parts = np.array_split(np.arange(count), -(-count // 1000))
    self._small = np.concatenate([small(self._read(rows)) for rows in parts])

  def picture(self, samples) -> bytes:
    """A PNG of samples uint8 [n, H, W, C]: a row each, and behind it the nearest training pictures, nearest first."""
    indices, _ = neighbours.nearest(small(samples), self._small, min(SHOWN, len(self._small)))
    near = self._read(indices.ravel()).reshape(*indices.shape, *samples.shape[1:])
    cells = np.concatenate([samples[:, None], near], 1)
    picture = image.grid(cells.reshape(-1, *samples.shape[1:]), cells.shape[1])
    return image.to_png(
      picture, {'Software': 'ganjax', 'Description': 'samples and training images'}
    )

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
