"""How many steps a dispatch holds: a function of configuration, devices and step, so that a resumed run finds the same.

A dispatch is one call of the jitted update: one step, or `config.steps_per_dispatch` of them in a `lax.scan`.
"""

from ganjax import diagnose, parallel
from ganjax.update import active


def steps_at(run, span, step: int) -> int:
  """Steps of the dispatch that begins at `step` of the stage of the Experiment `run` that `span` places.

  Either one, or K where `step` is a multiple of K, all K run the same phases, and nothing but the last is followed by
  something that looks at the state or the clock: a log line, a grid, a checkpoint, an evaluation, an end of the stage
  or of the traced steps. After a signal a run stops between two dispatches, where an undisturbed one passes too.
  """
  config = run.config
  size = span.source.get('resolution', config.data.resolution)
  shared = isinstance(config.data.seed, int)  # by several seeds
  batches = 1 if shared else config.seeds
  pixels = batches * run.images_per_step(span) * size**2 * config.data.channels
  steps = config.steps_per_dispatch or parallel.steps_per_dispatch(step_bytes=pixels)
  if config.debug_nans or step % steps or step + steps > span.stop:
    return 1
  same = all(active(span.stage, s) == active(span.stage, step) for s in range(step, step + steps))
  cut = any(_stops(config, s) for s in range(step + 1, step + steps))
  return steps if same and not cut else 1


def _stops(config, step) -> bool:
  every = [config[f'{what}_every_steps'] for what in ('log', 'sample', 'checkpoint')]
  if config.eval.every_steps:
    every.append(config.eval.every_steps)
  window = diagnose.window(config.profile_steps)
  return any(step % e == 0 for e in every) or bool(window and step in (window.start, window.stop))
