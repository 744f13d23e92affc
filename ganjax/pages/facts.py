"""What a workdir says of its run, for the pages."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganjax import commandline, experiment
from ganjax import config as configs
from ganjax.evaluation import monitor, records
from ganjax.workdir.writer import parse_lines


class Run(NamedTuple):
  """What a workdir says.

  Attributes:
    place: the workdir.
    config: of the run, as JSON keeps it.
    record: config.json, with `history`.
    step: the newest that metrics tell of.
    kind: of what it makes, such as image.
    images: real ones that were seen until then.
    seconds: that these took by their speed.
    grids: {'' or 'seed k': [(step, path)]}.
    changed: {field: (value in the recipe, value)} where it differs; None for a recipe that ganjax does not ship.
  """

  place: Path
  config: dict
  record: dict
  step: int
  kind: str
  images: int
  seconds: float
  grids: dict
  changed: dict | None


def read(place: Path, load: Callable[[Path], experiment.Experiment] = experiment.load) -> Run:
  """Reads a workdir, whose Experiment `load(place)` is. Raises UserError where it holds no run."""
  run = load(place)
  record = configs.load_json(place / 'config.json')
  path = place / 'metrics.jsonl'
  lines = [line for _, line in parse_lines(path.read_bytes() if path.exists() else b'')]
  step, images, seconds = 0, 0, 0.0
  for line in lines:
    if line['step'] > step:
      count = (line['step'] - step) * run.images_per_step(run.span_at(line['step'] - 1))
      step, images = line['step'], images + count
      seconds += count * run.config.seeds / (line.get('images_per_second') or np.inf)
  grids = {}
  for path in sorted(place.glob('samples/*.png')):
    if found := re.fullmatch(r'(\d{8})(?:-seed(\d+))?\.png', path.name):
      name = '' if found[2] is None else f'seed {found[2]}'
      grids.setdefault(name, []).append((int(found[1]), path))
  config = configs.complete(record['config'])
  kind = run.spans[-1].fields[run.method.makes].kind
  return Run(place, config, record, step, kind, images, seconds, grids, _changed(config))


def _changed(config):
  """Where a configuration differs from the recipe of its name, see `Run.changed`."""
  file = commandline.configs_folder() / f'{config["name"]}.py'
  if not re.fullmatch(r'\w+', config['name']) or not file.exists():
    return None
  recipe = json.loads(json.dumps(runpy.run_path(str(file))['get_config']().to_dict()))
  a, b = configs.flatten(configs.complete(recipe)), configs.flatten(config)
  return {k: (a.get(k), b.get(k)) for k in sorted({*a, *b}) if a.get(k) != b.get(k)}


def warnings(run: Run) -> list:
  """What went wrong in a run, as sentences."""
  out = []
  found = [r for r in records.read(run.place) if r.get('by') == 'training']
  by_metric = {}
  for one in found:
    by_metric.setdefault(one['metric'], []).append((one['step'], monitor.watched(one)))
  out += [line for history in by_metric.values() for _, line in monitor.warnings(history)]
  broken = run.place / 'checkpoints_broken'
  if broken.is_dir() and (count := len([*broken.iterdir()])):
    out.append(f'{count} damaged checkpoint(s) were moved to checkpoints_broken/')
  if any(not r.get('weights_verified', True) for r in records.read(run.place)):
    out.append('some values were measured with features whose weights are not the known file')
  return list(dict.fromkeys(out))
