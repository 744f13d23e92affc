"""What is added to the losses of D and G, a file each: `build(given, nets) -> Term`, whose name is a field of `method`.

`given` is that field, None where a recipe does not set it: the file then adds nothing. `nets` are the networks.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from ganjax import UserError, component
from ganjax.method import TrainState
from ganjax.wording import closest

FOLDER = 'losses.terms'


class Game(NamedTuple):
  """What an update of D or G has computed before its terms."""

  state: TrainState  # with the statistics of the passes so far
  images: jax.Array  # reals [B, ...], before augmentation
  label: jax.Array | None  # of `fakes`, int32 [n]
  z: jax.Array  # latents [n, Z]
  fakes: jax.Array  # G(z) [n, ...]
  of_real: tuple  # D's logits of the reals and its class scores or None
  of_fake: tuple  # and of the fakes
  key: jax.Array  # of this update's draws; a term takes one of its own from it (`method.named`)
  draw: Callable  # key -> other latents [n, Z]
  generate: Callable  # z [n, Z] -> images [n, ...], by the state that made `fakes`
  judge: Callable  # images of `label` -> (logits, scores), by the state that made `of_fake`, with its draws
  critic: Callable  # (images of `label`, key) -> logits, by `state`


class Term(NamedTuple):
  """Each returns {metric: scalar}, which are added up to the loss, weights included."""

  D: Callable = lambda game: {}
  G: Callable = lambda game: {}
  keep: Callable = lambda game: {}  # changes of state.extra after an update of D
  extra: dict = {}  # what the term keeps in state.extra, at the start


def build(given: Mapping[str, Any], nets: Mapping[str, Any]) -> dict[str, Term]:
  """The term of each file here, by name.

  Args:
    given: {NAME of a file: what it is built from}.
    nets: the networks, by name.

  Raises:
    UserError: names of no file, or what a file does not take.
  """
  files = component.names(FOLDER)
  for name in given:
    if name not in files:
      raise UserError(
        f'method.{name} is not known{closest(name, files)}; terms are {", ".join(files)}'
      )
  return {name: component.load(FOLDER, name).build(given.get(name), nets) for name in files}


def fields(
  name: str, given: Mapping[str, float] | ConfigDict | None, **defaults: float | None
) -> dict[str, float]:
  """`given` with defaults for what it lacks (None: it must be there), or {} where nothing is given.

  Raises:
    UserError: other names, or values that are no numbers from 0.
  """
  if not given:
    return {}
  check_mapping(name, given)
  found = {**defaults, **given}
  number = lambda x: isinstance(x, (int, float)) and x >= 0
  if found.keys() != defaults.keys() or not all(map(number, found.values())):
    raise UserError(
      f'method.{name}={dict(given)} must be numbers from 0 of the names {", ".join(defaults)}'
    )
  return found


def check_mapping(name: str, value: object) -> None:
  """Raises UserError where a field of a method is no mapping."""
  if not hasattr(value, 'keys'):  # those of ml_collections are no Mapping
    raise UserError(f'method.{name}={value!r} must be a mapping of names to numbers')
