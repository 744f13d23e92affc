"""Pictures from a run: python sample.py --workdir runs/dcgan [--seeds 0-35] [--format grid|png|npz|strip|gif]

The same seed gives the same picture on any number of devices. A picture is synthetic, and says so in its metadata.
"""

from pathlib import Path

import jax
import numpy as np
from absl import flags

from ganjax import UserError, checkpoint, experiment, images, latents, parallel, sampler
from ganjax import config as configs
from ganjax.update import averaged

WORKDIR = flags.DEFINE_string('workdir', None, 'The run.')
OUT = flags.DEFINE_string(
  'out', None, 'File or folder to write; by default below WORKDIR/generated.'
)
SEEDS = flags.DEFINE_string(
  'seeds', '0-63', 'Such as 0-35 or 3,7,10-12; one picture each (50,000 images: 0-49999).'
)
FORMAT = flags.DEFINE_enum(
  'format',
  'grid',
  ['grid', 'png', 'npz', 'strip', 'gif'],
  'strip and gif interpolate from seed to seed.',
)
SEED_INDEX = flags.DEFINE_integer('seed_index', 0, 'Which of config.seeds trained together.')
STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint; the newest by default.')
WEIGHTS = flags.DEFINE_enum(
  'weights', 'ema', ['ema', 'raw'], 'Averaged weights, where the run keeps them, or raw ones.'
)
BATCH_NORM = flags.DEFINE_enum(
  'batch_norm', 'running', sampler.BATCH_NORM_MODES, 'Statistics that normalise.'
)
FRAMES = flags.DEFINE_integer('frames', 8, 'Pictures from one seed to the next, for strip and gif.')
BATCH = flags.DEFINE_integer('batch', 64, 'Pictures at a time.')


def main():
  if WORKDIR.value is None:
    raise UserError('--workdir is missing: the folder of a run, such as --workdir runs/dcgan')
  if min(FRAMES.value, BATCH.value) < 1:
    raise UserError('--frames and --batch must be at least 1')
  workdir, seeds = Path(WORKDIR.value), sampler.parse_seeds(SEEDS.value)
  run = experiment.load(workdir)
  parallel.start()
  mesh = parallel.make_mesh(jax.local_devices())
  state, step, meta = checkpoint.read(workdir, STEP.value)
  # A config.json that was edited since would misread the checkpoint.
  configs.compare(run.config, meta['config'])
  state = experiment.to_state(run, state, mesh, SEED_INDEX.value)
  weights = 'ema' if WEIGHTS.value == 'ema' and state.ema else 'raw'
  state = averaged(state) if weights == 'ema' else state
  stage = run.span_at(step).stage
  work = dict(mesh=mesh, batch_size=BATCH.value, batch_norm=BATCH_NORM.value)
  state = sampler.prepare(stage, state, run.method, **work)

  rows = jax.device_get(run.method.latents(seeds))
  if FORMAT.value in ('strip', 'gif'):
    rows = interpolate(rows, seeds)
  pictures = sampler.generate(stage, state, rows, **work)

  suffix = {'png': '', 'npz': '.npz', 'gif': '.gif'}.get(FORMAT.value, '.png')
  one = f'-seed{SEED_INDEX.value}' if run.config.seeds > 1 else ''
  default = workdir / 'generated' / f'{FORMAT.value}-{step:08}{one}-seeds{SEEDS.value}{suffix}'
  out = Path(OUT.value) if OUT.value else default
  about = experiment.seed_info(run, SEED_INDEX.value)
  write(out, pictures, seeds, run.config.name, step, about)
  print(
    f'{out}: {len(pictures)} pictures, step {step}, {weights} weights, {BATCH_NORM.value} batch statistics'
  )


def interpolate(rows, seeds):
  """Latents along great circles from each seed to the next; a gif goes on to the first again."""
  if len(seeds) < 2:
    raise UserError('--format strip and gif need at least two seeds')
  ends = np.append(np.arange(1, len(seeds)), 0)
  legs = len(seeds) if FORMAT.value == 'gif' else len(seeds) - 1
  t = np.arange(FRAMES.value) / FRAMES.value
  path = lambda z: [latents.slerp(z[i][None], z[ends[i]][None], t) for i in range(legs)]
  last = lambda z: [] if FORMAT.value == 'gif' else [z[-1:]]
  return jax.tree.map(lambda z: np.concatenate([*path(z), *last(z)]), rows)


def write(out, pictures, seeds, name, step, about):
  text = lambda seed: images.describe(name, step, seed, **about)
  try:
    (out if FORMAT.value == 'png' else out.parent).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write {out}: {error.strerror}') from None
  if FORMAT.value == 'png':
    for seed, picture in zip(seeds, pictures):
      images.save_png(out / f'seed{seed:06}.png', picture, text(int(seed)))
  elif FORMAT.value == 'npz':
    images.save_npz(out, pictures, text(SEEDS.value))
  elif FORMAT.value == 'gif':
    images.save_gif(out, pictures, text(SEEDS.value))
  else:
    columns = FRAMES.value * (len(seeds) - 1) + 1 if FORMAT.value == 'strip' else None
    images.save_png(out, images.grid(pictures, columns), text(SEEDS.value))


if __name__ == '__main__':
  configs.run(main)
