"""Samples from a run: ganjax sample runs/dcgan [--seeds 0-35] [--out film.mp4]

RUN is a run's workdir, a file of `ganjax export`, or the name of a pretrained generator.

The same seed gives the same sample on any number of devices. The metadata of a sample say that it is synthetic.

- Image translation and super-resolution start from the pictures of --source. Without it sample n starts from picture n
  of the held-out split. Super-resolution takes pictures of any size and writes a file for each.
- Style transfer draws each picture of --source in each style of --style.
- Text to image draws --text. Without it sample n is for a caption of the held-out split.
- StyleGANs also have --mix, --directions, --class_averages and --styles.

A picture stores its recipe, the flags that made it: ganjax sample RUN --recipe PICTURE makes it again.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
WORKDIR = COMMAND.string('workdir', None, 'The run, instead of RUN.')
OUT = COMMAND.string(
  'out',
  None,
  'File or folder to write; by default in RUN/generated, or in the current folder if RUN is no folder.',
)
SEEDS = COMMAND.string('seeds', '0-63', 'Such as 0-35 or 3,7,10-12: one sample for each seed.')
SOURCE = COMMAND.string(
  'source',
  None,
  'Input: a picture, folder or zip archive; for clips a GIF, a film or a folder.',
)
STYLE = COMMAND.string(
  'style',
  None,
  'Style pictures: a picture, folder or zip archive; by default those of the held-out split. Each picture of --source '
  'is drawn in each style.',
)
TEXT = COMMAND.strings(
  'text',
  'What to draw, such as "a red taxi". Repeat it for more rows of the grid; each row has all seeds.',
)
KEEP_SIZE = COMMAND.switch(
  'keep_size', 'Pictures of --source keep their size, instead of the size of training.'
)
TILE = COMMAND.integer(
  'tile',
  256,
  'Side in pixels of the tiles in which large pictures are computed; smaller tiles need less memory.',
)
OPTIONS = COMMAND.strings(
  'option',
  'NAME=VALUE, such as truncation=0.7; may be repeated. NAME=VALUE,VALUE makes a table: a row for each seed, a column '
  'without the option and a column for each value.',
)
FORMAT = COMMAND.choice(
  'format',
  None,
  ['grid', 'files', 'folders', 'npz', 'strip', 'gif', 'mp4'],
  'By default from the suffix of --out, else grid. files: a file for each sample (PNG, GIF, WAV, OBJ, text). folders: '
  'the same in a folder for each class, like a data set. strip, gif and mp4 interpolate from seed to seed.',
)
SEED_INDEX = COMMAND.integer(
  'seed_index', 0, 'Index of the seed, for runs that train several seeds.'
)
STEP = COMMAND.integer('step', None, 'Step of the checkpoint; by default the newest.')
WEIGHTS = COMMAND.choice(
  'weights', 'ema', ['ema', 'raw'], 'Averaged weights, if the run keeps them, or raw ones.'
)
BATCH_NORM = COMMAND.choice(
  'batch_norm', 'running', ['running', 'batch', 'standing'], 'Statistics of batch norm.'
)
FRAMES = COMMAND.integer('frames', 8, 'Pictures from one seed to the next, in strip, gif and mp4.')
FPS = COMMAND.integer('fps', 20, 'Frames per second of gif and mp4.')
PATHS = COMMAND.integer(
  'paths', 1, 'Number of interpolations side by side. The seeds are divided among them in order.'
)
CLASSES = COMMAND.string(
  'classes',
  None,
  'Such as 0-9 or cat,dog, for conditional runs: a row of the grid for each class, with all seeds.',
)
MIX = COMMAND.string(
  'mix',
  None,
  'Seeds of a style-mixing table: a row for each seed of --seeds; each column takes --layers from one of these.',
)
DIRECTIONS = COMMAND.choice(
  'directions',
  None,
  ['sefa', 'ganspace'],
  'A table of latent directions: a row for each direction, a column for each strength. sefa: directions that change '
  'the outputs of the style layers most. ganspace: principal components of w.',
)
COMPONENTS = COMMAND.string('components', '0-4', 'Which directions; 0 is the strongest.')
STRENGTHS = COMMAND.string(
  'strengths', '-3,-1.5,1.5,3', 'How far to move; for ganspace in standard deviations.'
)
LAYERS = COMMAND.string(
  'layers',
  None,
  'Such as 0-3; 0 is the coarsest. By default the first half for --mix, all for --directions.',
)
CLASS_AVERAGES = COMMAND.switch(
  'class_averages',
  'Truncation moves w towards the average of the class, not of all classes; at 0 it is that average.',
)
STYLES = COMMAND.strings(
  'styles', 'An .npz of `ganjax project`, instead of seeds; may be repeated.'
)
BATCH = COMMAND.integer('batch', 64, 'Samples computed at once.')
RECIPE = COMMAND.string(
  'recipe',
  None,
  'File with flags: JSON, or a PNG or GIF of `ganjax sample`. Flags on the command line override them.',
)
MARK = COMMAND.switch(
  'mark', 'Adds an invisible watermark to pictures, which `ganjax marked` detects.'
)
BARE = COMMAND.switch('bare', 'Files have no metadata.')
# What needs styles.
BY_STYLES = MIX, DIRECTIONS, CLASS_AVERAGES, STYLES
# What names a place is no part of a recipe.
PLACES = 'workdir', 'out', 'recipe', 'source', 'style', 'styles', 'bare'
IN_RECIPES = [name for name in COMMAND.names if name not in PLACES]

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import contextlib
import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ganjax import UserError, experiment, run_record, run_state
from ganjax import config as configs
from ganjax.data import provenance
from ganjax.devices import processes, sharding
from ganjax.media import image as images
from ganjax.media import mark
from ganjax.method import TrainState
from ganjax.sampling import (
  directions,
  film,
  output,
  own,
  recipes,
  sampler,
  styles,
  tables,
  translate,
)


class Opened(NamedTuple):
  """A generator that was read."""

  mesh: jax.sharding.Mesh
  state: TrainState
  step: int
  weights: str  # 'ema' or 'raw'
  held_out: Callable  # opens the data that samples start from


def read(
  run: experiment.Experiment, place: str | Path, step: int | None, weights: str, seed_index: int
) -> Opened:
  """Reads the generator of a run, see `run_state.read_generator`."""
  mesh = sharding.make_mesh(jax.local_devices())
  which = dict(step=step, weights=weights, seed_index=seed_index)
  state, step, weights = run_state.read_generator(run, place, mesh, **which)
  held_out = functools.cache(lambda: run.held_out(run.span_at(step - 1)))
  return Opened(mesh, state, step, weights, held_out)


def main(load: Callable = experiment.load, read: Callable = read) -> int:
  """Makes what the flags say. Where there are several calls, `load` and `read` may keep what they read."""
  if RECIPE.value:
    typed = COMMAND.given(leave_out=['recipe'])
    flags = recipes.read(RECIPE.value, IN_RECIPES) | typed
    COMMAND.read(['sample', *COMMAND.arguments, *commandline.words(flags)])
  if min(FRAMES.value, BATCH.value, PATHS.value, FPS.value) < 1:
    raise UserError('--frames, --batch, --paths and --fps must be at least 1')
  if TILE.value < 16:
    raise UserError('--tile must be at least 16')
  format = _format()
  place = COMMAND.run(WORKDIR)
  processes.start()
  run = load(place)
  method = run.method
  options, swept, values = tables.parse_sweep(OPTIONS.value, method)
  _check_tools(method, format, swept)
  if _by_styles(method, format) and (format in output.MOVING or STYLES.value):
    options = method.styles.still | options
  mesh, state, step, weights, held_out = read(
    run, place, STEP.value, WEIGHTS.value, SEED_INDEX.value
  )
  span = run.span_at(step - 1)
  stage = span.stage
  source, mine = _source(run, span, place, held_out)
  keep_size = _keeps_size(method, format, swept)
  format = 'files' if keep_size else format
  drawn = _drawn(run, place, state, source, mine)
  asked = len(drawn.names)
  if SOURCE.value and not keep_size:
    drawn = _of_whole_files(drawn, source)
  state = sampler.prepare(
    stage, state, method, source=source, mesh=mesh, batch_norm=BATCH_NORM.value
  )
  if keep_size:
    told = {}
  else:
    made = _rows(drawn, method, state, format, source, options, swept, values)
    rows, labels, columns, told = made
  field = span.fields[method.makes]
  if MARK.value and field.kind != 'image':
    raise UserError(f'--mark is for pictures, and this run makes {field.kind}s')
  finish = mark.add if MARK.value else lambda x: x
  out = Path(OUT.value) if OUT.value else run_state.generated(place, _name(run, step, format))
  options |= {swept: values} if swept else {}
  about = run_state.about(run, SEED_INDEX.value) | ({'options': options} if options else {}) | told
  about |= {'styles': [name for name, _ in drawn.names]} if STYLES.value else {}
  about |= {'class_averages': True} if CLASS_AVERAGES.value else {}
  about |= own.captions(source, drawn.indices)
  recipe = {'seeds': SEEDS.value, 'step': step, **COMMAND.given(leave_out=PLACES)}

  def text(seed):
    if BARE.value:
      return {}
    one = {'seeds': str(seed)} if format in output.MANY and isinstance(seed, int) else {}
    return images.describe(run.config.name, step, seed, field.kind, recipe=recipe | one, **about)

  if keep_size:
    train = BATCH_NORM.value == 'batch'
    translator = translate.Translator(
      method, stage, state, options, source, mesh, train, TILE.value
    )
    count = translate.write_each(out, translator, mine, drawn.indices, drawn.names, text, finish)
  else:
    how = dict(batch_size=BATCH.value, kind=field.kind, mesh=mesh, batch_norm=BATCH_NORM.value)
    samples = finish(sampler.generate(stage, state, rows, **how))
    count = len(samples)
    if format in output.MANY:
      folders = _class_folders(place, labels) if format == 'folders' else None
      output.write_files(out, samples, field, drawn.names, text, folders)
    else:
      of = [name for _, name in drawn.names] if STYLES.value else [SEEDS.value]
      of += [f'classes {CLASSES.value}'] if CLASSES.value else []
      how = dict(columns=columns, paths=PATHS.value, fps=FPS.value, corner=bool(MIX.value))
      output.write(out, format, samples, field, text(', '.join(of)), labels=labels, **how)
  what = 'pictures' if field.kind == 'image' else f'{field.kind}s'
  print(
    f'{out}: {count} {what}, step {step}, {weights} weights, {BATCH_NORM.value} batch statistics{drawn.said}'
  )
  return int((count if keep_size else len(drawn.names)) < asked)


def make(
  place: str | Path,
  given: dict,
  ending: str,
  load: Callable = experiment.load,
  read: Callable = read,
) -> tuple[bytes, str]:
  """The file that `ganjax sample PLACE` writes: (its bytes, its ending).

  Args:
    place: a run's workdir or file.
    given: {flag: value}, such as a recipe.
    ending: of a picture or film; '' where the flags say --format=files: the first of these.
    load, read: see `main`.

  Raises:
    UserError: as the command.
  """
  with tempfile.TemporaryDirectory(prefix='ganjax-sample-') as folder:
    out = Path(folder, f'made{ending}')
    words = commandline.words({**given, 'out': str(out)})
    with contextlib.redirect_stdout(io.StringIO()):
      COMMAND.read(['sample', str(place), *words])
      main(load, read)
    path = min(out.iterdir()) if out.is_dir() else out
    return path.read_bytes(), path.suffix


class Drawn(NamedTuple):
  """What samples are asked for: one a row, class by class and text by text."""

  seeds: np.ndarray  # int [n]; with classes [n / classes]
  indices: np.ndarray | None  # of the examples that they start from
  names: list[tuple[str, int | str]]  # (what its file is called, what is said of it) of each
  classes: np.ndarray | None  # that each seed is of
  styles: np.ndarray | None  # given in place of seeds
  columns: int | None  # of the grid
  said: str = ''


def _drawn(run, place, state, source, mine) -> Drawn:
  """The samples that the flags ask for. Seeds beyond the examples start again from the first of them."""
  if STYLES.value:
    given, own_styles = styles.read(STYLES.value, styles.shape(run.method, state))
    names = [(name, name) for name in own_styles]
    return Drawn(np.arange(len(given)), None, names, None, given, None)
  if SOURCE.value and not SEEDS.present:
    seeds = np.arange(source.num_examples)
  else:
    seeds = sampler.parse_seeds(SEEDS.value)
  count = len(seeds)
  if TEXT.value:
    indices, seeds = np.repeat(np.arange(len(TEXT.value)), count), np.tile(seeds, len(TEXT.value))
    names = [
      (f'{output.short(TEXT.value[i])}-seed{s:06}', f'{s}, {TEXT.value[i]}')
      for i, s in zip(indices, seeds)
    ]
    return Drawn(seeds, indices, names, None, None, count)
  indices = seeds % source.num_examples if source else None
  if CLASSES.value:
    known = provenance.class_names(run_record.saved_record(place))
    chosen = sampler.parse_classes(CLASSES.value, run.method.num_classes, known)
    names = [(f'seed{s:06}-class{c:04}', f'{s}, class {c}') for c in chosen for s in seeds]
    shown = ', '.join(provenance.show(known[c]) for c in chosen[:20]) if known else ''
    said = f', classes {shown}' if known else ''
    return Drawn(seeds, indices, names, chosen, None, count, said)
  names = [(f'seed{s:06}', int(s)) for s in seeds]
  if SOURCE.value:
    # The second file of a picture says which seed it is.
    again = '' if count <= source.num_examples else '-seed{:06}'
    names = [(mine.names[i] + again.format(int(s)), int(s)) for i, s in zip(indices, seeds)]
  return Drawn(seeds, indices, names, None, None, None)


def _of_whole_files(drawn, source):
  """The samples whose files can be decoded."""
  kept = np.flatnonzero(own.decodable(source, drawn.indices))
  names = [drawn.names[i] for i in kept]
  return drawn._replace(seeds=drawn.seeds[kept], indices=drawn.indices[kept], names=names)


def _rows(drawn, method, state, format, source, options, swept, values) -> tuple:
  """(inputs of the samples, a row each; the classes asked for; columns of the grid; what files say besides)."""

  def plain(options):
    rows = sampler.rows(method, drawn.seeds, source, drawn.indices, **options)
    rows = rows if drawn.classes is None else in_classes(rows, drawn.seeds, drawn.classes)
    return rows if drawn.styles is None else {**rows, 'w': drawn.styles}

  def to_styles(rows):
    if not _by_styles(method, format):
      return rows
    means = styles.class_means(method, state, rows['label']) if CLASS_AVERAGES.value else None
    return styles.find(method, state, rows, means)

  rows = plain(options)
  labels = rows.get('label') if method.num_classes and drawn.styles is None else None
  rows = to_styles(rows)
  if swept:
    cells = [to_styles(plain({**options, swept: value})) for value in values]
    return tables.bordered(rows, tables.columns(cells)), labels, 1 + len(values), {}
  if MIX.value:
    others = to_styles(sampler.rows(method, sampler.parse_seeds(MIX.value, '--mix'), **options))
    table, columns, told = _mixed(rows, others)
    return table, labels, columns, told
  if DIRECTIONS.value:
    table, columns, told = _moved(rows, method, state)
    return table, labels, columns, told
  if format in output.MOVING:
    paths = dict(paths=PATHS.value, num_classes=method.num_classes)
    rows = film.interpolate(rows, FRAMES.value, closed=format != 'strip', **paths)
    told = {'paths': PATHS.value} if PATHS.value > 1 else {}
    return rows, labels, len(jax.tree.leaves(rows)[0]) // PATHS.value, told
  return rows, labels, drawn.columns, {}


def _by_styles(method, format) -> bool:
  """Whether samples are made from their styles: what moves or mixes these asks for it."""
  return bool(method.styles and (format in output.MOVING or any(f.value for f in BY_STYLES)))


def _format() -> str:
  """What is to be written: as it was said, or else as --out ends."""
  endings = {'.npz': 'npz', '.gif': 'gif', '.mp4': 'mp4'}
  format = FORMAT.value or endings.get(Path(OUT.value or '').suffix.lower(), 'grid')
  if OUT.value and format not in output.MANY:
    commandline.check_ending(OUT, output.ENDINGS[format], f'--format {format}')
  elif (ending := Path(OUT.value or '').suffix) and ending.lower() in output.OF_FILES:
    raise UserError(f'--out={OUT.value}: --format {format} writes a folder: leave {ending} out')
  return format


def _check_tools(method, format, swept):
  """Raises UserError for tools that do not go together, or not with this run."""
  asked = [flag for flag in BY_STYLES if flag.value]
  if asked and not method.styles:
    raise UserError(f'--{asked[0].name}: this run has no styles w, which StyleGANs have')
  made = [f'--{flag.name}' for flag in (MIX, DIRECTIONS) if flag.value]
  made += [f'several values of --option={swept}'] if swept else []
  if len(made) > 1:
    raise UserError(f'{" and ".join(made)} make a table each: take one of them')
  if made and format != 'grid':
    raise UserError(f'{made[0]} makes a table, a PNG: leave --format={format} out')
  for flag, needs in (
    (LAYERS, (MIX, DIRECTIONS)),
    (COMPONENTS, (DIRECTIONS,)),
    (STRENGTHS, (DIRECTIONS,)),
  ):
    if flag.present and not any(other.value for other in needs):
      raise UserError(f'--{flag.name} goes with {" or ".join(f"--{x.name}" for x in needs)}')
  if PATHS.value > 1 and format not in output.MOVING:
    raise UserError(f'--paths={PATHS.value} goes with --format {", ".join(output.MOVING)}')
  if format == 'folders' and (not method.num_classes or STYLES.value):
    raise UserError('--format=folders is for samples of classes; these have none')
  if CLASS_AVERAGES.value and not method.num_classes:
    raise UserError('--class_averages is for conditional runs; this one has no classes')
  if STYLES.value:
    for flag in (SEEDS, CLASSES, CLASS_AVERAGES):
      if flag.present:
        raise UserError(
          f'--styles are there in place of seeds and classes: leave --{flag.name} out'
        )


def _mixed(rows, others):
  """(rows of the table of --mix, its columns, what files say of it)."""
  layers = _layers(rows['w'].shape[1], f'0-{max(rows["w"].shape[1] // 2 - 1, 0)}')
  table = tables.bordered(rows, styles.mix(rows, others, layers), others)
  return table, 1 + len(others['w']), {'mix': MIX.value, 'layers': layers.tolist()}


def _moved(rows, method, state):
  """As `_mixed`, of the table of --directions."""
  layers = _layers(rows['w'].shape[1], f'0-{rows["w"].shape[1] - 1}')
  found = directions.find(DIRECTIONS.value, method, state, layers)
  components = tables.parse_some(COMPONENTS.value, len(found), '--components')
  strengths = tables.parse_strengths(STRENGTHS.value)
  cells = directions.move(rows, found[components], strengths, layers)
  still = jax.tree.map(lambda x: np.repeat(x, len(components), 0), rows)
  told = {'directions': DIRECTIONS.value, 'components': components.tolist()}
  told |= {'strengths': strengths, 'layers': layers.tolist()}
  return tables.bordered(still, cells), 1 + len(strengths), told


def _layers(count, default):
  return tables.parse_some(default if LAYERS.value is None else LAYERS.value, count, '--layers')


def _name(run, step, format) -> str:
  """The name of a file, of what was typed."""
  one = f'-seed{SEED_INDEX.value}' if run.config.seeds > 1 else ''
  start = f'-seeds{output.short(SEEDS.value)}'
  if STYLES.value:
    start = f'-styles-{output.short(",".join(Path(path).stem for path in STYLES.value))}'
  parts = [f'{format}-{step:08}{one}{start}']
  parts += [f'classes{output.short(CLASSES.value)}'] if CLASSES.value else []
  parts += [f'of-{output.short(Path(SOURCE.value).stem)}'] if SOURCE.value else []
  parts += [f'in-{output.short(Path(STYLE.value).stem)}'] if STYLE.value else []
  parts += [output.short(','.join(TEXT.value))] if TEXT.value else []
  parts += [output.short(','.join(OPTIONS.value))] if OPTIONS.value else []
  parts += [DIRECTIONS.value] if DIRECTIONS.value else []
  parts += ['class_averages'] if CLASS_AVERAGES.value else []
  for flag in (MIX, COMPONENTS, STRENGTHS, LAYERS, PATHS):
    parts += [f'{flag.name}{output.short(str(flag.value))}'] if flag.present else []
  return '-'.join(parts) + output.ENDINGS[format]


def _source(run, span, place, held_out):
  """(the data that samples start from, or None; your own pictures, or None)."""
  if STYLE.value and not (SOURCE.value and run.method.style):
    raise UserError('--style goes with --source, of runs that transfer styles')
  if TEXT.value and SOURCE.value:
    raise UserError('--text and --source are two things to start from: take one of them')
  if TEXT.value:
    saved = run_record.saved_record(place).get('data') or [{}]
    of = dict(fields=span.fields, examples=run.method.examples, known=saved[-1].get('encoder'))
    return own.texts(TEXT.value, run.config, **of), None
  if SOURCE.value and not run.method.examples:
    raise UserError(f'--source={SOURCE.value}: samples of this run start from seeds alone')
  if SOURCE.value:
    return own.start(SOURCE.value, STYLE.value, run.method, run.config.data, span.fields, held_out)
  return (held_out() if run.method.examples else None), None


def _keeps_size(method, format, swept) -> bool:
  """Whether samples are files with the sizes of your own pictures."""
  always = method.restores or method.style
  files = format == 'files' or (always and format == 'grid' and not FORMAT.value)
  keeps = bool(SOURCE.value and files and not swept and (always or KEEP_SIZE.value))
  if KEEP_SIZE.value and not (keeps and method.multiple):
    raise UserError(
      '--keep_size is for --source with --format files, of runs whose networks take pictures of any size'
    )
  return keeps


def _class_folders(place, labels) -> list:
  """The class of each label by its name, as the run's data have it, or by its number where that is no folder's name."""
  known = provenance.class_names(run_record.saved_record(place))

  def name(label):
    found = str(known[label]) if known else ''
    plain = found == Path(found).name and found not in ('', '.', '..')
    return found if plain else f'{label:04}'

  return [name(label) for label in labels.tolist()]


def in_classes(rows: dict, seeds: np.ndarray, chosen: np.ndarray) -> dict:
  """Rows of every seed in each of the classes `chosen`, class by class."""
  rows = jax.tree.map(lambda x: np.concatenate([x] * len(chosen)), rows)
  rows['label'] = np.repeat(chosen, len(seeds)).astype(np.int32)
  return rows


if __name__ == '__main__':
  configs.run(main)
