"""The log of a run: what steps returned, written down while later steps compute."""

import collections
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ganjax import UserError, commandline, media, run_record, run_state, seeds
from ganjax import config as configs
from ganjax.data import Source
from ganjax.devices import processes
from ganjax.evaluation.monitor import Monitor
from ganjax.experiment import Experiment
from ganjax.media import image as images
from ganjax.sampling import grid as grids
from ganjax.sampling import sampler
from ganjax.training import diagnose
from ganjax.workdir import curves, files, writer

# Of slow steps a line comes so soon after the first, then so often, whatever log_every_steps says.
FIRST_LINE_SECONDS, LINE_SECONDS = 10, 600
PATIENCE_STEPS = 1000  # over which a watched metric has to stay high until that is said


class Log:
  """Reads what steps returned, some steps later, and writes it down in process 0."""

  def __init__(
    self,
    run: Experiment,
    workdir: Path,
    sources: Sequence[Source],
    mesh: jax.sharding.Mesh,
    step: int,
    latest: dict[str, Any],
    monitor: Monitor,
    run_id: str,
    frozen: dict[str, Any] | None = None,
  ) -> None:
    # The newest value of each metric, of several seeds a list: lazy phases do not run at every step.
    self.latest = latest
    self.saved = None  # the step of the newest checkpoint
    self._run, self._workdir, self._monitor = run, workdir, monitor
    self._pending = collections.deque()
    self._first_step, self._clock = step + 1, (step, time.monotonic())
    self._seconds, self._due = 0.0, None  # of a step; when a line is due that no step asks for
    self._high = {}  # watched metric -> the step since which it is high
    self._out = None
    if processes.is_main():
      path = workdir / 'config.json'
      saved = configs.load_json(path) if step else None
      record = run_record.record(run, sources, mesh, saved, step, frozen)
      files.write_json(path, {'run': run_id, **record})
      (workdir / 'samples').mkdir(exist_ok=True)
      project = run.config.wandb
      wandb = {'project': project, 'config': run_record.to_json(run.config)} if project else None
      self._out = writer.Writer(workdir, step, wandb)
    processes.say(
      f'{"resuming" if step else "starting"} at step {step} of {run.config.steps} in {workdir}'
    )

  def add(
    self,
    step: int,
    metrics: dict[str, jax.Array],
    pictures: tuple[grids.Grid, list] | None = None,
    steps: int = 1,
  ) -> None:
    """Takes device arrays: metrics of the dispatch of `steps` that ended at `step`, and samples.

    Args:
      step: the last of the dispatch.
      metrics: of its steps.
      pictures: None, or (sampling.grid.Grid, for each seed the batches of its samples, (array, how many count)).
      steps: in the dispatch.
    """
    self._pending.append((step, metrics, pictures, steps))

  def read(self, keep: int) -> None:
    """Reads all but the newest `keep` dispatches. Raises UserError at the first NaN or infinity."""
    while len(self._pending) > keep:
      step, metrics, pictures, steps = self._pending.popleft()
      metrics = jax.device_get(metrics)
      for i in range(steps):
        self._check(step - steps + 1 + i, seeds.take(metrics, i) if steps > 1 else metrics)
      first = step - steps < self._first_step <= step
      if first:
        processes.say(
          f'first step done {time.monotonic() - commandline.STARTED:.1f} s after the start'
        )
      if pictures is not None:
        self._pictures(step, *pictures)
      asked = pictures is not None or step % self._run.config.log_every_steps == 0
      if step and (asked or (self._due and time.monotonic() > self._due)):
        self._line(step, kept=asked)
      if first:  # compilation is over
        self._clock = (self._done(step), time.monotonic())
        self._due = self._due or time.monotonic() + FIRST_LINE_SECONDS

  def _check(self, step, metrics):
    """Takes in the metrics of a step."""
    self.latest |= {name: value.tolist() for name, value in metrics.items()}
    for name, (limit, meaning) in self._run.method.watch.items():
      if np.max(metrics.get(name, limit)) < limit:
        self._high.pop(name, None)
      elif (
        name in metrics and step - (since := self._high.setdefault(name, step)) >= PATIENCE_STEPS
      ):
        processes.say(f'WARNING {name} is at {limit:g} or above since step {since}: {meaning}')
        self._high[name] = math.inf  # said once, until it falls
    bad = {n: ~np.isfinite(value) for n, value in metrics.items()}
    bad = {n: flags for n, flags in bad.items() if flags.any()}
    if bad:
      where = f'at step {step}{seeds.name(sum(bad.values()))}'
      last = (
        'there is no checkpoint' if self.saved is None else f'the last checkpoint, {self.saved}, is'
      )
      raise UserError(f'{", ".join(bad)} became NaN or infinite {where}; {last} before that')

  def grid(self, step: int, k: int = 0) -> Path:
    """The file of the grid of a step, of several seeds that of the one of index k."""
    one = f'-seed{k}' if self._run.config.seeds > 1 else ''
    return self._workdir / f'samples/{step:08}{one}.png'

  def _pictures(self, step, grid, batches_of_each):
    kind, shown = media.find(grid.field.kind), []
    for batches in batches_of_each:
      done = np.concatenate([np.asarray(one)[:count] for one, count in batches])
      shown.append(grids.show(kind.to_stored(done), grid.field))
    found = [sampler.diversity(one) for one in shown]
    self.latest['sample_diversity'] = found if len(found) > 1 else found[0]
    for k, one in enumerate(shown if self._out else ()):
      picture = grids.draw(grid, one)
      about = run_state.about(self._run, k)
      text = images.describe(
        self._run.config.name, step, f'0-{len(one) - 1}', grid.field.kind, **about
      )
      images.save_png(self.grid(step, k), picture, text)
      self._out.image(step, f'samples/{k}' if len(found) > 1 else 'samples', picture)
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

  def write(self, step: int, values: dict[str, Any]) -> None:
    """Writes an evaluation down, in a line of its own; its time is not training's."""
    if self._out:
      flags = {f'flag_{name}': name in self._monitor.flags for name in ('diverging', 'collapsing')}
      self._out.write(step, {**values, **flags})
    self._clock = (step, time.monotonic())

  def close(self) -> None:
    self.read(keep=0)
    if self._out:
      self._out.close()
      curves.draw(self._workdir)
