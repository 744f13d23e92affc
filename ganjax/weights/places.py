"""Fills the arrays of a network with those of a published file, which have other names and axes."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from ganjax import UserError


def fill(
  template: dict,
  arrays: dict,
  find: Callable[[list[str], tuple[int, ...]], tuple],
  path: str | Path,
  net: str,
  unused: str = r'$^',
) -> dict:
  """`template` with arrays of a file for its shapes: host arrays.

  Args:
    template: {'params', 'stats'} of a network: shapes.
    arrays: name there -> array.
    find: (keys of one of ours, its shape) -> (the name there, or the names that it may have; its shape there; what
      makes ours of it).
    path: of the file, for messages.
    net: what the network is called in them.
    unused: a pattern of the names that have no counterpart here and need none.

  Raises:
    UserError: an array that is missing, of another shape, without a place here or not finite.
  """
  used = set()

  def place(where, leaf):
    names, shape, turn = find([key.key for key in where], leaf.shape)
    names = [names] if isinstance(names, str) else names
    name = next((name for name in names if name in arrays), names[0])
    used.add(name)
    if name not in arrays:
      raise UserError(f'{path} lacks {name}, which {net} needs')
    found = arrays[name]
    # Vectors of spectral norm are [n] in some codes, [1, n] in others.
    alike = found.shape == shape or (len(shape) == 1 and found.shape == (1, *shape))
    if not alike or found.dtype.kind != 'f':
      raise UserError(
        f'{path}: {name} of {net} is {found.dtype} {found.shape}, and should be float {shape}'
      )
    if not np.isfinite(found).all():
      raise UserError(f'{path}: {name} of {net} has values that are NaN or infinite')
    return turn(found).reshape(leaf.shape).astype(leaf.dtype)

  tree = jax.tree_util.tree_map_with_path(place, template)
  for name, x in arrays.items():
    if name not in used and not re.fullmatch(unused, name):
      raise UserError(f'{path}: {name} {x.shape} has no place in {net}')
  return tree


def find_layer(layer: str, rules: Sequence[tuple[str, Callable[..., str]]], net: str) -> str:
  """Torch's name of a layer of ours, by the first rule that knows it.

  Args:
    layer: path of ours.
    rules: [(pattern of paths, what makes the name of the groups)]; groups that are numbers are ints.
    net: what the network is called in messages.
  """
  for pattern, rename in rules:
    if match := re.fullmatch(pattern, layer):
      return rename(*(int(x) if x.isdecimal() else x for x in match.groups()))
  raise UserError(f'this format has no {layer}, which {net} of this configuration has')


def torch_axes(kind: str, shape: Sequence[int]) -> tuple:
  """(shape of torch's array of a layer, what makes ours of it): kernels have other axes there."""
  if kind != 'kernel':
    return tuple(shape), lambda x: x
  if len(shape) == 4:
    return (shape[3], shape[2], *shape[:2]), lambda x: x.transpose(2, 3, 1, 0)
  return tuple(shape[::-1]), lambda x: x.T
