"""Pictures from a run: ganjax sample --workdir runs/dcgan [--seeds 0-35] [--format grid|png|npz|strip|gif]

The same seed gives the same picture on any number of devices. A picture is synthetic, and says so in its metadata.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__)
WORKDIR = COMMAND.string('workdir', None, 'The run.')
OUT = COMMAND.string('out', None, 'File or folder to write; by default below WORKDIR/generated.')
SEEDS = COMMAND.string(
  'seeds', '0-63', 'Such as 0-35 or 3,7,10-12; one picture each (50,000 images: 0-49999).'
)
FORMAT = COMMAND.choice(
  'format',
  'grid',
  ['grid', 'png', 'npz', 'strip', 'gif'],
  'strip and gif interpolate from seed to seed.',
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
BATCH = COMMAND.integer('batch', 64, 'Pictures at a time.')

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import hashlib
import re
from pathlib import Path

import jax
import numpy as np

from ganjax import UserError, experiment
from ganjax import config as configs
from ganjax.data import provenance
from ganjax.devices import processes, sharding
from ganjax.media import image as images
from ganjax.sampling import latents, sampler

# What each format writes; png writes a folder of pictures.
ENDINGS = {'grid': '.png', 'strip': '.png', 'png': '', 'npz': '.npz', 'gif': '.gif'}


def main():
  if WORKDIR.value is None:
    raise UserError('--workdir is missing: the folder of a run, such as --workdir runs/dcgan')
  if min(FRAMES.value, BATCH.value) < 1:
    raise UserError('--frames and --batch must be at least 1')
  if OUT.value and FORMAT.value != 'png':
    commandline.check_ending(OUT, ENDINGS[FORMAT.value], f'--format {FORMAT.value}')
  workdir, seeds = Path(WORKDIR.value), sampler.parse_seeds(SEEDS.value)
  processes.start()
  run = experiment.load(workdir)
  mesh = sharding.make_mesh(jax.local_devices())
  which = dict(step=STEP.value, weights=WEIGHTS.value, seed_index=SEED_INDEX.value)
  state, step, weights = experiment.read_generator(run, workdir, mesh, **which)
  stage = run.stage_after(step)
  how = dict(mesh=mesh, batch_norm=BATCH_NORM.value)
  state = sampler.prepare(stage, state, run.method, **how)

  rows = jax.device_get(run.method.latents(seeds))
  names, columns, shown = [(f'seed{seed:06}', int(seed)) for seed in seeds], None, ''
  if CLASSES.value:
    known = provenance.class_names(experiment.newest(configs.load_json(workdir / 'config.json')))
    chosen = sampler.parse_classes(CLASSES.value, run.method.num_classes, known)
    rows, names = in_classes(rows, seeds, chosen)
    columns = len(seeds)
    shown = (
      f', classes {", ".join(provenance.show(known[c]) for c in chosen[:20])}' if known else ''
    )
  if FORMAT.value in ('strip', 'gif'):
    rows = interpolate(rows, run.method.num_classes)
    columns = len(jax.tree.leaves(rows)[0])
  pictures = sampler.generate(stage, state, rows, batch_size=BATCH.value, **how)

  one = f'-seed{SEED_INDEX.value}' if run.config.seeds > 1 else ''
  classes = f'-classes{_short(CLASSES.value)}' if CLASSES.value else ''
  file = f'{FORMAT.value}-{step:08}{one}-seeds{_short(SEEDS.value)}{classes}{ENDINGS[FORMAT.value]}'
  out = Path(OUT.value) if OUT.value else workdir / 'generated' / file
  labels = rows['label'] if run.method.num_classes else None
  about = experiment.about(run, SEED_INDEX.value)
  text = lambda seed: images.describe(run.config.name, step, seed, **about)
  write(out, pictures, names, labels, columns, text)
  print(
    f'{out}: {len(pictures)} pictures, step {step}, {weights} weights, {BATCH_NORM.value} batch statistics{shown}'
  )


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
  """Latents from each row to the next; a gif goes on to the first again.

  z moves along great circles; labels become weights of the classes, which pass from one to the other in step with z.
  """
  count = len(jax.tree.leaves(rows)[0])
  if count < 2:
    raise UserError('--format strip and gif need at least two seeds or classes')
  closed = FORMAT.value == 'gif'
  ends = np.append(np.arange(1, count), 0)
  t = np.arange(FRAMES.value) / FRAMES.value

  def path(x, mix):
    legs = [mix(x[i][None], x[ends[i]][None], t) for i in range(count if closed else count - 1)]
    return np.concatenate([*legs, *([] if closed else [x[-1:]])])

  def weights(a, b, t):
    return (1 - t[:, None]) * a + t[:, None] * b

  if not num_classes:
    return path(rows, latents.slerp)
  label = np.eye(num_classes, dtype=np.float32)[rows['label']]
  return {'z': path(rows['z'], latents.slerp), 'label': path(label, weights)}


def write(out, pictures, names, labels, columns, text):
  everything = text(SEEDS.value + (f', classes {CLASSES.value}' if CLASSES.value else ''))
  try:
    (out if FORMAT.value == 'png' else out.parent).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {out}: {error.strerror}') from None
  if FORMAT.value == 'png':
    for (own, seed), picture in zip(names, pictures):
      images.save_png(out / f'{own}.png', picture, text(seed))
  elif FORMAT.value == 'npz':
    images.save_npz(out, pictures, everything, labels)
  elif FORMAT.value == 'gif':
    images.save_gif(out, pictures, everything)
  else:
    images.save_png(out, images.grid(pictures, columns), everything)


if __name__ == '__main__':
  configs.run(main)
