"""Data sets as arrays that are read by index.

A data set is a file in `sets/`. Every example is decoded once (`cache.py`). A batch is a gather. The order is a pure
function of the seed and of the number of consumed examples (`source.indices`). So a resumed run sees the same examples
as an uninterrupted one, on any number of processes.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ganjax import UserError, component, media
from ganjax.data import folder, sets
from ganjax.data.source import Source, indices

__all__ = ['Source', 'build', 'fields', 'indices', 'of_own', 'whole']


def build(
  *,
  dataset: str,
  split: str = 'train',
  fraction: float = 1.0,
  seed: int | tuple[int, ...] = 0,
  **arguments: Any,
) -> Source:
  """Opens a data set; the first time, decodes it into the cache.

  Args:
    dataset: a file in `sets/` ('emoji', 'folder', 'stacked_mnist', ...), the path of a folder or zip archive of
      pictures, or a name of the TFDS catalogue, with config and version if wanted: 'cifar10', 'lsun/bedroom',
      'mnist:3.0.1'.
    split: of the data set ('train', 'test', a slice of TFDS such as 'train[:80%]').
    fraction: fraction of the examples to keep, in (0, 1]; `seed` selects them.
    seed: seed of the subset. (The seed of the order is an argument of `Source.rows`.)
    **arguments: other fields of `config.data`: `resolution`, a side in pixels or (height, width); `channels`;
      `data_dir`; `cache`, False to decode at every access, with the same results, for sets too large for the disk; and
      what the data set's own `build` takes. `flip` is not of use here: the training step mirrors.

  Returns:
    A Source.

  Raises:
    UserError: any error that the user can fix, in one line.
  """
  if not 0 < fraction <= 1:
    raise UserError(f'data.fraction must be above 0 and at most 1, not {fraction!r}')
  dataset, data_dir = _locate(dataset, arguments.pop('data_dir', None))
  arguments |= {'dataset': dataset, 'data_dir': data_dir, 'split': split}
  source = _call('build', {'channels': 3, 'cache': True, **arguments})
  source.info['split'] = split
  return source.subset(fraction, seed)


def fields(
  *,
  dataset: str,
  split: str = 'train',
  fraction: float = 1.0,
  seed: int | tuple[int, ...] = 0,
  **arguments: Any,
) -> dict[str, media.Field]:
  """{name: media.Field} of the fields that a data set can have, without opening it. Arguments as `build`."""
  dataset, _ = _locate(dataset, arguments.pop('data_dir', None))
  return _call('fields', {'channels': 3, **arguments, 'dataset': dataset})


def _locate(dataset, data_dir):
  """As `folder.locate`. Raises UserError where the data set reads nothing there."""
  dataset, place = folder.locate(dataset, data_dir)
  if place and 'data_dir' not in inspect.signature(_module(dataset).build).parameters:
    raise UserError(
      f'the data set is {dataset}, which has no use for data.data_dir={place}: leave that out, or for pictures there, '
      f'--config.data.dataset=folder --config.data.data_dir={place}'
    )
  return dataset, place


def of_own(dataset: str) -> Callable[[np.ndarray], np.ndarray]:
  """The function `of_own` of a data set's file, which converts your own clips [..., T, H, W, C]; or the identity."""
  return getattr(_module(dataset), 'of_own', lambda x: x)


def whole(config: Mapping[str, Any] | ConfigDict, split: str, **changes: Any) -> Source:
  """A whole split of a run's data, even if it trained on a `fraction`; `config` is `config.data`."""
  return build(**{**config, 'split': split, 'fraction': 1.0, 'seed': 0, **changes})


def _call(name, arguments):
  """Calls a function of the data set's file with what it takes of `arguments`."""
  dataset = arguments['dataset']
  function = getattr(_module(dataset), name)
  if name == 'build':
    common = {'dataset', 'data_dir', 'split', 'resolution', 'channels', 'cache', 'flip'}
    own = {k: v for k, v in arguments.items() if k not in common}
    component.check_arguments(f'data set {dataset!r}', function, own, common)
  taken = inspect.signature(function).parameters
  return function(**{k: v for k, v in arguments.items() if k in taken})


def _module(dataset):
  known = {one.name for one in pkgutil.iter_modules(sets.__path__)} - {'catalogue'}
  file = dataset if dataset in known else 'catalogue'
  return importlib.import_module(f'ganjax.data.sets.{file}')
