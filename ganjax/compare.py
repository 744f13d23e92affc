"""Runs side by side: python -m ganjax.compare runs/a runs/b ... prints one table and draws one picture.

The table has every evaluated value of each run: at the last step that was evaluated, and the best; evaluations under
different presets or numbers of pictures are different rows. The picture overlays these and the training curves.
"""

from pathlib import Path

import numpy as np
from absl import flags

from ganjax import UserError, curves
from ganjax import config as configs
from ganjax.evaluation import records

OUT = flags.DEFINE_string('out', 'compare.png', 'The picture.')
TRAINING = ('loss', 'D', 'sample')  # families of training metrics that are drawn


def main(runs):
  runs = [Path(run) for run in runs]
  if not runs:
    raise UserError('name the workdirs of one run or more: python -m ganjax.compare runs/a runs/b')
  for run in runs:
    configs.load_json(run / 'config.json')
  labels = _labels(runs)
  values = {label: _values(run) for label, run in labels.items()}
  rows = []
  for key in sorted({key for found in values.values() for key in found}):
    name, preset, fakes, reals, _ = key
    for label, found in values.items():
      points = found.get(key)
      if points:
        (last, value), (step, best) = points[-1], records.best(points, name)
        shown = (
          label,
          name,
          preset,
          fakes,
          reals,
          records.number(value),
          last,
          records.number(best),
          step,
        )
        rows.append(shown)
  head = ('run', 'metric', 'preset', 'fakes', 'reals', 'last', 'at step', 'best', 'at step')
  print(
    records.table(rows, head)
    if rows
    else 'nothing was evaluated in these runs: python -m ganjax.evaluate'
  )

  drawn = {label: _curves(run, values[label]) for label, run in labels.items()}
  if not any(drawn.values()):
    raise UserError('these runs have no metrics yet')
  print(curves.overlay(drawn, Path(OUT.value)))


def _labels(runs) -> dict:
  """{label: workdir}: the folders' names, or the whole paths where names repeat."""
  names = [run.resolve().name for run in runs]
  return {name if names.count(name) == 1 else str(run): run for name, run in zip(names, runs)}


def _values(run) -> dict:
  """{(value, preset, fakes, reals, how): [(step, number)]}: what may be compared, by step; the newest record counts."""
  out = {}
  for record in records.read(run):
    real, fake = record.get('real') or {}, record.get('fake') or {}
    how = (real.get('name'), fake.get('weights'), fake.get('batch_norm'), fake.get('seed'))
    for name, value in record['values'].items():
      key = (name, record['preset'], record['num_fake'], record['num_real'] or 0, str(how))
      out.setdefault(key, {})[record.get('step') or 0] = value
  return {key: sorted(points.items()) for key, points in out.items()}


def _curves(run, values) -> dict:
  """{metric: (steps, values)} of a run: evaluations first."""
  drawn = {}
  for (name, preset, fakes, *_), points in sorted(values.items()):
    if '_std' not in name and not name.startswith('sample'):
      drawn[f'{name} ({preset}, {fakes} fakes)'] = np.array(points, np.float64).T
  trained = curves.read_series(run / 'metrics.jsonl')
  return drawn | {k: v for k, v in trained.items() if k.split('_')[0] in TRAINING}


if __name__ == '__main__':
  configs.run(main, takes_arguments=True)
