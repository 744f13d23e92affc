"""Evaluation while training: at a config's `eval.every_steps`, on the same devices, with warnings and the best step."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from ganjax import UserError, data, seeds
from ganjax.devices import backend, processes
from ganjax.evaluation import overfitting, records, sides
from ganjax.evaluation.extract import Stopped
from ganjax.evaluation.measure import Extractors, check, measure
from ganjax.evaluation.presets import (
  PAIRED,
  PATHS,
  higher_is_better,
  parse_metrics,
  parse_presets,
)
from ganjax.experiment import Experiment
from ganjax.method import TrainState, averaged, join
from ganjax.run_state import about
from ganjax.sampling import sampler
from ganjax.workdir.checkpoint import list_steps


class Monitor:
  """Evaluates a run as it trains; does nothing where `config.eval.every_steps` is 0.

  What it finds stands in `evaluations.jsonl`, which is also its memory: a resumed run finds there what was evaluated.
  Of several seeds each is evaluated; warnings and the best step go by their means.

  Attributes:
    flags: what looks wrong since the last evaluation: some of 'diverging', 'collapsing'.
  """

  def __init__(
    self,
    run: Experiment,
    workdir: Path,
    mesh: jax.sharding.Mesh,
    step: int,
    frozen: dict[str, Any] | None = None,
  ) -> None:
    """Loads feature networks and opens the reals, so that what is missing is said before training.

    Raises UserError: unknown metrics or preset, no weights, a metric that training cannot have.
    """
    self._run, self._workdir, self._mesh = run, workdir, mesh
    # Variables of networks that are not trained, which samples may need.
    self._frozen = frozen or {}
    config = run.config.eval
    self._every = config.every_steps
    self._weights = 'ema' if run.method.ema else 'raw'
    self._metrics, self._presets = parse_metrics(config.metrics), parse_presets(config.preset)
    self._value = config.best or self._metrics[0].values[0]
    self._real = self._train = None
    if self._every:
      self._open()
      if processes.is_main():
        records.drop_after(workdir, step)
    # Runs that no longer evaluate still have a best checkpoint to keep.
    found = [r for r in records.read(workdir) if r.get('by') == 'training' and r['step'] <= step]
    history = [(r['step'], watched(r)) for r in found if self._is_alike(r)]
    # Process 0's: `real` holds the times of files, and copies on other hosts have others.
    self._history = [tuple(entry) for entry in processes.gather(history)[0]]
    self.flags = [flag for flag, _ in warnings(self._merged())]

  def _open(self):
    config, run = self._run.config.eval, self._run
    # Samples that start from examples have a picture each that they are to be like.
    paired = () if run.method.examples else PAIRED
    refused = [
      m.name for m in self._metrics if m.kind in ('cas', 'neighbours', 'r_precision', *paired)
    ]
    if len(self._presets) > 1 or refused:
      raise UserError(
        f'config.eval takes one preset and no {", ".join(refused) or "more"}: use ganjax evaluate'
      )
    own = [m.name for m in self._metrics if m.network in run.method.trained_on]
    if own:
      raise UserError(
        f'config.eval.metrics={own[0]}: the run is trained on the features of that network, which cannot judge it; '
        'take another, such as fd_mobilenet_v2'
      )
    values = [name for metric in self._metrics for name in metric.values]
    if self._value not in values or higher_is_better(self._value) is None:
      raise UserError(
        f'config.eval.best={self._value!r} cannot rank checkpoints; values are {", ".join(values)}'
      )
    self._extractors = Extractors()
    for metric in self._metrics:
      if metric.network:
        self._extractors.get(metric.network, self._presets[config.preset])
      elif metric.kind in (*PATHS, 'lpips'):
        self._extractors.lpips('vgg16' if metric.kind in PATHS else 'alex')
    self._source = run.held_out(run.spans[-1])
    if run.method.judge and (config.split or run.config.data.split) != run.config.data.split:
      self._train = data.build(**{**run.config.data, **run.spans[-1].source})
    self._real = sides.of_source(self._source, run.method.makes).take(config.num_real)
    check(self._metrics, self._fake(run.spans[-1].stage, {}, {}), self._real)

  def _is_alike(self, record) -> bool:
    """Whether a record may be compared with those of this config: a resume may change `eval` and `networks.dtype`."""
    config, fake = self._run.config.eval, record['fake']
    how = config.preset, config.num, config.batch_norm, self._weights, self._run.activations
    there = record['preset'], record['num_fake'], fake.get('batch_norm'), fake.get('weights')
    there += (fake.get('activations', 'float32'),)
    same_reals = self._real is None or 'real' not in record
    same_reals = same_reals or json.loads(json.dumps(self._real.info)) == record['real']
    return there == (how if record['preset'] else (None, *how[1:])) and same_reals

  def due(self, step: int) -> bool:
    """True at the steps to evaluate that have not been evaluated."""
    if not self._every or not step:
      return False
    wanted = step % self._every == 0 or step == self._run.config.steps
    return wanted and step not in (s for s, _ in self._history)

  def evaluate(
    self, step: int, state: TrainState, metrics: dict[str, Any], stop: Callable[[], bool]
  ) -> dict[str, Any] | None:
    """Evaluates a training state.

    Args:
      step: of the state.
      state: TrainState; not changed.
      metrics: the newest training metrics; `sample_diversity` among them is watched too.
      stop: a function that says True to give up.

    Returns:
      {'<value>_<preset>': number, or a list of several seeds'}, or None after `stop`.
    """
    began, preset, found = time.monotonic(), self._run.config.eval.preset, []
    diversity = metrics.get('sample_diversity')
    try:
      for k, one in enumerate(seeds.split(state)):
        own = diversity[k] if isinstance(diversity, list) else diversity
        more = {'by': 'training', 'step': step, 'sample_diversity': own}
        found += [{**r.record, **more} for r in self._measure(step, one, k, stop)]
    except Stopped:
      return None
    self._history += [(step, watched(r)) for r in found]
    said = warnings(self._merged())
    self.flags = [flag for flag, _ in said]
    found[0]['warnings'] = [line for _, line in said]
    if processes.is_main():
      records.append(self._workdir / records.NAME, found)
    values = {}
    for name, value in (pair for r in found for pair in r['values'].items() if pair[1] is not None):
      values.setdefault(name, []).append(value)
    more = {'r_v': [self._overfitting(step, x) for x in seeds.split(state)]} if self._train else {}
    if not seeds.several(state):
      values, more = ({k: v for k, (v,) in found.items()} for found in (values, more))
    shown = '  '.join(f'{k} {records.number(v)}' for k, v in {**values, **more}.items())
    processes.say(f'evaluated step {step} in {time.monotonic() - began:.0f} s ({preset}): {shown}')
    for _, line in said:
      processes.say(f'WARNING {line}')
    return {f'{k}_{preset}': v for k, v in values.items()} | more

  def _measure(self, step, state, seed_index, stop):
    """Results of one seed. Raises Stopped."""
    config, run = self._run.config.eval, self._run
    stage = run.stage_after(step)
    batch_size = config.batch_size or backend.evaluation_batch(self._mesh)
    how = dict(mesh=self._mesh, batch_norm=config.batch_norm, source=self._source)
    state = sampler.prepare(stage, averaged(join(state, self._frozen)), run.method, **how)
    info = {
      'name': run.config.name,
      'workdir': str(self._workdir),
      'step': step,
      'weights': self._weights,
      **about(run, seed_index),
    }
    return measure(
      self._fake(stage, state, info),
      self._real,
      self._metrics,
      self._presets,
      extractors=self._extractors,
      stop=stop,
      mesh=self._mesh,
      batch_size=batch_size,
    )

  def _overfitting(self, step, state):
    """r_v of a seed, where evaluations look at pictures that it is not trained on."""
    run, work = self._run, dict(mesh=self._mesh, batch_size=self._run.span_at(step - 1).batch_size)
    stage = run.stage_after(step)
    return overfitting.r_v(run.method, stage, state, self._train, self._source, **work)

  def _fake(self, stage, state, info):
    config = self._run.config.eval
    return sides.generator(
      stage,
      state,
      self._run.method,
      num=config.num,
      source=self._source,
      batch_norm=config.batch_norm,
      info=info,
      class_names=self._source.class_names,
      field=self._source.fields[self._run.method.makes],
    )

  def _merged(self) -> list:
    """[(step, all values)], in order; of several seeds the means."""
    out = {}
    for step, values in self._history:
      for name, value in values.items():
        out.setdefault(step, {}).setdefault(name, []).append(value)
    means = lambda values: {name: sum(v) / len(v) for name, v in values.items()}
    return [(step, means(values)) for step, values in sorted(out.items())]

  def _points(self) -> list:
    """[(step, number)] of the value that ranks checkpoints."""
    return [(step, v[self._value]) for step, v in self._merged() if self._value in v]

  def _best(self) -> tuple:
    """(step, number) of the best point; Nones where there is none, or neither end of the value is good."""
    points = self._points()
    return (points and records.best(points, self._value)) or (None, None)

  @property
  def best_step(self) -> int | None:
    """The best step so far, whose checkpoint stays."""
    return self._best()[0]

  def summary(self) -> str:
    """Best and final value in one line; '' where nothing was evaluated."""
    points = self._points()
    if not points:
      return ''
    (step, value), (best_step, best) = points[-1], self._best()
    last = f'{self._value} ({self._run.config.eval.preset}): {records.number(value)} at the last step evaluated, {step}'
    if best_step is None:
      return last
    kept = ', whose checkpoint is kept' if best_step in list_steps(self._workdir) else ''
    return f'{last}; best {records.number(best)} at {best_step}{kept}'


def watched(record: dict[str, Any]) -> dict:
  """The values of a record that have one, and the diversity of the grid that was newest then."""
  values = {**record['values'], 'sample_diversity': record.get('sample_diversity')}
  return {name: value for name, value in values.items() if value is not None}


def warnings(history: Sequence[tuple[int, dict[str, float]]]) -> list:
  """What the newest of some evaluations shows going wrong, as [(flag, line)].

  Args:
    history: [(step, {value name: number})], in order.

  A distance that has risen to twice its best is `diverging`; recall, coverage or the diversity of samples fallen below
  half of their best is `collapsing`; a run that covered nothing from the start has nothing to fall from. Distances
  below their noise at usual sample counts are left alone: KID under 0.01.
  """
  if not history:
    return []
  out, distances = [], ('fid', 'sfid', 'fd', 'kid', 'frame', 'fvd')
  for name, value in history[-1][1].items():
    kind = name.split('_')[0]
    if '_std' in name or kind not in (*distances, 'recall', 'coverage', 'sample'):
      continue
    points = [(step, values[name]) for step, values in history if name in values]
    rises = kind in ('recall', 'coverage', 'sample')
    step, best = (max if rises else min)(points, key=lambda p: p[1])
    if not rises and value > 2 * max(best, 0.01 if kind == 'kid' else 0):
      flag, how = 'diverging', 'more than twice'
    elif rises and value < 0.5 * best:
      flag, how = 'collapsing', 'less than half'
    else:
      continue
    out.append(
      (
        flag,
        f'{flag}: {name} {value:.4g} at step {history[-1][0]}, {how} its best, {best:.4g} at {step}',
      )
    )
  return out
