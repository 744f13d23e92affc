"""One pass over a side: pictures or clips through feature networks, on all devices, several presets at once."""

import collections
import functools
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.devices import backend, processes, sharding
from ganjax.evaluation.sides import Side
from ganjax.features import Extractor
from ganjax.media.image import quantise
from ganjax.metrics.fid import Moments
from ganjax.workdir.writer import duration

FIRST_SECONDS, SAY_SECONDS = 10, 60  # to the first line on how far it is, and between lines


class Progress:
  """Says now and then how much of a side is done, and how long the rest takes."""

  def __init__(self, side: Side) -> None:
    self._side, self._began = side, time.monotonic()
    self._due = self._began + FIRST_SECONDS

  def tell(self, done: int) -> None:
    """Prints a line where one is due, after `done` of the side's samples."""
    now, count = time.monotonic(), self._side.count
    if now < self._due or done >= count or not processes.is_main():
      return
    self._due, speed = now + SAY_SECONDS, done / (now - self._began)
    what = 'pictures' if self._side.kind == 'image' else f'{self._side.kind}s'
    speed_and_left = (
      f'{speed:.{0 if speed > 9.5 else 1}f} a second, {duration((count - done) / speed)} left'
    )
    print(
      f'{self._side.info["name"]}: {done:,} of {count:,} {what}, {speed_and_left}',
      file=sys.stderr,
      flush=True,
    )


class FeaturePlan(NamedTuple):
  """What to take of a side by one feature network."""

  extractor: Extractor
  quantiser: str
  moments: frozenset = (
    frozenset()
  )  # outputs whose mean and covariance are wanted: {'features', 'spatial'}
  rows: frozenset = (
    frozenset()
  )  # outputs that are wanted whole: {'features', 'logits', 'logits_unbiased'}


class ExtractedFeatures(NamedTuple):
  """What a plan wanted of a side."""

  moments: dict  # output -> Moments
  rows: dict  # output -> float32 [N, d], of clips by a network of pictures [N T, d]


class Stopped(Exception):  # noqa: N818 (no error: someone asked to stop)
  """`stop` returned True between two batches."""


def extract(
  side: Side,
  plans: dict,
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  stop: Callable = lambda: False,
) -> dict:
  """Runs all plans over a side.

  Pixels are made, quantised, resized and looked at on the devices, split over the mesh; only features come back. The
  last batch is filled up and what fills it is dropped, so results do not depend on `batch_size` or the devices
  beyond float32 round-off (but for a generator in batch-norm mode 'batch', whose batches these are).

  Args:
    side: a `sides.Side`.
    plans: {key: FeaturePlan}.
    mesh: devices.
    batch_size: pictures at a time, rounded up to a multiple of the devices; of clips their frames.
    stop: asked before each batch, on all processes alike.

  Returns:
    {key: ExtractedFeatures}, in every process.

  Raises:
    Stopped: `stop` returned True.
    UserError: features hold NaN or infinity.
  """
  frames = side.field.shape[0] if side.kind == 'clip' else 1
  size = -(-batch_size // (frames * mesh.size)) * mesh.size
  mine = sharding.local_rows(size, mesh)
  variables = sharding.replicate({k: plan.extractor.variables for k, plan in plans.items()}, mesh)
  make = _pictures(side.images, tuple(sorted({plan.quantiser for plan in plans.values()})))
  outputs_of = _outputs(
    tuple(
      (key, p.extractor.apply, p.quantiser, tuple(sorted(p.moments | p.rows)))
      for key, p in plans.items()
    )
  )
  found = {
    key: ExtractedFeatures(
      {name: Moments() for name in plan.moments}, {name: [] for name in plan.rows}
    )
    for key, plan in plans.items()
  }

  def read(outputs, finite, count):
    if not finite:
      raise UserError(
        f'pictures of {side.info["name"]} hold NaN or infinity: the generator has diverged; take an earlier checkpoint'
      )
    for key, (moments, rows) in found.items():
      for name, value in outputs[key].items():
        value = np.asarray(value)[:count]
        value = value.reshape(-1, value.shape[-1])  # also those of frames
        if not np.isfinite(value).all():
          raise UserError(
            f'features of {side.info["name"]} are NaN or infinite: the generator has diverged, or weights are damaged'
          )
        if name in moments:
          moments[name].add(value)
        if name in rows:
          rows[name].append(value)

  pending, progress = collections.deque(), Progress(side)
  with jax.set_mesh(mesh):
    for start in range(0, side.count, size):
      if stop():
        raise Stopped
      rows = side.rows(np.arange(start, start + size)[mine])
      images, finite = make(side.state, sharding.place_batch(rows, mesh))
      pending.append((outputs_of(variables, images), finite, min(size, side.count - start)))
      if len(pending) > 2:  # the devices stay busy while the host adds up
        read(*pending.popleft())
      progress.tell(start + size)
    while pending:
      read(*pending.popleft())
  return {
    key: ExtractedFeatures(moments, {name: np.concatenate(parts) for name, parts in rows.items()})
    for key, (moments, rows) in found.items()
  }


def pictures(
  side: Side, indices: np.ndarray, *, mesh: jax.sharding.Mesh, batch_size: int
) -> np.ndarray:
  """uint8 [n, H, W, C], on the host, for the metrics that look at pixels: those that `extract` sees."""
  size = -(-batch_size // mesh.size) * mesh.size
  mine = sharding.local_rows(size, mesh)
  make, whole = _pictures(side.images, ('round',)), jax.jit(sharding.keep_whole)

  def batch(chosen):
    images, finite = make(side.state, sharding.place_batch(side.rows(chosen[mine]), mesh))
    if not finite:
      raise UserError(f'pictures of {side.info["name"]} hold NaN or infinity')
    return np.asarray(whole(images['round']))

  with jax.set_mesh(mesh):
    if side.info.get('batch_norm') == 'batch':  # a picture depends on its batch
      blocks = {b: batch(np.arange(b * size, (b + 1) * size)) for b in np.unique(indices // size)}
      return np.stack([blocks[i // size][i % size] for i in indices])
    starts = range(0, len(indices), size)
    done = [batch(np.resize(indices[s : s + size], size))[: len(indices) - s] for s in starts]
  return np.concatenate(done)


@functools.lru_cache(maxsize=8)
def _pictures(images, quantisers):
  """The jitted (state, rows) -> ({quantiser: uint8 [n, H, W, C]}, whether all are finite), split over the mesh."""

  def make(state, rows):
    x = sharding.keep_split(images(state, rows))
    if x.dtype == jnp.uint8:
      return dict.fromkeys(quantisers, x), jnp.array(True)
    return {q: quantise(x, q) for q in quantisers}, sharding.keep_whole(jnp.isfinite(x).all())

  return jax.jit(make)


@functools.lru_cache(maxsize=8)
def _outputs(specs):
  """The jitted (variables, {quantiser: images}) -> {key: {output: [n, d]}}; compiled once for both sides."""

  def run(variables, images):
    found = {}
    for key, apply, quantiser, names in specs:
      outputs = apply(variables[key], images[quantiser])
      found[key] = {name: outputs[name].astype(jnp.float32) for name in names}
    return sharding.keep_whole(found)

  return jax.jit(run, compiler_options=backend.forward_compilation())
