"""Styles w of samples: computed, mixed, averaged by class, and read from files. For methods with `Method.styles`."""

import functools
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from ganjax import UserError
from ganjax.method import Method, TrainState

DRAWS = 10_000  # z of an average, as in stylegan2-ada-pytorch
AT_ONCE = 1000


def find(method: Method, state: TrainState, rows: dict, centre: np.ndarray | None = None) -> dict:
  """Rows with styles 'w' float32 [n, L, W], on the host: `Styles.map`."""
  return jax.device_get(_jitted(method.styles.map)(state, rows, centre))


@functools.lru_cache
def _jitted(function):
  return jax.jit(function)


def draw(
  method: Method, state: TrainState, count: int = DRAWS, label: int | None = None
) -> np.ndarray:
  """Styles [count, W] of the first layer, from latents that no seed of a user has; with `label`, of that class."""
  found = []
  for start in range(0, count, AT_ONCE):
    seeds = -1 - np.arange(start, start + AT_ONCE)
    rows = jax.device_get(method.rows(seeds, {}))
    if label is not None:
      rows['label'] = np.full_like(rows['label'], label)
    found.append(find(method, state, rows)['w'][:, 0])
  return np.concatenate(found)[:count]


def class_means(
  method: Method, state: TrainState, labels: np.ndarray, count: int = DRAWS
) -> np.ndarray:
  """The mean style [n, W] of the class of each of `labels`, int [n].

  The mean of a conditional generator is over all classes: truncation towards it moves away from the class.
  """
  means = {label: draw(method, state, count, label).mean(0) for label in np.unique(labels)}
  return np.stack([means[label] for label in labels])


def mix(rows: dict, columns: dict, layers: Sequence[int] | np.ndarray) -> dict:
  """The style-mixing table (StyleGAN, arXiv:1812.04948, figure 3): rows [R * C, ...], row by row.

  Args:
    rows: with 'w', R of them.
    columns: C others; only their 'w' is used.
    layers: layers with the style of the column. All else comes from the row.
  """
  w = columns['w']
  table = jax.tree.map(lambda x: np.repeat(x, len(w), 0), rows)
  here = np.isin(np.arange(w.shape[1]), layers)[:, None]
  table['w'] = np.where(here, np.tile(w, (len(rows['w']), 1, 1)), table['w'])
  return table


def read(paths: Iterable[str | Path], shape: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
  """(styles float32 [n, L, W], names) from .npz files with an array `w` [n, L, W], concatenated.

  `ganjax project` writes such a file; stylegan2-ada-pytorch's projector does too.

  Args:
    paths: paths of the files.
    shape: (L, W) of the run.

  Raises:
    UserError: no such file, or one of another shape.
  """
  found, names = [], []
  for path in map(Path, paths):
    try:
      with np.load(path) as file:
        w = file['w']
    except FileNotFoundError:
      raise UserError(f'--styles={path} is not there') from None
    except (OSError, KeyError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile):
      raise UserError(
        f'--styles={path} is no .npz with an array w, as ganjax project writes it'
      ) from None
    if w.ndim != 3 or w.shape[1:] != shape or w.dtype.kind != 'f' or not np.isfinite(w).all():
      raise UserError(
        f'--styles={path} holds {w.dtype} {list(w.shape)}: this run takes n styles of {shape[0]} layers and '
        f'{shape[1]} numbers'
      )
    found.append(w.astype(np.float32))
    names += [path.stem if len(w) == 1 else f'{path.stem}-{i}' for i in range(len(w))]
  return np.concatenate(found), names


def shape(method: Method, state: TrainState) -> tuple[int, int]:
  """(L, W) of the styles of a run."""
  rows = method.rows(np.zeros(1, np.int32), {})
  return jax.eval_shape(method.styles.map, state, rows)['w'].shape[1:]
