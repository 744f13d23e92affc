"""The training loop: any method, through its stages, with checkpoints, grids and evaluations."""

import contextlib
import functools
import shlex
from pathlib import Path

import jax
import numpy as np

import ganjax
from ganjax import UserError, run_record, run_state, seeds
from ganjax.devices import processes, sharding
from ganjax.evaluation.monitor import Monitor
from ganjax.experiment import Experiment
from ganjax.method import averaged, join
from ganjax.pages import report
from ganjax.sampling import grid, sampler
from ganjax.training import diagnose, dispatch
from ganjax.training.feed import Feed
from ganjax.training.interrupt import Interrupt
from ganjax.training.log import Log
from ganjax.update import active, all_finite, init_opt
from ganjax.workdir.checkpoint import Checkpoints


def train(
  run: Experiment,
  workdir: Path,
  mesh: jax.sharding.Mesh,
  checkpoints: Checkpoints,
  profile: diagnose.Profile,
) -> int:
  """Trains to the end, or until a signal; returns the exit status."""
  config, method = run.config, run.method
  sources = [run.seen(span) for span in run.spans]
  run_record.check_data(run, sources, workdir)
  if method.examples or config.eval.every_steps:
    run.held_out(run.spans[-1])  # what is missing is said before anything is written
  updates = [
    diagnose.find_nans(run.update(span)) if config.debug_nans else run.update(span)
    for span in run.spans
  ]
  restored = run_state.restore(run, checkpoints, mesh)
  ahead = None
  if not restored and not config.debug_nans:
    ahead = dispatch.compile_ahead(run, updates[0], run.spans[0], sources[0], mesh)
  state, step, meta = restored or run_state.start(run, mesh)
  run_id = run_record.run_id(workdir, meta)
  frozen, infos = run_state.load_frozen(run, workdir)
  frozen = sharding.replicate(frozen, mesh)
  monitor = Monitor(run, workdir, mesh, step, frozen)
  checkpoints.best = monitor.best_step
  log = Log(run, workdir, sources, mesh, step, meta.get('metrics', {}), monitor, run_id, infos)
  interrupt = Interrupt()
  if step < config.steps:
    processes.say('compiling the first step: it may take minutes, and is kept for the next start')
  grids = {}  # of each stage
  finite = jax.jit(lambda state: seeds.each(all_finite, state))
  log.saved = step if step in processes.gather(checkpoints.steps())[0] else None

  def sample():
    """The grid of this step, and each seed's samples for it, in batches no larger than those of training."""
    span = run.span_at(step - 1)
    if span.start not in grids:
      grids[span.start] = grid.build(method, span.fields, lambda: run.held_out(span))
    found = grids[span.start]
    return found, [
      [
        (sampler.start(span.stage, averaged(join(one, frozen)), rows), count)
        for rows, count in sampler.to_batches(found.rows, span.batch_size)
      ]
      for one in seeds.split(state)
    ]

  def save():
    """Commits a checkpoint, once every metric up to it and all its parameters have been seen to be finite."""
    log.read(keep=0)
    whole = np.asarray(finite(state))
    if not whole.all():
      raise UserError(f'the parameters became NaN or infinite at step {step}{seeds.name(~whole)}')
    if step != log.saved:
      meta = {
        'run': run_id,
        'config': run_record.to_json(config),
        'version': ganjax.__version__,
        'metrics': log.latest,
      }
      checkpoints.save(step, state, meta)
      log.saved = step

  def evaluate():
    """Measures a saved state; a signal stops it, and the resumed run measures it first."""
    values = monitor.evaluate(step, state, log.latest, stop=interrupt.at)
    if values is not None:
      log.write(step, values)
      checkpoints.best = monitor.best_step

  if step == 0:
    log.add(step, {}, sample())
  elif monitor.due(step):
    evaluate()
  if ahead:
    ahead.join()
  for span, source, update in zip(run.spans, sources, updates):
    if step >= span.stop or interrupt.at():
      continue
    steps_at = functools.partial(dispatch.steps_at, run, span, mesh.size)
    feed = Feed(source, span, method.n_critic, config.data.seed, mesh, step, steps_at=steps_at)
    with contextlib.closing(feed):
      while step < span.stop and not interrupt.at():
        if step == span.start:
          # Here: what is saved at the border is what the stage before left.
          state = _begin(run, span.stage, state, mesh)
        profile.start(step, state)
        steps, phases = steps_at(step), active(span.stage, step)
        state, metrics = update(state, feed.next(), frozen, phases=phases, steps=steps)
        step += steps
        profile.stop(step, state)
        last = step == config.steps
        pictures = sample() if last or step % config.sample_every_steps == 0 else None
        log.add(step, metrics, pictures, steps)
        log.read(keep=2)  # two dispatches stay in flight: reading never stalls the device
        checkpoints.check()
        if last or step % config.checkpoint_every_steps == 0 or monitor.due(step):
          save()
        if monitor.due(step):
          evaluate()

  save()
  checkpoints.wait()
  log.close()
  if step == config.steps and processes.is_main():
    paths = workdir / 'report.html', workdir / 'film.gif'
    out, *_ = report.write([workdir], *paths, load=lambda _: run)
    print(f'report: {out}', flush=True)
  if step == config.steps and not monitor.due(step):
    if monitor.summary():
      processes.say(monitor.summary())
    where = f'finished {step} steps in {workdir}: {log.grid(step)}'
    processes.say(f'{where}; more pictures: ganjax sample {shlex.quote(f"{workdir}")}')
    return 0
  processes.say(f'stopped by {interrupt.name} at step {step}, saved; the same command resumes')
  return interrupt.status


def _begin(run, stage, state, mesh):
  """The state that a stage starts from, of what the one before left."""
  if stage.begin:
    begun = jax.jit(lambda state: seeds.each(stage.begin, state))(state)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    if shapes(begun) != shapes(state):
      raise ValueError('Stage.begin must keep the tree and the shapes of the state')
    state = sharding.replicate(begun, mesh)
  if stage.reset_opt:
    fresh = seeds.each(lambda one: init_opt(run.method, run.optimizers, one.params), state)
    state = state.replace(opt=sharding.replicate(fresh, mesh))
  return state
