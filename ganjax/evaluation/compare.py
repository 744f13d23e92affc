"""Compares runs: ganjax compare runs/a runs/b ... prints one table; --out FILE.png draws one picture.

The table has every evaluated value of each run: at the last evaluated step, and the best. Different presets or numbers
of pictures have different rows. The picture has these values and the training curves. A file of records (`ganjax
evaluate --out`) can stand among the runs: real pictures against real pictures give a baseline.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN ...')
OUT = COMMAND.string('out', None, 'PNG file for the curves; by default none.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganjax import UserError
from ganjax import config as configs
from ganjax.evaluation import records
from ganjax.workdir import curves

HEAD = 'run', 'metric', 'preset', 'mode', 'fakes', 'reals', 'last', 'step', 'best', 'step'
TRAINING = ('loss', 'D', 'sample')  # families of training metrics that are drawn


def main() -> None:
  runs = [Path(run) for run in COMMAND.arguments]
  if OUT.value:
    commandline.check_ending(OUT, '.png', 'ganjax compare')
  if not runs:
    raise UserError('name the workdirs of one run or more: ganjax compare runs/a runs/b')
  for run in runs:
    if not run.is_file():
      configs.load_json(run / 'config.json')
  labels = label(runs)
  values = {name: values_of(run) for name, run in labels.items()}
  found = rows(values)
  if found:
    print(records.table(found, HEAD))
  else:
    print('nothing was evaluated in these runs: ganjax evaluate')

  if OUT.value is None:
    return
  drawn = panels(labels, values)
  if not drawn:
    raise UserError('these runs have no metrics yet')
  print(curves.overlay(drawn, Path(OUT.value)))


def label(runs: Sequence[Path]) -> dict:
  """{label: workdir}: the folders' names, or the whole paths where names repeat."""
  names = [run.resolve().stem if run.is_file() else run.resolve().name for run in runs]
  return {name if names.count(name) == 1 else str(run): run for name, run in zip(names, runs)}


class Key(NamedTuple):
  """What may be compared."""

  value: str
  preset: str
  mode: str  # of the generator and of the features
  fakes: int
  reals: str


def values_of(run: Path) -> dict:
  """{Key: [(step, number)]} of a run; a newer record replaces an older."""
  out = {}
  for record in records.read(run):
    real, fake = record.get('real') or {}, record['fake']
    reals = f'{record.get("num_real") or ""} {real.get("name", "-")}'.strip()
    mode = [fake.get('weights')]
    mode += [fake.get('batch_norm')] if fake.get('batch_norm') != 'running' else []
    mode += [f'seed {fake["seed"]}'] if fake.get('seed') else []
    mode += [f'seed_index {fake["seed_index"]}'] if 'seed_index' in fake else []
    mode += [fake['activations']] if 'activations' in fake else []
    mode += [record['dtype']] if record.get('dtype', 'float32') != 'float32' else []
    mode += [] if record.get('weights_verified', True) else ['unverified features']
    mode = ', '.join(filter(None, mode)) or '-'
    for name, value in record['values'].items():
      if value is not None:
        key = Key(name, record['preset'] or '-', mode, record['num_fake'], reals)
        out.setdefault(key, {})[record.get('step') or 0] = value
  return {key: sorted(points.items()) for key, points in out.items()}


def rows(values: dict[str, dict[Key, list]]) -> list:
  """The table of {label: `values_of` its run} below `HEAD`: texts, a row for each value of each run."""
  out = []
  for key in dict.fromkeys(key for found in values.values() for key in found):
    for name, found in values.items():
      if key in found and '_std' not in key.value:
        points = found[key][-1], records.best(found[key], key.value) or (None, None)
        shown = [(records.number(value), step or '-') for step, value in points]
        out.append((name, *key, *shown[0], *shown[1]))
  return out


def panels(runs: dict[str, Path], values: dict[str, dict[Key, list]]) -> dict:
  """{metric: [(label, steps, numbers)]}: evaluations first; labels say in what lines of one panel differ."""
  measured = {}
  for name, found in values.items():
    for key, points in found.items():
      if '_std' not in key.value:
        x, y = np.array(points, np.float64).T
        # Pictures that are no run's hold at every step.
        x = np.full_like(x, np.nan) if runs[name].is_file() else x
        measured.setdefault(key.value, []).append((name, key, x, y))
  drawn = {}
  for value, lines in measured.items():
    differ = [i for i in range(1, 5) if len({key[i] for _, key, *_ in lines} - {'-'}) > 1]
    text = lambda name, key, on=differ: ', '.join([name, *(str(key[i]) for i in on)])
    drawn[value] = [(text(name, key), x, y) for name, key, x, y in lines]
  for one, run in runs.items():
    for name, (x, y) in () if run.is_file() else curves.read_series(run / 'metrics.jsonl').items():
      if name.split('_')[0] in TRAINING and not name.endswith('_std'):
        drawn.setdefault(name, []).append((one, x, y))
  return drawn


if __name__ == '__main__':
  configs.run(main)
