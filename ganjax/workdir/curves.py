"""The curves of a run as a picture."""

import json
import math
import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from ganjax.workdir.files import replace_file, user_errors
from ganjax.workdir.writer import parse_lines

if TYPE_CHECKING:
  from matplotlib.figure import Figure


def draw(workdir: str | pathlib.Path) -> pathlib.Path | None:
  """Draws workdir/metrics.jsonl as workdir/curves.png, one panel per family of metrics.

  Names that share what stands before their first underscore share a panel (loss_*, D_*, grad_*).
  Series of more than 200 points show the mean (line) and range (band) of 120 equal stretches; those
  of several seeds the mean over seeds (line) and one deviation either way (band). Axes
  are logarithmic where all values are positive and span a factor of 50, and leave out the outermost
  1 % of points where those lie far off, saying so.

  Returns the path, or None if there are no metrics yet. Raises UserError if it cannot be written.
  """
  workdir = pathlib.Path(workdir)
  with user_errors(workdir / 'curves.png'):
    lines = of_run(workdir)
    if not lines:
      return None
    config = workdir / 'config.json'
    title = json.loads(config.read_text()).get('name') if config.exists() else None
  return _save(lines, str(title or workdir.resolve().name), workdir / 'curves.png')


def of_run(workdir: str | pathlib.Path) -> dict:
  """{title of a panel: [(name, steps, values) or (name, steps, values, deviations)]} of workdir/metrics.jsonl."""
  series = read_series(pathlib.Path(workdir, 'metrics.jsonl'))
  panels = {}
  for name in series:
    if name.startswith(('compile_', 'peak_')):
      continue  # costs, not curves
    if name.removesuffix('_std') not in series.keys() - {name}:
      panels.setdefault(name.split('_')[0], []).append(name)
  first = [p for p in ('loss', 'D', 'grad') if p in panels]
  panels = {p: panels[p] for p in first + [p for p in panels if p not in first]}

  spread = lambda name: [series[f'{name}_std'][1]] if f'{name}_std' in series else []
  return {
    title: [(name, *series[name], *spread(name)) for name in names]
    for title, names in _titles(panels).items()
  }


def overlay(panels: dict[str, list[tuple]], path: pathlib.Path) -> pathlib.Path:
  """Draws the curves of several runs over each other, one panel for each metric, as a picture at `path`.

  Args:
    panels: {metric: [(label, steps, values)]}; a value at step NaN holds throughout.
    path: of the PNG.
  """
  return _save({name.replace('_', ' '): lines for name, lines in panels.items()}, '', path)


def _titles(panels):
  """{title of a panel: names}: what the names share, or the one name."""
  out = {}
  for names in panels.values():
    prefix = os.path.commonprefix([f'{name}_' for name in names])
    title = prefix[: prefix.rfind('_')] if len(names) > 1 else names[0]
    out[title.replace('_', ' ')] = names
  return out


def _save(panels, heading, path):
  """Draws the panels of `figure` as a PNG at `path`; returns the path."""
  with replace_file(path) as file:
    figure(panels, heading).savefig(file, format='png')
  return path


def figure(panels: dict[str, list[tuple]], heading: str = '', columns: int = 3) -> 'Figure':
  """The matplotlib Figure of {title: [(label, x, y)]}, or with the deviations of y besides; a panel a title."""
  # Not at the top: it would cost every start most of a second. Not pyplot: it keeps global state.
  import matplotlib
  from matplotlib.figure import Figure
  from matplotlib.ticker import EngFormatter

  matplotlib.set_loglevel('error')  # a missing font is no news to who trains
  columns = min(len(panels), columns if len(panels) != 4 else 2)
  rows = -(-len(panels) // columns)
  # Inches; places are fixed, as to find them takes longer than to draw.
  panel, gap, top = np.array([3.6, 2.3]), np.array([0.8, 0.65]), 0.75 if heading else 0.4
  count = np.array([columns, rows])
  size = count * panel + (count - 1) * gap + [1.0, 0.5 + top]
  drawn = Figure(size, dpi=110)
  (left, bottom), (right, high) = [0.8, 0.5] / size, 1 - [0.2, top] / size
  (wspace, hspace) = gap / panel
  drawn.subplots_adjust(left, bottom, right, high, wspace, hspace)
  drawn.suptitle(heading, fontsize=13, fontweight='bold', parse_math=False)
  for i, (title, lines) in enumerate(panels.items()):
    axes = drawn.add_subplot(rows, columns, i + 1)
    for j, (label, *points) in enumerate(lines):
      _draw_series(axes, *points, label=label, color=f'C{j % 10}')
    note = _set_limits(axes, np.concatenate([y for _, _, y, *_ in lines]))
    axes.set_title(title + note, fontsize=10, loc='left', parse_math=False)
    axes.xaxis.set_major_formatter(EngFormatter(sep=''))
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[['top', 'right']].set_visible(False)
    if i + columns >= len(panels):
      axes.set_xlabel('step', fontsize=9)
    if len(lines) > 1:
      legend = axes.legend(fontsize=8, frameon=False, ncols=2 if len(lines) > 4 else 1)
      for text in legend.get_texts():
        text.set_parse_math(False)
  return drawn


def _draw_series(axes, x, y, spread=None, *, label, color):
  if np.isnan(x).all():
    axes.axhline(y[0], color=color, linewidth=1.3, linestyle='--', label=label)
    return
  bins = len(x) if len(x) <= 200 else 120
  edges = np.linspace(0, len(x), bins, endpoint=False).astype(int)
  size = np.diff(np.append(edges, len(x)))
  middle = np.add.reduceat(x, edges) / size
  mean, low = np.add.reduceat(y, edges) / size, None
  if spread is not None:
    deviation = np.add.reduceat(spread, edges) / size
    low, high = mean - deviation, mean + deviation
  elif bins < len(x):
    low, high = np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)
  if low is not None:
    axes.fill_between(middle, low, high, color=color, alpha=0.18, linewidth=0)
  marker = '.' if bins <= 30 else None
  axes.plot(middle, mean, color=color, linewidth=1.3, marker=marker, label=label)


def _set_limits(axes, y):
  """Chooses the scale of the y axis for all values `y` of a panel; says what the title must add."""
  low, high = np.percentile(y, [1, 99])
  if y.min() > 0 and high > 50 * low:
    axes.set_yscale('log')
  scale = axes.yaxis.get_transform()
  low, high, least, most = scale.transform(np.array([low, high, y.min(), y.max()]))
  reach = 1.5 * (high - low)
  if len(y) < 100 or reach == 0 or (least >= low - reach and most <= high + reach):
    return ''
  limits = np.array([max(least, low - reach / 4), min(most, high + reach / 4)])
  axes.set_ylim(scale.inverted().transform(limits))
  return '  (outliers cut off)'


def read_series(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads metrics.jsonl into {name: (steps, values)}, float64 [n], finite values only; not those of single seeds."""
  points = {}
  for _, record in parse_lines(path.read_bytes()) if path.exists() else []:
    for name, value in record.items():
      number = isinstance(value, (int, float)) and math.isfinite(value)
      if name != 'step' and '/' not in name and number:
        points.setdefault(name, []).append((record['step'], value))
  return {name: np.array(pairs, np.float64).T for name, pairs in points.items()}
