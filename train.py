"""Trains a GAN: python train.py --config configs/dcgan_cifar.py --workdir runs/dcgan [--config.batch_size=64 ...]

The same command resumes a run that stopped. `--summary` prints what a config describes and computes nothing.
"""

import collections
import contextlib
import functools
import os
import signal
import time

STARTED = time.monotonic()
if __name__ == '__main__':  # before the slow imports, where a signal would end in a traceback

  def stop_early(number, frame):
    """Until `Interrupt` takes over, a signal finds nothing to save."""
    name = signal.Signals(number).name
    os.write(1, f'stopped by {name} before any step; the same command goes on\n'.encode())
    if 'parallel' in globals():
      parallel.dismiss()
    os._exit(128 + number)

  signal.signal(signal.SIGTERM, stop_early)
  signal.signal(signal.SIGINT, stop_early)

import jax
import numpy as np
from absl import flags

import ganjax
from ganjax import (
  UserError,
  bucket,
  checkpoint,
  curves,
  data,
  diagnose,
  dispatch,
  experiment,
  images,
  lock,
  parallel,
  sampler,
  seeds,
  writer,
)
from ganjax import config as configs
from ganjax.evaluation.monitor import Monitor
from ganjax.feed import Feed
from ganjax.update import active, all_finite, averaged, init_opt

CONFIG = configs.define()
WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run, or gs://bucket/folder: checkpoints, metrics, samples.'
)
SUMMARY = flags.DEFINE_bool('summary', False, 'Print networks, phases and stages, and stop.')
GRID = 64  # pictures in a sample grid


def main():
  config = configs.value(CONFIG)
  if SUMMARY.value:
    jax.config.update('jax_platforms', 'cpu')  # nothing is computed: other devices are left alone
    print(experiment.summary(experiment.build(config)))
    return 0
  if WORKDIR.value is None:
    raise UserError('--workdir is missing: the folder of the run, such as --workdir runs/dcgan')
  parallel.start(preemptible=True)
  run = experiment.build(config)
  mesh = parallel.make_mesh()
  for span in run.spans:
    parallel.check_batch(span.batch_size, mesh, config.microbatches)
  place = bucket.copy if '://' in WORKDIR.value else lock.share
  with place(WORKDIR.value) as workdir, jax.set_mesh(mesh):
    experiment.check_resume(run, workdir)
    with (
      checkpoint.Checkpoints(workdir, config.keep_checkpoints) as checkpoints,
      contextlib.closing(diagnose.Profile(config.profile_steps, workdir)) as profile,
    ):
      return train(run, workdir, mesh, checkpoints, profile)


def train(run, workdir, mesh, checkpoints, profile) -> int:
  """Trains to the end, or until a signal; returns the exit status."""
  config, method = run.config, run.method
  sources = [data.build(**{**config.data, **span.source}) for span in run.spans]
  for source in sources:
    experiment.check_data(run, source)
  state, step, latest = experiment.restore(run, checkpoints, mesh) or experiment.start(run, mesh)
  frozen = {name: parallel.replicate(net, mesh) for name, net in method.frozen.items()}
  monitor = Monitor(run, workdir, mesh, step)
  checkpoints.best = monitor.best_step
  log = Log(run, workdir, sources, mesh, step, latest, monitor)
  interrupt = Interrupt()
  latents = jax.device_get(method.latents(np.arange(GRID)))
  finite = jax.jit(lambda state: seeds.each(all_finite, state))
  saved = step if step in parallel.gather(checkpoints.steps())[0] else None

  def sample():
    stage = run.stage_after(step)
    return [sampler.start(stage, averaged(one), latents) for one in seeds.split(state)]

  def save():
    """Commits a checkpoint, once every metric up to it and all its parameters have been seen to be finite."""
    nonlocal saved
    log.read(keep=0)
    whole = np.asarray(finite(state))
    if not whole.all():
      raise UserError(f'the parameters became NaN or infinite at step {step}{seeds.name(~whole)}')
    if step != saved:
      meta = {
        'config': experiment.to_json(config),
        'version': ganjax.__version__,
        'metrics': log.latest,
      }
      checkpoints.save(step, state, meta)
      saved = step

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
  for span, source in zip(run.spans, sources):
    if step >= span.stop or interrupt.at():
      continue
    if span.stage.reset_opt and step == span.start:
      fresh = seeds.each(lambda one: init_opt(method, run.optimizers, one.params), state)
      state = state.replace(opt=parallel.replicate(fresh, mesh))
    update = diagnose.find_nans(run.update(span)) if config.debug_nans else run.update(span)
    steps_at = functools.partial(dispatch.steps_at, run, span, mesh.size)
    feed = Feed(source, span, method.n_critic, config.data.seed, mesh, step, steps_at=steps_at)
    with contextlib.closing(feed):
      while step < span.stop and not interrupt.at():
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
  if step == config.steps and not monitor.due(step):
    if monitor.summary():
      parallel.say(monitor.summary())
    parallel.say(
      f'finished {step} steps in {workdir}; pictures: python sample.py --workdir {workdir}'
    )
    return 0
  parallel.say(f'stopped by {interrupt.name} at step {step}, saved; the same command resumes')
  return interrupt.status


