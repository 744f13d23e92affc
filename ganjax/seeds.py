"""Several seeds of one training in one program: a state in which every array has a leading axis, one entry a seed.

`update.init` with keys [N] makes such a state, `update.make_update` trains it, and nothing else of a method, a loss or
a network knows. Seed k trains as a run of its own with the k-th key would.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.devices import backend, sharding
from ganjax.method import TrainState


def several(state: TrainState) -> bool:
  """Whether a TrainState holds several seeds: its key tells."""
  return state.key.ndim > 0


def unrolls(state: TrainState) -> bool:
  """Whether the seeds of a state are best trained one after another, rather than by `jax.vmap`.

  So it is for convolutions on a CPU: `vmap` makes grouped ones of them, which XLA computes slowly there.
  """
  kernels = [x for x in jax.tree.leaves(state.params) if x.ndim - state.key.ndim == 4]
  return bool(kernels) and not backend.has_grouped_convolutions()


def each(
  function: Callable[..., Any],
  state: TrainState,
  *args: Any,
  own: bool = False,
  unrolled: bool = False,
) -> Any:
  """function(state, *args) of every seed, results stacked; of a state of one seed, the function's own.

  Args:
    function: (state of one seed, *args) -> pytree of arrays; traced.
    state: TrainState of one seed or several.
    *args: pytrees, the same for all seeds but with `own`.
    own: `args` have a row [N, ...] for each of the N seeds.
    unrolled: the seeds one after another in the program, rather than by `jax.vmap`.
  """
  if not several(state):
    return function(state, *args)
  if not unrolled:
    return jax.vmap(function, (0, *[0 if own else None] * len(args)))(state, *args)
  function = jax.jit(function)  # traced once, compiled within the caller's program for each seed
  rows = lambda k: take(args, k) if own else args
  found = [function(take(state, k), *rows(k)) for k in range(len(state.key))]
  return jax.tree.map(lambda *x: jnp.stack(x), *found)


def take(tree: Any, k: int) -> Any:
  """Row k of every array: one seed's part."""
  return jax.tree.map(lambda x: x[k], tree)


@functools.partial(jax.jit, static_argnames='count')
def _split(state, count):
  return sharding.keep_whole([take(state, k) for k in range(count)])


def split(state: TrainState) -> list:
  """The states of all seeds, without optimizers, to sample from; of a state of one seed, that alone."""
  return _split(state.replace(opt={}), len(state.key)) if several(state) else [state]


def name(flags: jax.typing.ArrayLike) -> str:
  """' in seed 1, 3' for flags [N] of which two are true; '' for a single flag."""
  return f' in seed {", ".join(map(str, np.flatnonzero(flags)))}' if np.ndim(flags) else ''
