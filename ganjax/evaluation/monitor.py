"""Evaluation while training: at a config's `eval.every_steps`, on the same devices, with warnings and the best step."""

import time

from ganjax import UserError, parallel, sampler
from ganjax.evaluation import records, sides
from ganjax.evaluation.extract import Stopped
from ganjax.evaluation.measure import Extractors, check, measure
from ganjax.evaluation.presets import parse_metrics, parse_presets
from ganjax.update import averaged


class Monitor:
  """Evaluates a run as it trains; does nothing where `config.eval.every_steps` is 0.

  What it finds stands in `evaluations.jsonl`, which is also its memory: a resumed run finds there what was evaluated.

  Attributes:
    flags: what looks wrong since the last evaluation: some of 'diverging', 'collapsing'.
  """

  def __init__(self, run, workdir, mesh, step):
    """Loads feature networks and opens the reals, so that what is missing is said before training.

    Raises UserError: unknown metrics or preset, no weights, a metric that training cannot have.
    """
    self._run, self._workdir, self._mesh = run, workdir, mesh
    self._every = run.config.eval.every_steps
    self.flags, self._history, self._images = [], [], {}
    if not self._every:
      return
    config = run.config.eval
    self._metrics, self._presets = parse_metrics(config.metrics), parse_presets(config.preset)
    if len(self._presets) > 1 or any(
      m.kind in ('cas', 'neighbours', 'psnr', 'ssim', 'lpips') for m in self._metrics
    ):
      raise UserError(
        'config.eval takes one preset and no cas, neighbours, psnr, ssim or lpips: use python -m ganjax.evaluate'
      )
    self._extractors = Extractors()
    for metric in self._metrics:
      if metric.network:
        self._extractors.get(metric.network, self._presets[config.preset])
    names = ('dataset', 'data_dir', 'resolution', 'channels', 'cache')
    data = {name: run.config.data[name] for name in names}
    split = config.split or run.config.data.split
    self._real = sides.dataset(split=split, **data).take(config.num_real)
    check(self._metrics, self._fake(run.spans[-1].stage, {}, {}), self._real)
    if parallel.is_main():
      records.drop_after(workdir, step)
    self._history = [
      (r['step'], r['values'])
      for r in records.read(workdir)
      if r.get('by') == 'training' and r['step'] <= step
    ]
    self.flags = [flag for flag, _ in warnings(self._merged())]

  def due(self, step) -> bool:
    """True at the steps to evaluate that have not been evaluated."""
    if not self._every or not step:
      return False
    wanted = step % self._every == 0 or step == self._run.config.steps
    return wanted and step not in (s for s, _ in self._history)

  def evaluate(self, step, state, metrics, stop):
    """Evaluates a training state.

    Args:
      step: of the state.
      state: TrainState; not changed.
      metrics: the newest training metrics; `sample_diversity` among them is watched too.
      stop: a function that says True to give up.

    Returns:
      {'<value>_<preset>': number}, or None after `stop`.
    """
    began, config, run = time.monotonic(), self._run.config.eval, self._run
    stage = run.span_at(step - 1).stage
    weights = 'ema' if state.ema else 'raw'
    work = dict(mesh=self._mesh, batch_size=config.batch_size)
    state = sampler.prepare(
      stage, averaged(state), run.method, batch_norm=config.batch_norm, **work
    )
    info = {
      'name': run.config.name,
      'workdir': str(self._workdir),
      'step': step,
      'weights': weights,
    }
    fake = self._fake(stage, state, info)
    # The functions of a stage's first evaluation, which are compiled.
    fake = fake._replace(images=self._images.setdefault(stage.sample, fake.images))
    try:
      results = measure(
        fake,
        self._real,
        self._metrics,
        self._presets,
        extractors=self._extractors,
        stop=stop,
        **work,
      )
    except Stopped:
      return None
    found = [{**r.record, 'by': 'training', 'step': step} for r in results]
    diversity = {k: v for k, v in metrics.items() if k == 'sample_diversity'}
    found[0]['values'] = {**found[0]['values'], **diversity}
    self._history += [(step, r['values']) for r in found]
    said = warnings(self._merged())
    self.flags = [flag for flag, _ in said]
    found[0]['warnings'] = [line for _, line in said]
    if parallel.is_main():
      records.append(self._workdir / records.NAME, found)
    values = {k: v for r in results for k, v in r.record['values'].items()}
    shown = '  '.join(f'{k} {records.number(v)}' for k, v in values.items())
    parallel.say(
      f'evaluated step {step} in {time.monotonic() - began:.0f} s ({config.preset}): {shown}'
    )
    for _, line in said:
      parallel.say(f'WARNING {line}')
    return {f'{k}_{config.preset}': v for k, v in values.items()}

  def _fake(self, stage, state, info):
    config = self._run.config.eval
    return sides.generator(
      stage,
      state,
      self._run.method.latents,
      num=config.num,
      batch_norm=config.batch_norm,
      info=info,
    )

  def _merged(self) -> list:
    """[(step, all values)], in order."""
    out = {}
    for step, values in self._history:
      out.setdefault(step, {}).update(values)
    return sorted(out.items())

  def _points(self) -> tuple:
    """(name, [(step, value)]) of the value that ranks checkpoints."""
    merged = self._merged()
    if not merged:
      return None, []
    name = self._run.config.eval.best or next(iter(merged[-1][1]))
    if name not in merged[-1][1]:
      raise UserError(
        f'config.eval.best={name!r} is not measured; values are {", ".join(merged[-1][1])}'
      )
    return name, [(step, values[name]) for step, values in merged if name in values]

  @property
  def best_step(self) -> int | None:
    """The best step so far, whose checkpoint stays."""
    name, points = self._points()
    return records.best(points, name)[0] if points else None

  def summary(self) -> str:
    """Best and final value in one line; '' where nothing was evaluated."""
    name, points = self._points()
    if not points:
      return ''
    (step, value), (best_step, best) = points[-1], records.best(points, name)
    return (
      f'{name} ({self._run.config.eval.preset}): {records.number(value)} at the last step evaluated, {step}; '
      f'best {records.number(best)} at {best_step}, whose checkpoint is kept'
    )


def warnings(history) -> list:
  """What the newest of some evaluations shows going wrong, as [(flag, line)].

  Args:
    history: [(step, {value name: number})], in order.

  A distance that has risen to twice its best is `diverging`; recall, coverage or the diversity of samples fallen below
  half of their best is `collapsing`. Distances below their noise at usual sample counts are left alone: KID under 0.01.
  """
  if not history:
    return []
  out = []
  for name, value in history[-1][1].items():
    kind = name.split('_')[0]
    if '_std' in name or kind not in ('fid', 'sfid', 'fd', 'kid', 'recall', 'coverage', 'sample'):
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