class Interrupt:
  """Notes SIGTERM and SIGINT for the loop to act on between two steps; in one process a second signal kills at once."""

  def __init__(self):
    self._number, self._agreed, self._calls = 0, False, 0
    if parallel.is_joined():  # SIGTERM is JAX's, which tells the other processes
      signal.signal(signal.SIGINT, self._pass_on)
    else:
      for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, self._note)

  def _note(self, number, frame):
    self._number = number
    signal.signal(number, signal.SIG_DFL)

  def _pass_on(self, number, frame):
    self._number = number
    os.kill(os.getpid(), signal.SIGTERM)

  def at(self) -> bool:
    """True when a signal came, to this process or another; all processes must ask equally often."""
    if not parallel.is_joined():
      return self._number > 0
    if not self._agreed:
      self._calls += 1
      self._agreed = parallel.is_stop(self._calls)
      if self._agreed:
        self._number = max(parallel.gather(self._number))
    return self._agreed

  @property
  def name(self) -> str:
    return signal.Signals(self._number or signal.SIGTERM).name

  @property
  def status(self) -> int:
    """128 + the signal's number, as a shell has it: 143 for SIGTERM, 130 for SIGINT."""
    return 128 + (self._number or signal.SIGTERM)


class Log:
  """Reads what steps returned, some steps later, and writes it down in process 0."""

  def __init__(self, run, workdir, sources, mesh, step, latest, monitor):
    # The newest value of each metric, of several seeds a list: lazy phases do not run at every step.
    self.latest = latest
    self._run, self._workdir, self._monitor = run, workdir, monitor
    self._pending = collections.deque()
    self._first_step, self._clock = step + 1, (step, time.monotonic())
    self._out = None
    if parallel.is_main():
      path = workdir / 'config.json'
      saved = configs.load_json(path) if step else None
      writer.write_json(path, experiment.record(run, sources, mesh, saved, step))
      (workdir / 'samples').mkdir(exist_ok=True)
      wandb = run.config.wandb and {
        'project': run.config.wandb,
        'config': experiment.to_json(run.config),
      }
      self._out = writer.Writer(workdir, step, wandb)
    parallel.say(
      f'{"resuming" if step else "starting"} at step {step} of {run.config.steps} in {workdir}'
    )

  def add(self, step, metrics, pictures=None, steps=1):
    """Takes device arrays: metrics of the dispatch of `steps` that ended at `step`, each seed's pictures of a grid."""
    self._pending.append((step, metrics, pictures, steps))

  def read(self, keep):
    """Reads all but the newest `keep` dispatches. Raises UserError at the first NaN or infinity."""
    while len(self._pending) > keep:
      step, metrics, pictures, steps = self._pending.popleft()
      metrics = jax.device_get(metrics)
      for i in range(steps):
        self._check(step - steps + 1 + i, seeds.take(metrics, i) if steps > 1 else metrics)
      first = step - steps < self._first_step <= step
      if first:
        parallel.say(f'first step done {time.monotonic() - STARTED:.1f} s after the start')
      if pictures is not None:
        self._pictures(step, [images.to_uint8(np.asarray(one)) for one in pictures])
      if step and (pictures is not None or step % self._run.config.log_every_steps == 0):
        self._line(step)
      if first:
        self._clock = (step, time.monotonic())  # compilation is over

  def _check(self, step, metrics):
    """Takes in the metrics of a step."""
    self.latest |= {name: value.tolist() for name, value in metrics.items()}
    bad = {n: ~np.isfinite(value) for n, value in metrics.items()}
    bad = {n: flags for n, flags in bad.items() if flags.any()}
    if bad:
      where = f'at step {step}{seeds.name(sum(bad.values()))}'
      raise UserError(
        f'{", ".join(bad)} became NaN or infinite {where}; the last checkpoint is before that'
      )

  def _pictures(self, step, pictures):
    several = len(pictures) > 1
    found = [sampler.diversity(one) for one in pictures]
    self.latest['sample_diversity'] = found if several else found[0]
    for k, one in enumerate(pictures if self._out else ()):
      grid = images.grid(one)
      about = experiment.about(self._run, k)
      text = images.describe(self._run.config.name, step, f'0-{GRID - 1}', **about)
      name = f'{step:08}-seed{k}' if several else f'{step:08}'
      images.save_png(self._workdir / f'samples/{name}.png', grid, text)
      self._out.image(step, f'samples/{k}' if several else 'samples', grid)

  def _line(self, step):
    since, then = self._clock
    self._clock = (step, time.monotonic())
    seconds = (time.monotonic() - then) / max(step - since, 1)
    count = self._run.config.seeds * self._run.images_per_step(self._run.span_at(step - 1))
    speed = count / max(seconds, 1e-9)
    if self._out:
      self._out.write(step, {**self.latest, 'images_per_second': speed, **diagnose.costs()})
      steps = self._run.config.steps
      line = writer.progress(step, steps, speed, (steps - step) * seconds, self.latest)
      print('  '.join([line, *map(str.upper, self._monitor.flags)]), flush=True)

  def write(self, step, values):
    """Writes an evaluation down, in a line of its own; its time is not training's."""
    if self._out:
      flags = {f'flag_{name}': name in self._monitor.flags for name in ('diverging', 'collapsing')}
      self._out.write(step, {**values, **flags})
    self._clock = (step, time.monotonic())

  def close(self):
    self.read(keep=0)
    if self._out:
      self._out.close()
      curves.draw(self._workdir)


if __name__ == '__main__':
  configs.run(main, buckets=['workdir'])
