"""Runs side by side: python -m ganjax.compare runs/a runs/b ... prints one table and draws one picture.

The table has every evaluated value of each run: at the last step that was evaluated, and the best; evaluations under
different presets or numbers of pictures are different rows. The picture overlays these and the training curves. A file
of records (`ganjax.evaluate --out`) may stand among the runs: real pictures against real ones make a line to aim at.
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
    if not run.is_file():
      configs.load_json(run / 'config.json')
  labels = _labels(runs)
  values = {label: _values(run) for label, run in labels.items()}
  rows = []
  for key in dict.fromkeys(key for found in values.values() for key in found):
    name, preset, fakes, reals, mode = key
    for label, found in values.items():
      if key in found and '_std' not in name:
        (last, value), (step, best) = found[key][-1], records.best(found[key], name)
        steps = last or '-', step or '-'
        what = (label, name, preset, mode or '-', fakes, reals)
        rows.append((*what, records.number(value), steps[0], records.number(best), steps[1]))
  if rows:
    head = ('run', 'metric', 'preset', 'mode', 'fakes', 'reals', 'last', 'step', 'best', 'step')
    print(records.table(rows, head))
  else:
    print('nothing was evaluated in these runs: python -m ganjax.evaluate')

  drawn = {label: _curves(run, values[label]) for label, run in labels.items()}
  if not any(drawn.values()):
    raise UserError('these runs have no metrics yet')
  print(curves.overlay(drawn, Path(OUT.value)))


def _labels(runs) -> dict:
  """{label: workdir}: the folders' names, or the whole paths where names repeat."""
  names = [run.resolve().stem if run.is_file() else run.resolve().name for run in runs]
  return {name if names.count(name) == 1 else str(run): run for name, run in zip(names, runs)}


def _values(run) -> dict:
  """{(value, preset, fakes, reals, mode): [(step, number)]}: what may be compared; a newer record replaces an older."""
  found, out = records.read(run), {}
  both = len({r['fake'].get('weights') for r in found}) > 1  # averaged weights and raw ones
  for record in found:
    real, fake = record['real'] or {}, record['fake']
    reals = f'{record["num_real"] or ""} {real.get("name", "-")}'.strip()
    mode = [fake['weights']] if both and 'weights' in fake else []
    mode += [fake['batch_norm']] if fake.get('batch_norm', 'running') != 'running' else []
    mode += [f'seed {fake["seed"]}'] if fake.get('seed') else []
    for name, value in record['values'].items():
      key = (name, record['preset'], record['num_fake'], reals, ' '.join(mode))
      out.setdefault(key, {})[record.get('step') or 0] = value
  return {key: sorted(points.items()) for key, points in out.items()}


def _curves(run, values) -> dict:
  """{metric: (steps, values)} of a run: evaluations first."""
  drawn = {}
  for (name, preset, fakes, _, mode), points in values.items():
    if '_std' not in name and not name.startswith('sample'):
      drawn[f'{name} ({preset}, {fakes} fakes{mode and ", " + mode})'] = np.array(
        points, np.float64
      ).T
  if run.is_file():
    return {name: np.array([[np.nan], y[-1:]]) for name, (_, y) in drawn.items()}  # at no step
  trained = curves.read_series(run / 'metrics.jsonl')
  return drawn | {k: v for k, v in trained.items() if k.split('_')[0] in TRAINING}


if __name__ == '__main__':
  configs.run(main, takes_arguments=True)
