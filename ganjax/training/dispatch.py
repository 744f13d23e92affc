"""How many steps a dispatch holds: a function of configuration, devices and step, so that a resumed run finds the same.

A dispatch is one call of the jitted update: one step, or `config.steps_per_dispatch` of them in a `lax.scan`.
"""

import collections
import contextlib
import math
import threading

import jax
from jax.sharding import NamedSharding, PartitionSpec

from ganjax import config as configs
from ganjax.data import Source
from ganjax.devices import backend
from ganjax.experiment import Experiment
from ganjax.method import Span
from ganjax.update import active


def steps_at(run: Experiment, span: Span, devices: int, step: int) -> int:
  """How many steps the dispatch at `step` holds: K (`config.steps_per_dispatch`) or 1.

  It holds K steps under three conditions:
  - `step` is a multiple of K;
  - all K steps run the same phases;
  - no log line, grid, checkpoint, evaluation, end of a stage or end of a profile falls inside it.

  Signals stop a run between dispatches. The dispatches do not depend on signals, so a resumed run repeats them.

  Args:
    run: Experiment.
    span: the stage's place in training, `method.Span`.
    devices: how many.
    step: of the whole training, from 0.
  """
  config, steps = run.config, _most(run, span, devices)
  if config.debug_nans or step % steps or step + steps > span.stop:
    return 1
  same = all(active(span.stage, s) == active(span.stage, step) for s in range(step, step + steps))
  cut = any(_stops(config, s) for s in range(step + 1, step + steps))
  return steps if same and not cut else 1


def programs(run: Experiment, span: Span, devices: int) -> dict:
  """The programs that a stage compiles: {(steps in one dispatch, phases): share of the stage's steps}.

  Shares are counted over one period of the stage's phases, logs, grids and checkpoints. Example: dispatches of ten
  steps and a penalty every 16 steps. The penalty's steps are programs of their own, so 3/8 of all steps are in tens.
  """
  every = [_most(run, span, devices), *_cadences(run.config), *(p.every for p in span.stage.phases)]
  found, step = collections.Counter(), span.start
  stop = min(span.stop, span.start + math.lcm(*every))
  while step < stop:
    steps = steps_at(run, span, devices, step)
    found[steps, active(span.stage, step)] += steps
    step += steps
  return {program: count / (step - span.start) for program, count in found.items()}


def trace(
  run: Experiment,
  update: jax.stages.Wrapped,
  span: Span,
  mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh,
  phases: tuple[str, ...],
  steps: int = 1,
) -> jax.stages.Traced:
  """A dispatch of `update`, the run's of a stage, traced for shapes that are split over the mesh as training's are."""
  place = lambda spec: (
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))
  )
  whole = place(PartitionSpec())
  state = jax.tree.map(whole, jax.eval_shape(run.init, run.key))
  # As `feed.Feed` has them.
  axes = () if steps == 1 else (steps,)
  axes += () if isinstance(run.config.data.seed, int) else (run.config.seeds,)
  split = place(PartitionSpec(*[None] * len(axes), 'batch'))
  batch = {
    name: jax.ShapeDtypeStruct((*axes, span.batch_size, *field.shape), field.dtype)
    for name, field in span.fields.items()
  }
  batches = (jax.tree.map(split, batch),) * run.method.n_critic
  frozen = jax.tree.map(whole, {n: net.variables for n, net in run.method.frozen.items()})
  return update.trace(state, batches, frozen, phases=phases, steps=steps)


def compile_ahead(
  run: Experiment, update: jax.stages.Wrapped, span: Span, source: Source, mesh: jax.sharding.Mesh
) -> threading.Thread:
  """Starts to compile a run's first dispatch beside other work: once the thread ends, a call of `update` finds it."""
  steps, phases = steps_at(run, span, mesh.size, 0), active(span.stage, 0)
  seen = span._replace(fields=source.fields)  # which may lack labels
  lowered = trace(run, update, seen, mesh, phases, steps).lower()

  def work():
    with contextlib.suppress(Exception):  # the call of `update` fails alike, and says so
      lowered.compile()

  thread = threading.Thread(target=work)
  thread.start()
  return thread


def _most(run, span, devices) -> int:
  """The largest number of steps in one dispatch."""
  config = run.config
  shared = isinstance(config.data.seed, int)  # by several seeds
  batches = 1 if shared else config.seeds
  example = sum(math.prod(f.shape) * f.dtype.itemsize for f in span.fields.values())
  size = batches * run.images_per_step(span) * example
  return config.steps_per_dispatch or backend.steps_per_dispatch(step_bytes=size / devices)


def _cadences(config) -> list:
  every = [config[f'{what}_every_steps'] for what in ('log', 'sample', 'checkpoint')]
  return [*every, config.eval.every_steps] if config.eval.every_steps else every


def _stops(config, step) -> bool:
  window = configs.window(config.profile_steps)
  return any(step % e == 0 for e in _cadences(config)) or bool(
    window and step in (window.start, window.stop)
  )
