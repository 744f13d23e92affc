"""Trains a GAN: python train.py --config configs/dcgan_cifar.py --workdir runs/dcgan [--config.batch_size=64 ...]

The same command resumes a run that stopped. `--summary` prints what a config describes and computes nothing.
"""

import os
import signal
import time

STARTED = time.monotonic()

from ganjax import commandline
from ganjax.training import signals

COMMAND = commandline.Command(__doc__, buckets=['workdir'])
CONFIG = COMMAND.config()
WORKDIR = COMMAND.string(
  'workdir', None, 'Folder of the run, or gs://bucket/folder: checkpoints, metrics, samples.'
)
SUMMARY = COMMAND.switch('summary', 'Print networks, phases and stages, and stop.')

if __name__ == '__main__':  # before the slow imports, where a signal would end in a traceback

  def stop_early(number):
    """Until `Interrupt` takes over, a signal finds nothing to save."""
    name = signal.Signals(number).name
    signals.say(f'stopped by {name} before any step; the same command goes on')
    if 'parallel' in globals():
      processes.dismiss()
    os._exit(128 + number)

  signals.listen(stop_early)
  COMMAND.parse()

import collections
import contextlib
import functools
import shlex

import jax
import numpy as np

import ganjax
from ganjax import UserError, data, experiment, seeds
from ganjax import config as configs
from ganjax.devices import processes, sharding
from ganjax.evaluation.monitor import Monitor
from ganjax.media import image as images
from ganjax.sampling import sampler
from ganjax.training import diagnose, dispatch
from ganjax.training.feed import Feed
from ganjax.update import active, all_finite, averaged, init_opt
from ganjax.workdir import bucket, checkpoint, curves, files, lock, writer

GRID = 64  # pictures in a sample grid
# Of slow steps a line comes so soon after the first, then so often, whatever log_every_steps says.
FIRST_LINE_SECONDS, LINE_SECONDS = 10, 600


