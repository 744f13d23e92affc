"""What is added to the losses of D and G: a file here whose `build` returns a Term, and a field of methods/gan.py."""

import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.method import TrainState


class Game(NamedTuple):
  """What an update of D or G has computed before its terms."""

  state: TrainState  # with the statistics of the passes so far
  images: jax.Array  # reals [B, ...], before augmentation
  label: jax.Array | None  # of `fakes`, int32 [n]
  z: jax.Array  # latents [n, Z]
  fakes: jax.Array  # G(z) [n, ...]
  of_real: tuple  # D's logits of the reals and its class scores or None
  of_fake: tuple  # and of the fakes
  key: jax.Array  # of this update's draws; a term takes one of its own from it (`named`)
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


def named(key: jax.Array, purpose: str) -> jax.Array:
  """A key for the purpose of this name."""
  return jax.random.fold_in(key, zlib.crc32(purpose.encode()))


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
