"""Samples from a run: ganjax sample --workdir runs/dcgan [--seeds 0-35] [--format grid|files|npz|strip|gif]

The same seed gives the same sample on any number of devices. A sample is synthetic, and says so in its metadata.
Samples of a run that translates or enlarges start from pictures: those of --source, else sample n from picture n of the
held-out split of its data. A run that enlarges takes pictures of any size from --source, and writes a file of each.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__)
WORKDIR = COMMAND.string('workdir', None, 'The run.')
OUT = COMMAND.string('out', None, 'File or folder to write; by default below WORKDIR/generated.')
SEEDS = COMMAND.string(
  'seeds', '0-63', 'Such as 0-35 or 3,7,10-12; one sample each (50,000 images: 0-49999).'
)
SOURCE = COMMAND.string('source', None, 'Picture, folder or zip archive to start from.')
KEEP_SIZE = COMMAND.switch(
  'keep_size', 'Pictures of --source are not brought to the size that the run was trained at.'
)
TILE = COMMAND.integer(
  'tile',
  256,
  'Pixels that a side of a picture that keeps its size is computed in at once; less memory with less.',
)
OPTIONS = COMMAND.strings(
  'option', 'NAME=VALUE, such as truncation=0.7; may be given several times.'
)
FORMAT = COMMAND.choice(
  'format',
  'grid',
  ['grid', 'files', 'npz', 'strip', 'gif'],
  'files: a file for each sample (PNG, GIF, WAV, OBJ). strip and gif interpolate from seed to seed.',
)
SEED_INDEX = COMMAND.integer('seed_index', 0, 'Which of config.seeds trained together.')
STEP = COMMAND.integer('step', None, 'Step of the checkpoint; the newest by default.')
WEIGHTS = COMMAND.choice(
  'weights', 'ema', ['ema', 'raw'], 'Averaged weights, where the run keeps them, or raw ones.'
)
BATCH_NORM = COMMAND.choice(
  'batch_norm', 'running', ['running', 'batch', 'standing'], 'Statistics that normalise.'
)
FRAMES = COMMAND.integer('frames', 8, 'Pictures from one seed to the next, for strip and gif.')
CLASSES = COMMAND.string(
  'classes',
  None,
  'Such as 0-9 or cat,dog, of a conditional run: every seed in each of these classes, a row of the grid a class.',
)
BATCH = COMMAND.integer('batch', 64, 'Samples at a time.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import hashlib
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ganjax import UserError, experiment, media
from ganjax import config as configs
from ganjax.data import provenance
from ganjax.devices import processes, sharding
from ganjax.layers.resample import resize_bicubic
from ganjax.media import image as images
from ganjax.sampling import grid, latents, own, sampler, tiles

# What each format writes; files writes a folder.
ENDINGS = {'grid': '.png', 'strip': '.png', 'files': '', 'npz': '.npz', 'gif': '.gif'}


def main():
  if WORKDIR.value is None:
    raise UserError('--workdir is missing: the folder of a run, such as --workdir runs/dcgan')
  if min(FRAMES.value, BATCH.value) < 1 or TILE.value < 16:
    raise UserError('--frames and --batch must be at least 1, --tile at least 16')
  if OUT.value and FORMAT.value != 'files':
    commandline.check_ending(OUT, ENDINGS[FORMAT.value], f'--format {FORMAT.value}')
  workdir = Path(WORKDIR.value)
  processes.start()
  run = experiment.load(workdir)
  method, options = run.method, sampler.parse_options(OPTIONS.value, run.method)
  mesh = sharding.make_mesh(jax.local_devices())
  which = dict(step=STEP.value, weights=WEIGHTS.value, seed_index=SEED_INDEX.value)
  state, step, weights = experiment.read_generator(run, workdir, mesh, **which)
  span = run.span_at(step - 1)
  stage, (source, mine) = span.stage, _source(run, span)
  keep_size = _keeps_size(method)
  form = 'files' if keep_size else FORMAT.value
  if SOURCE.value and not SEEDS.present:
    seeds = np.arange(source.num_examples)
  else:
    seeds = sampler.parse_seeds(SEEDS.value)
  how = dict(mesh=mesh, batch_norm=BATCH_NORM.value)
  state = sampler.prepare(stage, state, method, source=source, **how)

  # A picture of one's own is taken for each seed that has one; seeds beyond the data start again.
  indices = seeds % source.num_examples if source else None
  names, columns, shown = [(f'seed{seed:06}', int(seed)) for seed in seeds], None, ''
  if SOURCE.value:
    # Of seeds beyond the last picture the first comes again: the file says which seed it is.
    again = '' if len(seeds) <= source.num_examples else '-seed{:06}'
    names = [
      (mine.names[i] + again.format(int(seed)), int(seed)) for i, seed in zip(indices, seeds)
    ]
  rows = {} if keep_size else sampler.rows(method, seeds, source, indices, **options)
  if CLASSES.value:
    known = provenance.class_names(experiment.newest(configs.load_json(workdir / 'config.json')))
    chosen = sampler.parse_classes(CLASSES.value, method.num_classes, known)
    rows, names = in_classes(rows, seeds, chosen)
    columns = len(seeds)
    shown = (
      f', classes {", ".join(provenance.show(known[c]) for c in chosen[:20])}' if known else ''
    )
  if form in ('strip', 'gif'):
    rows = interpolate(rows, method.num_classes)
    columns = len(jax.tree.leaves(rows)[0])
  field = span.fields[method.makes]
  one = f'-seed{SEED_INDEX.value}' if run.config.seeds > 1 else ''
  classes = f'-classes{_short(CLASSES.value)}' if CLASSES.value else ''
  of = f'-of-{_short(Path(SOURCE.value).stem)}' if SOURCE.value else ''
  told = f'-{_short(",".join(OPTIONS.value))}' if options else ''
  file = f'{form}-{step:08}{one}-seeds{_short(SEEDS.value)}{classes}{of}{told}{ENDINGS[form]}'
  out = Path(OUT.value) if OUT.value else workdir / 'generated' / file
  about = experiment.about(run, SEED_INDEX.value) | ({'options': options} if options else {})
  text = lambda seed: images.describe(run.config.name, step, seed, **about)
  what = 'pictures' if field.kind == 'image' else f'{field.kind}s'
  if keep_size:
    translator = Translator(method, stage, state, options, span.fields, mesh)
    count = write_each(out, translator, mine, indices, names, text)
  else:
    samples = sampler.generate(stage, state, rows, batch_size=BATCH.value, kind=field.kind, **how)
    labels, count = rows['label'] if method.num_classes else None, len(samples)
    write(out, form, samples, field, names, labels, columns, text)
  print(
    f'{out}: {count} {what}, step {step}, {weights} weights, {BATCH_NORM.value} batch statistics{shown}'
  )
  return int(count < len(names))


def _source(run, span):
  """(the data that samples start from, or None for a method that takes none; the user's own pictures, or None)."""
  if not run.method.examples:
    if SOURCE.value:
      raise UserError(f'--source={SOURCE.value}: samples of this run start from seeds alone')
    return None, None
  if SOURCE.value:
    name, mine = own.field(span.fields, run.method.examples), own.find(SOURCE.value)
    return mine.source(span.fields[name], name), mine
  return run.held_out(span), None


def _keeps_size(method) -> bool:
  """Whether samples are files of the sizes of the user's own pictures."""
  files = FORMAT.value == 'files' or (method.restores and not FORMAT.present)
  keeps = bool(SOURCE.value and files and (method.restores or KEEP_SIZE.value))
  if KEEP_SIZE.value and not (keeps and method.multiple):
    raise UserError(
      '--keep_size is for --source with --format files, of runs whose networks take pictures of any size'
    )
  return keeps


def _short(text):
  """A part of a file's name: what was typed, and of what is too long for one the beginning and a digest."""
  text = re.sub(r'[^\w.,+-]+', '_', text)
  return (
    text if len(text) <= 80 else f'{text[:60]}...{hashlib.sha256(text.encode()).hexdigest()[:8]}'
  )


def in_classes(rows, seeds, chosen):
  """(latents of every seed in each of the classes `chosen`, class by class; (file's name, seed and class) of each)."""
  rows = jax.tree.map(lambda x: np.concatenate([x] * len(chosen)), rows)
  rows['label'] = np.repeat(chosen, len(seeds)).astype(np.int32)
  names = [(f'seed{s:06}-class{c:04}', f'{s}, class {c}') for c in chosen for s in seeds]
  return rows, names


def interpolate(rows, num_classes):
  """Rows from each to the next; a gif goes on to the first again.

  Latents [n, Z] move along great circles; labels become weights of the classes, and these and all else move in a
  straight line.
  """
  count = len(jax.tree.leaves(rows)[0])
  if count < 2:
    raise UserError('--format strip and gif need at least two seeds or classes')
  closed = FORMAT.value == 'gif'
  ends = np.append(np.arange(1, count), 0)
  t = np.arange(FRAMES.value) / FRAMES.value

  def straight(a, b, t):
    t = t.reshape(-1, *[1] * (a.ndim - 1))
    return (1 - t) * a + t * b

  def path(where, x):
    if getattr(where[-1] if where else None, 'key', None) == 'label':
      x = np.eye(num_classes, dtype=np.float32)[x]
      mix = straight
    else:
      mix = latents.slerp if x.ndim == 2 and x.shape[1] > 1 else straight
    legs = [mix(x[i][None], x[ends[i]][None], t) for i in range(count if closed else count - 1)]
    return np.concatenate([*legs, *([] if closed else [x[-1:]])]).astype(x.dtype)

  return jax.tree_util.tree_map_with_path(path, rows)


class Translator(NamedTuple):
  """What a run makes of a picture of any size."""

  method: object
  stage: object
  state: object
  options: dict
  fields: dict
  mesh: object

  def translate(self, picture, seed) -> np.ndarray:
    """own.Picture -> uint8 [H, W, C], with its alpha if it has one."""
    (name,) = self.method.examples

    def make(colours):
      examples = sampler.to_floats({name: colours[None]}, self.fields)
      rows = jax.device_get(self.method.rows(np.array([seed]), examples, **self.options))
      return sampler.start(self.stage, self.state, rows, train=BATCH_NORM.value == 'batch')[0]

    with jax.set_mesh(self.mesh):
      made = tiles.enlarge(make, picture.colours, multiple=self.method.multiple, tile=TILE.value)
    made = media.find('image').to_stored(made)
    if picture.grey and self.method.restores:
      made = own.to_grey(made)
    if picture.alpha is None:
      return made
    factor = made.shape[0] / picture.alpha.shape[0]
    alpha = np.asarray(resize_bicubic(picture.alpha[None].astype(np.float32), factor))[0]
    return np.concatenate([made, np.clip(np.round(alpha), 0, 255).astype(np.uint8)], 2)


def write_each(out, translator, mine, indices, names, text) -> int:
  """Writes a file of each of the user's own pictures, one by one; returns how many could be decoded.

  A single picture may be written to a file that is named.
  """
  (name,) = translator.method.examples
  if out.suffix and len(names) > 1:
    raise UserError(f'--out={out}: {len(names)} pictures need a folder')
  began = said = time.monotonic()
  count = 0
  for i, (index, (stem, seed)) in enumerate(zip(indices, names)):
    try:
      picture = mine.load(index, translator.fields[name].shape[2])
    except UserError as error:
      print(f'left out: {error}', file=sys.stderr)
      continue
    path = out if out.suffix else out / f'{stem}.png'
    _make_folder(path.parent)
    images.save_png(path, translator.translate(picture, seed), text(seed))
    count += 1
    now = time.monotonic()
    if now - said > 10 and i + 1 < len(names):
      left = (now - began) / (i + 1) * (len(names) - i - 1)
      print(f'{i + 1} of {len(names)} pictures, {left:.0f} s left')
      said = now
  if not count:
    raise UserError(f'--source={SOURCE.value} holds no picture that can be decoded')
  return count


def write(out, form, samples, field, names, labels, columns, text):
  everything = text(SEEDS.value + (f', classes {CLASSES.value}' if CLASSES.value else ''))
  _make_folder(out if form == 'files' else out.parent)
  if form == 'files':
    kind = media.find(field.kind)
    for (name, seed), sample in zip(names, samples):
      kind.save(out / f'{name}{kind.ENDING}', sample, text(seed), field.rate)
  elif form == 'npz':
    images.save_npz(out, samples, everything, labels)
  elif form == 'gif':
    images.save_gif(out, grid.show(samples, field), everything)
  else:
    images.save_png(out, images.grid(grid.show(samples, field), columns), everything)


def _make_folder(path):
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}') from None


if __name__ == '__main__':
  configs.run(main)
