"""How far D knows its training pictures by heart (ADA, Karras et al. 2020, arXiv:2006.06676, section 3.1)."""

import functools

import jax
import numpy as np

from ganjax.data import Source
from ganjax.devices import sharding
from ganjax.method import Method, Stage, TrainState
from ganjax.sampling import sampler

IMAGES = 1000


def r_v(
  method: Method,
  stage: Stage,
  state: TrainState,
  train: Source,
  held_out: Source,
  *,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> float:
  """(E D(train) - E D(held out)) / (E D(train) - E D(fakes)) of up to IMAGES each (equation 1), seen as in training.

  0 where D takes held-out pictures for training's, 1 where it takes them for fakes.

  Args:
    method, stage, state: of a run whose method has `judge`; the state as it is trained, not averaged.
    train, held_out: data.Source.
    mesh, batch_size: as many pictures at a time; whole batches alone are looked at, one at least.
  """
  count = max(min(IMAGES, train.num_examples, held_out.num_examples) // batch_size, 1)
  kind = method.makes
  names = (kind, 'label') if method.num_classes else (kind,)
  judge, sample = _functions(method.judge, stage.sample)
  local = sharding.local_rows(batch_size, mesh)
  place = lambda tree: sharding.place_batch(
    jax.tree.map(lambda x: np.asarray(x)[local], tree), mesh
  )
  means = []
  with jax.set_mesh(mesh):
    for source in (train, held_out, None):
      found = []
      for i in range(count):
        at = np.arange(i * batch_size, (i + 1) * batch_size)
        if source:
          own = source.read(at % source.num_examples, names)
          own = place(sampler.to_floats(own, source.fields))
        else:
          rows = place(sampler.rows(method, at))
          own = {kind: sample(state, rows)} | ({'label': rows['label']} if names[1:] else {})
        found.append(judge(state, own[kind], own.get('label'), jax.random.key(i)))
      means.append(np.mean(jax.device_get(found), dtype=np.float64))
  real, other, fake = means
  return float((real - other) / max(real - fake, 1e-8))


@functools.lru_cache
def _functions(judge, sample):
  mean = lambda *args: sharding.keep_whole(judge(*args).mean())
  return jax.jit(mean), jax.jit(lambda state, rows: sample(state, rows, train=False)[0])
