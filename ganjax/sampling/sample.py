"""Samples from a run: ganjax sample --workdir runs/dcgan [--seeds 0-35] [--format grid|files|npz|strip|gif]

The same seed gives the same sample on any number of devices. A sample is synthetic, and says so in its metadata.
Samples of a run that translates start from pictures: those of --source, else sample n from picture n of the held-out
split of its data.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__)
WORKDIR = COMMAND.string('workdir', None, 'The run.')
OUT = COMMAND.string('out', None, 'File or folder to write; by default below WORKDIR/generated.')
SEEDS = COMMAND.string(
  'seeds', '0-63', 'Such as 0-35 or 3,7,10-12; one sample each (50,000 images: 0-49999).'
)
SOURCE = COMMAND.string('source', None, 'Picture, folder or zip archive to start from.')
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
from pathlib import Path

import jax
import numpy as np

from ganjax import UserError, experiment, media
from ganjax import config as configs
from ganjax.data import provenance
from ganjax.devices import processes, sharding
from ganjax.media import image as images
from ganjax.sampling import grid, latents, own, sampler

# What each format writes; files writes a folder.
ENDINGS = {'grid': '.png', 'strip': '.png', 'files': '', 'npz': '.npz', 'gif': '.gif'}


def main():
  if WORKDIR.value is None:
    raise UserError('--workdir is missing: the folder of a run, such as --workdir runs/dcgan')
  if min(FRAMES.value, BATCH.value) < 1:
    raise UserError('--frames and --batch must be at least 1')
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
  stage, (source, own_names) = span.stage, _source(run, span)
  if SOURCE.value and not SEEDS.present:
    seeds = np.arange(source.num_examples)
  else:
    seeds = sampler.parse_seeds(SEEDS.value)
  how = dict(mesh=mesh, batch_norm=BATCH_NORM.value)
  state = sampler.prepare(stage, state, method, source=source, **how)

  # A picture of one's own is taken for each seed that has one; seeds beyond the data start again.
  indices = seeds % source.num_examples if source else None
  rows = sampler.rows(method, seeds, source, indices, **options)
  names, columns, shown = [(f'seed{seed:06}', int(seed)) for seed in seeds], None, ''
  if SOURCE.value:
    # Of seeds beyond the last picture the first comes again: the file says which seed it is.
    again = '' if len(seeds) <= source.num_examples else '-seed{:06}'
    names = [(own_names[i] + again.format(int(seed)), int(seed)) for i, seed in zip(indices, seeds)]
  if CLASSES.value:
    known = provenance.class_names(experiment.newest(configs.load_json(workdir / 'config.json')))
    chosen = sampler.parse_classes(CLASSES.value, method.num_classes, known)
    rows, names = in_classes(rows, seeds, chosen)
    columns = len(seeds)
    shown = (
      f', classes {", ".join(provenance.show(known[c]) for c in chosen[:20])}' if known else ''
    )
  if FORMAT.value in ('strip', 'gif'):
    rows = interpolate(rows, method.num_classes)
    columns = len(jax.tree.leaves(rows)[0])
  field = span.fields[method.makes]
  samples = sampler.generate(stage, state, rows, batch_size=BATCH.value, kind=field.kind, **how)

  one = f'-seed{SEED_INDEX.value}' if run.config.seeds > 1 else ''
  classes = f'-classes{_short(CLASSES.value)}' if CLASSES.value else ''
  of = f'-of-{_short(Path(SOURCE.value).stem)}' if SOURCE.value else ''
  told = f'-{_short(",".join(OPTIONS.value))}' if options else ''
  file = f'{FORMAT.value}-{step:08}{one}-seeds{_short(SEEDS.value)}{classes}{of}{told}{ENDINGS[FORMAT.value]}'
  out = Path(OUT.value) if OUT.value else workdir / 'generated' / file
  labels = rows['label'] if method.num_classes else None
  about = experiment.about(run, SEED_INDEX.value) | ({'options': options} if options else {})
  text = lambda seed: images.describe(run.config.name, step, seed, **about)
  write(out, samples, field, names, labels, columns, text)
  what = 'pictures' if field.kind == 'image' else f'{field.kind}s'
  print(
    f'{out}: {len(samples)} {what}, step {step}, {weights} weights, {BATCH_NORM.value} batch statistics{shown}'
  )


def _source(run, span):
  """(the data that samples start from, or None for a method that takes none; names of the user's own pictures)."""
  if not run.method.examples:
    if SOURCE.value:
      raise UserError(f'--source={SOURCE.value}: samples of this run start from seeds alone')
    return None, ()
  if SOURCE.value:
    return own.pictures(SOURCE.value, span.fields, run.method.examples)
  return run.held_out(span), ()


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


def write(out, samples, field, names, labels, columns, text):
  everything = text(SEEDS.value + (f', classes {CLASSES.value}' if CLASSES.value else ''))
  try:
    (out if FORMAT.value == 'files' else out.parent).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {out}: {error.strerror}') from None
  if FORMAT.value == 'files':
    kind = media.find(field.kind)
    for (name, seed), sample in zip(names, samples):
      kind.save(out / f'{name}{kind.ENDING}', sample, text(seed), field.rate)
  elif FORMAT.value == 'npz':
    images.save_npz(out, samples, everything, labels)
  elif FORMAT.value == 'gif':
    images.save_gif(out, grid.show(samples, field), everything)
  else:
    images.save_png(out, images.grid(grid.show(samples, field), columns), everything)


if __name__ == '__main__':
  configs.run(main)
