"""Classes of two sides: the same where their names are, or their numbers where a side has no names."""

from typing import NamedTuple

import numpy as np

from ganjax import UserError
from ganjax.devices import processes
from ganjax.evaluation.sides import Side


class Matched(NamedTuple):
  """The classes that two sides share.

  Attributes:
    names: theirs, in the order of the reals.
    fake, real: int [count], a class of `names` for each picture; -1 for others and for pictures without a label.
  """

  names: list
  fake: np.ndarray
  real: np.ndarray


def match(fake: Side, real: Side) -> Matched:
  """Matches the labels of two `sides.Side`; a line says which classes are left out.

  Labels below 0 are none, as TFDS has them. By number a class that only the reals have stays, for it may have too few
  fakes by chance; by name it is left out.

  Raises:
    UserError: no class is on both sides.
  """
  named = bool(fake.class_names and real.class_names)
  labels = [np.asarray(side.labels()) for side in (fake, real)]
  if named:
    ours, theirs = list(fake.class_names), list(real.class_names)
  else:
    ours, theirs = (np.unique(found[found >= 0]).tolist() for found in labels)
  shared = set(ours) & set(theirs)
  if not shared:
    what = 'name' if named else 'number'
    raise UserError(
      f'no class of the fakes, {_list(ours)}, has the {what} of one of the reals, {_list(theirs)}'
    )
  kept = [name for name in theirs if name in shared or not named]
  only = {
    'fakes': [name for name in ours if name not in shared],
    'reals': [name for name in theirs if name not in shared and named],
  }
  said = [f'only the {side} have {_list(names)}' for side, names in only.items() if names]
  if said:
    processes.say(f'classes of one side are left out: {"; ".join(said)}')
  place = {name: i for i, name in enumerate(kept)}
  numbers = []
  for found, names in zip(labels, (ours, theirs)):
    keys = (names[label] if named and label >= 0 else label for label in found.tolist())
    numbers.append(np.array([place.get(key, -1) for key in keys], np.int64))
  return Matched([str(name) for name in kept], *numbers)


def _list(names) -> str:
  return ', '.join(map(str, names[:5])) + (', ...' if len(names) > 5 else '') or 'none'
