"""Writes one page about a run, or about several side by side: ganjax report runs/a [runs/b ... floor.jsonl]

The page is one HTML file, report.html in the first run. It needs no network, so you can send it. It has the sample
grids with a slider over steps, the curves, all evaluations, the changes from the recipe, and the versions and devices
of the run. The grids also become a video, film.gif next to the page. Training writes both when it ends. A file of
records (`ganjax evaluate --out`) can stand among the runs: real pictures against real pictures give a baseline.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN ...')
OUT = COMMAND.string('out', None, 'The .html page; by default report.html in the first run.')
FILM = COMMAND.string(
  'film', None, 'Video of the first run, .gif or .mp4; by default film.gif next to the page.'
)

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import base64
import hashlib
import html
import io
import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from ganjax import UserError, experiment, run_record
from ganjax import config as configs
from ganjax.data import provenance
from ganjax.evaluation import compare
from ganjax.media import image
from ganjax.pages import facts
from ganjax.workdir import curves, lock
from ganjax.workdir.files import replace_file

MOST_BYTES = 7_300_000  # of the pictures of a page, as text
# Grids of a run, and pixels of a side: the first that has room.
ROOM = (48, 1536), (24, 1536), (12, 1024), (6, 768), (2, 512), (2, 128)
FILM_SIDE, FRAME_MILLISECONDS = 512, 200
PAGE = Path(__file__).with_name('report.html')


def main() -> None:
  places = [Path(commandline.find_run(place)) for place in COMMAND.arguments]
  runs = [place for place in places if place.is_dir()]
  if not runs:
    raise UserError('name the workdirs of one run or more: ganjax report runs/a runs/b')
  if OUT.value:
    commandline.check_ending(OUT, '.html', 'ganjax report')
  out = Path(OUT.value) if OUT.value else runs[0] / 'report.html'
  film = Path(FILM.value) if FILM.value else out.with_name('film.gif')
  if film.suffix.lower() not in ('.gif', '.mp4'):
    raise UserError(f'--film={film} must end in .gif or .mp4')
  for path in write(places, out, film):
    print(path)


def write(
  places: Sequence[Path],
  out: Path,
  film: Path,
  load: Callable[[Path], experiment.Experiment] = experiment.load,
) -> list:
  """Writes the page and the film of the first run; returns the paths of what was written.

  Args:
    places: workdirs, and files of records.
    out, film: where; there is no film of fewer than two grids.
    load: workdir -> its Experiment.

  Raises:
    UserError: a workdir that holds no run, or a path that cannot be written.
  """
  labels = compare.label(places)
  runs = {name: facts.read(x, load) for name, x in labels.items() if x.is_dir()}
  with replace_file(out) as file:
    file.write(page(labels, runs).encode())
  first = next(iter(runs.values()))
  frames = [Image.open(path) for _, path in thin(next(iter(first.grids.values()), []), ROOM[0][0])]
  if len(frames) < 2:
    return [out]
  size = max(frame.size for frame in frames)
  size = tuple(round(side * min(1, FILM_SIDE / max(size))) for side in size)
  how = lambda frame: Image.Resampling.BOX if frame.size > size else Image.Resampling.NEAREST
  frames = np.stack([np.asarray(x.convert('RGB').resize(size, how(x))) for x in frames])
  text = image.describe(first.config['name'], first.step, 'of training', first.kind)
  if film.suffix.lower() == '.mp4':
    image.save_mp4(film, frames, text, 1000 // FRAME_MILLISECONDS)
  else:
    image.save_gif(film, frames, text, FRAME_MILLISECONDS)
  return [out, film]


def page(labels: dict[str, Path], runs: dict[str, facts.Run]) -> str:
  """The HTML of {label: workdir or file of records} and {label: Run}."""
  escape = html.escape
  values = {name: compare.values_of(place) for name, place in labels.items()}
  drawn = compare.panels(labels, values)
  if len(labels) == 1:  # families of metrics share a panel, and evaluations follow
    measured = {key.value for found in values.values() for key in found}
    (place,) = labels.values()
    drawn = curves.of_run(place) | {k: v for k, v in drawn.items() if k in measured}
  chart, moves = _chart({name.replace('_', ' '): lines for name, lines in drawn.items()})
  rows = {
    ' '.join(filter(None, (name if len(runs) > 1 else '', seed))): grids
    for name, run in runs.items()
    for seed, grids in run.grids.items()
  }
  pictures = _pictures(rows)
  steps = sorted({step for found in pictures.values() for step in found})
  data = {'steps': steps, 'pictures': [*pictures.values()], 'moves': moves}
  figures = ''.join(
    f'<figure><img alt="samples {escape(name)}" src="{found[max(found)]}">'
    f'<figcaption>{escape(name)}</figcaption></figure>'
    for name, found in pictures.items()
  )
  found = compare.rows(values)
  source = PAGE.read_text()
  script = re.search(r'<script>(.*?)</script>', source, re.S)[1]
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  return Template(source).substitute(
    digest=digest,
    title=escape(', '.join(runs)),
    heads=''.join(map(_head, runs, runs.values())),
    figures=figures or '<p>There are no grids yet.</p>',
    steps=max(len(steps) - 1, 0),
    hidden='' if len(steps) > 1 else 'hidden',
    step=f'{steps[-1]:,}' if steps else '0',
    chart=chart or '<p>There are no metrics yet.</p>',
    evaluations=_table(compare.HEAD, found)
    if found
    else '<p>Nothing was evaluated: <code>ganjax evaluate RUN</code>.</p>',
    settings=_settings(runs),
    made=''.join(map(_made, runs, runs.values())),
    data=json.dumps(data).replace('<', '\\u003c'),
  )


def _head(name, run) -> str:
  steps, escape = run.config['steps'], html.escape
  state = 'finished'
  if run.step < steps:
    state = 'running' if lock.is_held(run.place) else 'stopped'
  devices = run_record.newest(run.record).get('devices', {})
  told = [
    f'{state} at step {run.step:,} of {steps:,}',
    f'{run.images:,} real {run.kind}s seen',
    f'{run.seconds / 3600:.1f} h',
    f'{devices.get("count", "?")} {devices.get("kind", "?")} device(s)',
  ]
  wrong = ''.join(f'<li>{escape(line)}</li>' for line in facts.warnings(run))
  return (
    f'<h1>{escape(name)}</h1><p>{escape(run.config["name"])}: {escape("; ".join(told))}.</p>'
    + (f'<ul class="warnings">{wrong}</ul>' if wrong else '')
  )


def _table(head, rows) -> str:
  line = lambda cells, tag: (
    '<tr>' + ''.join(f'<{tag}>{html.escape(str(x))}</{tag}>' for x in cells) + '</tr>'
  )
  body = ''.join(line(row, 'td') for row in rows)
  return (
    f'<div class="wide"><table><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table></div>'
  )


def _settings(runs) -> str:
  """What differs from the recipes and between the runs, and the whole configurations."""
  flat = {name: configs.flatten(run.config) for name, run in runs.items()}
  names = sorted({field for found in flat.values() for field in found})
  apart = {f for f in names if len({json.dumps(x.get(f)) for x in flat.values()}) > 1}
  apart |= {field for run in runs.values() for field in run.changed or {}}
  show = lambda value: '-' if value is None else json.dumps(value)
  rows = []
  for field in sorted(apart):
    recipes = [run.changed[field][0] for run in runs.values() if field in (run.changed or {})]
    rows.append(
      (field, show(next(iter(recipes), None)), *(show(x.get(field)) for x in flat.values()))
    )
  text = _table(('field', 'recipe', *runs), rows) if rows else '<p>All is as in the recipe.</p>'
  for name, run in runs.items():
    whole = html.escape(json.dumps(run.config, indent=2))
    text += (
      f'<details><summary>All settings of {html.escape(name)}</summary><pre>{whole}</pre></details>'
    )
  return text


def _made(name, run) -> str:
  """What made a run, and the command that makes it again."""
  record = run.record
  rows = []
  for entry in ({'step': 0, **record}, *record.get('history', [])):
    versions, devices = entry.get('versions', {}), entry.get('devices', {})
    software = ', '.join(f'{k} {v}' for k, v in versions.items())
    rows.append(
      (
        entry['step'],
        str(entry.get('commit'))[:12],
        software,
        f'{devices.get("count")} {devices.get("kind")}',
      )
    )
  text = f'<h3>{html.escape(name)}</h3>' + _table(
    ('from step', 'commit', 'versions', 'devices'), rows
  )
  data = {json.dumps(one, sort_keys=True): one for one in record.get('data', [])}.values()
  for one in data:
    told = [f'{k} {v}' for k, v in one.items() if k not in ('dataset', 'classes')]
    licence = provenance.licence(one)
    told += [f'licence: {licence}'] if licence else []
    text += f'<p>Data: {html.escape(str(one.get("dataset")))}; {html.escape("; ".join(told))}.</p>'
  words = ['ganjax', 'train', run.config['name'], '--workdir', f'runs/{run.place.resolve().name}']
  for field, (_, value) in (run.changed or {}).items():
    words.append(f'--config.{field}={value}')
  if run.changed is not None:
    text += f'<p>The same run again:</p><pre>{html.escape(shlex.join(words))}</pre>'
  return text


def thin(items: Sequence[Any], most: int) -> list:
  """At most so many items of a list, evenly spread, the first and the last among them."""
  if len(items) <= most:
    return list(items)
  return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _pictures(rows) -> dict:
  """{name: {step: data URI}} of {name: [(step, path)]}, as many as the page has room for."""
  for most, side in ROOM:
    most = max(2, most // max(len(rows), 1))
    found = {name: {s: _webp(path, side) for s, path in thin(g, most)} for name, g in rows.items()}
    if sum(len(x) for one in found.values() for x in one.values()) <= MOST_BYTES:
      break
  return found


def _webp(path, side) -> str:
  picture = Image.open(path)
  picture.thumbnail((side, side))
  file = io.BytesIO()
  picture.convert('RGB').save(file, 'WEBP', quality=85)
  return f'data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}'


def _chart(panels) -> tuple:
  """(SVG of panels, [(id, steps at the left and right, points a step)] of the line in each that marks a step)."""
  if not panels:
    return '', []
  import matplotlib  # as in `curves`: not at the top

  settings = {'svg.hashsalt': 'ganjax', 'svg.fonttype': 'none'}
  with matplotlib.rc_context(settings):
    figure, moves = curves.figure(panels, columns=2), []
    for i, axes in enumerate(figure.axes):
      left, right = axes.get_xlim()
      axes.axvline(left, gid=f'now{i}', color='0.3', linewidth=0.8)
      axes.set_xlim(left, right)
      at = axes.transData.transform([(left, 1), (right, 1)])[:, 0] * 72 / figure.dpi
      moves.append((f'now{i}', left, right, (at[1] - at[0]) / (right - left)))
    file = io.StringIO()
    figure.savefig(file, format='svg', metadata={'Date': None})
  text = file.getvalue()
  return text[text.index('<svg') :], moves


if __name__ == '__main__':
  configs.run(main)
