"""One pass over a side: pictures through feature networks, on all devices, several networks and presets at once."""

import collections
import functools
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError, parallel
from ganjax.features import Extractor
from ganjax.metrics.fid import Moments

SAY_SECONDS = 60  # between lines on how far it is


class Plan(NamedTuple):
  """What to take of a side by one feature network."""

  extractor: Extractor
  quantiser: str
  moments: frozenset = (
    frozenset()
  )  # outputs whose mean and covariance are wanted: {'features', 'spatial'}
  rows: frozenset = (
    frozenset()
  )  # outputs that are wanted whole: {'features', 'logits', 'logits_unbiased'}


class Found(NamedTuple):
  """What a plan found."""

  moments: dict  # output -> Moments
  rows: dict  # output -> float32 [N, d]


class Stopped(Exception):  # noqa: N818 (no error: someone asked to stop)
  """`stop` returned True between two batches."""


def extract(side, plans: dict, *, mesh, batch_size: int, stop: Callable = lambda: False) -> dict:
  """Runs all plans over a side.

  Pixels are made, quantised, resized and looked at on the devices, split over the mesh; only features come back. The
  last batch is filled up and what fills it is dropped, so results do not depend on `batch_size` or the devices
  beyond float32 round-off (but for a generator in batch-norm mode 'batch', whose batches these are).

  Args:
    side: a `sides.Side`.
    plans: {key: Plan}.
    mesh: devices.
    batch_size: pictures at a time, rounded up to a multiple of the devices.
    stop: asked before each batch, on all processes alike.

  Returns:
    {key: Found}, in every process.

  Raises:
    Stopped: `stop` returned True.
    UserError: features hold NaN or infinity.
  """
  size = -(-batch_size // mesh.size) * mesh.size
  mine = parallel.local_rows(size, mesh)
  variables = parallel.replicate({k: plan.extractor.variables for k, plan in plans.items()}, mesh)
  pictures = _pictures(side.images, tuple(sorted({plan.quantiser for plan in plans.values()})))
  outputs_of = _outputs(
    tuple(
      (key, p.extractor.apply, p.quantiser, tuple(sorted(p.moments | p.rows)))
      for key, p in plans.items()
    )
  )
  found = {
    key: Found({name: Moments() for name in plan.moments}, {name: [] for name in plan.rows})
    for key, plan in plans.items()
  }

  def read(outputs, count):
    for key, (moments, rows) in found.items():
      for name, value in outputs[key].items():
        value = np.asarray(value)[:count]
        if not np.isfinite(value).all():
          raise UserError(
            f'features of {side.info["name"]} are NaN or infinite: the generator has diverged, or weights are damaged'
          )
        if name in moments:
          moments[name].add(value)
        if name in rows:
          rows[name].append(value)

  pending, began, said = collections.deque(), time.monotonic(), time.monotonic()
  with jax.set_mesh(mesh):
    for start in range(0, side.count, size):
      if stop():
        raise Stopped
      rows = side.rows(np.arange(start, start + size)[mine])
      outputs = outputs_of(variables, pictures(side.state, parallel.place_batch(rows, mesh)))
      pending.append((outputs, min(size, side.count - start)))
      if len(pending) > 2:  # the devices stay busy while the host adds up
        read(*pending.popleft())
      if time.monotonic() - said > SAY_SECONDS and parallel.is_main():
        said, done = time.monotonic(), start + size
        speed = done / (said - began)
        print(
          f'{side.info["name"]}: {done:,} of {side.count:,} pictures, {speed:.0f} a second',
          file=sys.stderr,
          flush=True,
        )
    while pending:
      read(*pending.popleft())
  return {
    key: Found(moments, {name: np.concatenate(parts) for name, parts in rows.items()})
    for key, (moments, rows) in found.items()
  }


def pictures(side, indices, *, mesh, batch_size: int) -> np.ndarray:
  """uint8 [n, H, W, C], on the host, for the metrics that look at pixels."""
  size = -(-batch_size // mesh.size) * mesh.size
  mine = parallel.local_rows(size, mesh)
  make, done = _pictures(side.images, ('round',)), []
  with jax.set_mesh(mesh):
    for start in range(0, len(indices), size):
      chosen = np.resize(indices[start : start + size], size)
      rows = parallel.place_batch(side.rows(chosen[mine]), mesh)
      images = jax.jit(parallel.whole)(make(side.state, rows)['round'])
      done.append(np.asarray(images)[: len(indices) - start])
  return np.concatenate(done)


@functools.lru_cache(maxsize=8)
def _pictures(images, quantisers):
  """The jitted (state, rows) -> {quantiser: uint8 [n, H, W, C]}, split over the mesh."""
  return jax.jit(
    lambda state, rows: {q: parallel.split(images(state, rows, q)) for q in quantisers}
  )


@functools.lru_cache(maxsize=8)
def _outputs(specs):
  """The jitted (variables, {quantiser: images}) -> {key: {output: [n, d]}}; compiled once for both sides."""

  def run(variables, images):
    found = {}
    for key, apply, quantiser, names in specs:
      outputs = apply(variables[key], images[quantiser])
      found[key] = {name: outputs[name].astype(jnp.float32) for name in names}
    return parallel.whole(found)

  return jax.jit(run)