def main():
  config = commandline.config(CONFIG)
  if SUMMARY.value:
    jax.config.update('jax_platforms', 'cpu')  # nothing is computed: other devices are left alone
    print(experiment.summary(experiment.build(config)))
    return 0
  if WORKDIR.value is None:
    raise UserError('--workdir is missing: the folder of the run, such as --workdir runs/dcgan')
  processes.start(preemptible=True)
  run = experiment.build(config)
  mesh = sharding.make_mesh()
  for span in run.spans:
    sharding.check_batch(span.batch_size, mesh, config.microbatches)
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
  experiment.check_data(run, sources, workdir)
  state, step, meta = experiment.restore(run, checkpoints, mesh) or experiment.start(run, mesh)
  run_id = experiment.run_id(workdir, meta)
  frozen = {name: sharding.replicate(net, mesh) for name, net in method.frozen.items()}
  monitor = Monitor(run, workdir, mesh, step)
  checkpoints.best = monitor.best_step
  log = Log(run, workdir, sources, mesh, step, meta.get('metrics', {}), monitor, run_id)
  interrupt = Interrupt()
  if step < config.steps:
    processes.say('compiling the first step: it may take minutes, and is kept for the next start')
  latents = jax.device_get(method.latents(np.arange(GRID)))
  finite = jax.jit(lambda state: seeds.each(all_finite, state))
  log.saved = step if step in processes.gather(checkpoints.steps())[0] else None

  def sample():
    stage = run.stage_after(step)
    return [sampler.start(stage, averaged(one), latents) for one in seeds.split(state)]

  def save():
    """Commits a checkpoint, once every metric up to it and all its parameters have been seen to be finite."""
    log.read(keep=0)
    whole = np.asarray(finite(state))
    if not whole.all():
      raise UserError(f'the parameters became NaN or infinite at step {step}{seeds.name(~whole)}')
    if step != log.saved:
      meta = {
        'run': run_id,
        'config': experiment.to_json(config),
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
  for span, source in zip(run.spans, sources):
    if step >= span.stop or interrupt.at():
      continue
    if span.stage.reset_opt and step == span.start:
      fresh = seeds.each(lambda one: init_opt(method, run.optimizers, one.params), state)
      state = state.replace(opt=sharding.replicate(fresh, mesh))
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
      processes.say(monitor.summary())
    where = f'finished {step} steps in {workdir}: {log.grid(step)}'
    processes.say(f'{where}; more pictures: python sample.py --workdir {shlex.quote(f"{workdir}")}')
    return 0
  processes.say(f'stopped by {interrupt.name} at step {step}, saved; the same command resumes')
  return interrupt.status


class Interrupt:
  """Notes SIGTERM, SIGINT and SIGHUP for the loop to act on between two steps, and says so at once.

  In one process a second signal ends it, but for SIGHUP, of which a terminal that closes sends several. Several
  processes stop together: SIGTERM is JAX's, which tells it to the others, and is sent in place of the other signals.
  """

  def __init__(self):
    self._number, self._agreed, self._calls = 0, False, 0
    self._acknowledged, self._joined = False, processes.is_joined()
    numbers = [n for n in signals.NUMBERS if n != signal.SIGTERM or not self._joined]
    signals.listen(self._act, self._note, numbers)

  def _note(self, number, frame):
    """In the main thread: what this process sent itself counts before the next step."""
    self._number = self._number or number
    if not self._joined:
      signal.signal(signal.SIGTERM, signal.SIG_DFL)  # says that the run is stopping

  def _act(self, number):
    if self._acknowledged and not self._joined and number != signal.SIGHUP:
      os._exit(128 + number)
    self._number = self._number or number
    if self._joined:
      os.kill(os.getpid(), signal.SIGTERM)
    if not self._acknowledged:
      self._acknowledged = True
      more = 'as do all processes' if self._joined else 'again to stop at once'
      signals.say(f'{signal.Signals(number).name}: saving at the next step; {more}')

  def at(self) -> bool:
    """True when a signal came, to this process or another; all processes must ask equally often."""
    if not self._joined:
      return self._number > 0
    if not self._agreed:
      self._calls += 1
      self._agreed = processes.is_stop(self._calls)
      if self._agreed:
        self._number = max(processes.gather(self._number))
    return self._agreed

  @property
  def name(self) -> str:
    return signal.Signals(self._number or signal.SIGTERM).name

  @property
  def status(self) -> int:
    """128 + the signal's number, as a shell has it: 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP."""
    return 128 + (self._number or signal.SIGTERM)


class Log:
  """Reads what steps returned, some steps later, and writes it down in process 0."""

  def __init__(self, run, workdir, sources, mesh, step, latest, monitor, run_id):
    # The newest value of each metric, of several seeds a list: lazy phases do not run at every step.
    self.latest = latest
    self.saved = None  # the step of the newest checkpoint
    self._run, self._workdir, self._monitor = run, workdir, monitor
    self._pending = collections.deque()
    self._first_step, self._clock = step + 1, (step, time.monotonic())
    self._seconds, self._due = 0.0, None  # of a step; when a line is due that no step asks for
    self._out = None
    if processes.is_main():
      path = workdir / 'config.json'
      saved = configs.load_json(path) if step else None
      record = experiment.record(run, sources, mesh, saved, step)
      files.write_json(path, {'run': run_id, **record})
      (workdir / 'samples').mkdir(exist_ok=True)
      wandb = run.config.wandb and {
        'project': run.config.wandb,
        'config': experiment.to_json(run.config),
      }
      self._out = writer.Writer(workdir, step, wandb)
    processes.say(
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
        processes.say(f'first step done {time.monotonic() - STARTED:.1f} s after the start')
      if pictures is not None:
        self._pictures(step, [images.to_uint8(np.asarray(one)) for one in pictures])
      asked = pictures is not None or step % self._run.config.log_every_steps == 0
      if step and (asked or (self._due and time.monotonic() > self._due)):
        self._line(step, kept=asked)
      if first:  # compilation is over
        self._clock = (self._done(step), time.monotonic())
        self._due = self._due or time.monotonic() + FIRST_LINE_SECONDS

  def _check(self, step, metrics):
    """Takes in the metrics of a step."""
    self.latest |= {name: value.tolist() for name, value in metrics.items()}
    bad = {n: ~np.isfinite(value) for n, value in metrics.items()}
    bad = {n: flags for n, flags in bad.items() if flags.any()}
    if bad:
      where = f'at step {step}{seeds.name(sum(bad.values()))}'
      last = (
        'there is no checkpoint' if self.saved is None else f'the last checkpoint, {self.saved}, is'
      )
      raise UserError(f'{", ".join(bad)} became NaN or infinite {where}; {last} before that')

  def grid(self, step, k=0):
    """The file of the grid of a step, of several seeds that of the one of index k."""
    one = f'-seed{k}' if self._run.config.seeds > 1 else ''
    return self._workdir / f'samples/{step:08}{one}.png'

  def _pictures(self, step, pictures):
    found = [sampler.diversity(one) for one in pictures]
    self.latest['sample_diversity'] = found if len(found) > 1 else found[0]
    for k, one in enumerate(pictures if self._out else ()):
      grid = images.grid(one)
      about = experiment.about(self._run, k)
      text = images.describe(self._run.config.name, step, f'0-{GRID - 1}', **about)
      images.save_png(self.grid(step, k), grid, text)
      self._out.image(step, f'samples/{k}' if len(found) > 1 else 'samples', grid)
      print(f'pictures: {self.grid(step, k)}', flush=True)

  def _done(self, step):
    """The newest step that the devices have done, from one that was read on: several are in flight."""
    ready = lambda metrics: all(x.is_ready() for x in jax.tree.leaves(metrics))
    return max([step, *(s for s, metrics, *_ in self._pending if ready(metrics))])

  def _line(self, step, kept=True):
    """A line of progress; only what the configuration asks for is kept, so that a resumed run keeps the same."""
    (since, then), done, now = self._clock, self._done(step), time.monotonic()
    if done > since:
      self._seconds, self._clock = (now - then) / (done - since), (done, now)
    self._due = now + LINE_SECONDS
    count = self._run.config.seeds * self._run.images_per_step(self._run.span_at(step - 1))
    speed = count / max(self._seconds, 1e-9)
    if self._out:
      if kept:
        self._out.write(step, {**self.latest, 'images_per_second': speed, **diagnose.costs()})
      steps = self._run.config.steps
      line = writer.progress(step, steps, speed, (steps - step) * self._seconds, self.latest)
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
  configs.run(main)
