"""The grid of a training: the same samples after every so many steps, beside what they are made from and like."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ganjax import media
from ganjax.data import Source
from ganjax.media import image
from ganjax.method import Method
from ganjax.sampling import sampler

COUNT, FROM_EXAMPLES = 64, 16  # samples of a grid; of one whose samples start from examples


class Grid(NamedTuple):
  """What a grid is made of.

  Attributes:
    rows: of `sampler.rows`, one a sample.
    field: media.Field of the samples.
    left: pictures uint8 [n, h, w, c] of the examples that samples start from, field by field.
    right: those of what the data have where a sample stands, if it starts from examples.
  """

  rows: dict | np.ndarray
  field: media.Field
  left: tuple[np.ndarray, ...] = ()
  right: tuple[np.ndarray, ...] = ()


def build(
  method: Method, fields: dict[str, media.Field], open_source: Callable[[], Source]
) -> Grid:
  """The grid of seeds 0, 1, ...; of a method that asks for examples, examples spread evenly over a held-out split.

  Args:
    method: of the run.
    fields: of its data, {name: media.Field}.
    open_source: opens that split, where it is needed.
  """
  field = fields[method.makes]
  if not method.examples:
    return Grid(sampler.rows(method, np.arange(COUNT)), field)
  source = open_source()
  count = min(FROM_EXAMPLES, source.num_examples)
  indices = np.arange(count) * source.num_examples // count  # data often lie kind by kind
  names = [n for n in (*method.examples, method.makes) if n in source.fields]
  stored = source.read(indices, names)
  shown = {n: show(x, source.fields[n]) for n, x in stored.items() if _is_seen(source.fields[n])}
  left = tuple(shown[n] for n in method.examples if n in shown)
  made = method.makes
  right = (shown[made],) if made in shown and made not in method.examples else ()
  rows = sampler.rows(method, indices, source, indices)
  return Grid(rows, source.fields[method.makes], left, right)


def _is_seen(field) -> bool:
  return hasattr(media.find(field.kind), 'show')


def show(x: np.ndarray, field: media.Field) -> np.ndarray:
  """Pictures uint8 [N, H, W, C] of stored examples or samples [N, ...] of a field."""
  return media.find(field.kind).show(x)


def draw(grid: Grid, pictures: np.ndarray, columns: int | None = None) -> np.ndarray:
  """One picture uint8 [H, W, C] of the grid, with `pictures` [N, h, w, c] of its samples."""
  cells = [*grid.left, pictures, *grid.right]
  height, depth = max(x.shape[1] for x in cells), max(x.shape[3] for x in cells)
  return image.grid(np.concatenate([_fit(x, height, depth) for x in cells], 2), columns)


def _fit(x, height, depth):
  """Pictures of a height and a number of channels: pixels repeated, then white below; grey as RGB."""
  factor = height // x.shape[1]
  x = np.repeat(np.repeat(x, factor, 1), factor, 2)
  x = np.pad(x, [(0, 0), (0, height - x.shape[1]), (0, 0), (0, 0)], constant_values=255)
  if x.shape[3] < depth:  # grey to RGB; RGB to opaque
    grey = np.repeat(x[..., :1], 3, 3) if x.shape[3] == 1 else x
    x = np.concatenate([grey, np.full_like(grey[..., :1], 255)], 3)[..., :depth]
  return x
