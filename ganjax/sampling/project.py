"""Projects your own picture into the latent space: ganjax project runs/faces --source me.png [--space w+]

It searches for the styles w from which a StyleGAN makes the picture. It writes an .npz with the styles, which `ganjax
sample --styles` reads. Next to it are a .png, each picture and its projection, and a .gif of the optimisation.
"""

from ganjax import commandline

COMMAND = commandline.Command(__doc__, 'RUN')
WORKDIR = COMMAND.string('workdir', None, 'The run, instead of RUN.')
SOURCE = COMMAND.string('source', None, 'Your picture, or a folder or zip archive of pictures.')
OUT = COMMAND.string('out', None, 'The .npz file; by default in RUN/generated.')
SPACE = COMMAND.choice(
  'space',
  'w',
  ['w', 'w+'],
  'w: one style for all layers; w+: one for each layer, closer to the picture.',
)
DISTANCE = COMMAND.string(
  'distance',
  'lpips_vgg16',
  'The loss: lpips_vgg16 (published; 528 MB of weights), lpips_alex, efficientnet_lite0 (fast on a CPU), or pixels.',
)
STEPS = COMMAND.integer('steps', 1000, 'Steps of the optimisation.')
SEED = COMMAND.integer('seed', 303, 'Seed of the noise on w.')
SEED_INDEX = COMMAND.integer(
  'seed_index', 0, 'Index of the seed, for runs that train several seeds.'
)
STEP = COMMAND.integer('step', None, 'Step of the checkpoint; by default the newest.')
WEIGHTS = COMMAND.choice(
  'weights', 'ema', ['ema', 'raw'], 'Averaged weights, if the run keeps them, or raw ones.'
)

if __name__ == '__main__':  # before the slow imports
  COMMAND.parse()

import json
from pathlib import Path

import jax
import numpy as np

from ganjax import UserError, experiment, run_state
from ganjax import config as configs
from ganjax.devices import processes, sharding
from ganjax.media import image as images
from ganjax.metrics import perceptual
from ganjax.sampling import own, projection, sampler
from ganjax.workdir.files import replace_file

FILMED = 50  # pictures of a course
HELD = 10  # times that the GIF shows the last


def main() -> None:
  if SOURCE.value is None:
    raise UserError('--source is missing, such as --source me.png')
  if STEPS.value < 1:
    raise UserError(f'--steps={STEPS.value} must be at least 1')
  sampler.check_seeds(SEED.value, f'--seed={SEED.value}')
  if OUT.value:
    commandline.check_ending(OUT, '.npz', 'ganjax project')
  place = COMMAND.run(WORKDIR)
  processes.start()
  run = experiment.load(place)
  method = run.method
  if not method.styles:
    raise UserError(
      f'{place} has no styles w, which StyleGANs have: ganjax project cannot search for them'
    )
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  which = dict(step=STEP.value, weights=WEIGHTS.value, seed_index=SEED_INDEX.value)
  state, step, weights = run_state.read_generator(run, place, mesh, **which)
  span = run.span_at(step - 1)
  mine, field = own.find(SOURCE.value), span.fields[own.field(span.fields, (method.makes,))]
  source, names = mine.source(field, method.makes), mine.names
  pictures = source.read(np.arange(len(names)), [method.makes])[method.makes]
  measure = perceptual.distance(DISTANCE.value)
  file = f'project-{step:08}-of-{Path(SOURCE.value).stem}-{SPACE.value}.npz'
  out = Path(OUT.value).with_suffix('.npz') if OUT.value else run_state.generated(place, file)
  images.make_folder(out.parent)

  def write(found):
    about = run_state.about(run, SEED_INDEX.value) | measure.info
    about |= {'source': names[: len(found)], 'space': SPACE.value, 'steps': STEPS.value}
    about |= {'start': [one.start for one in found], 'end': [one.end for one in found]}
    about = images.describe(run.config.name, step, SEED.value, **about)
    with replace_file(out) as file:
      np.savez(file, w=np.stack([one.w for one in found]), metadata=np.array(json.dumps(about)))
    courses = np.stack([images.to_stored(one.course) for one in found], 1)
    frames = [_beside(pictures[: len(found)], x) for x in courses]
    images.save_png(out.with_suffix('.png'), frames[-1], about)
    images.save_gif(out.with_suffix('.gif'), frames + frames[-1:] * HELD, about, 100)

  found = []
  with jax.set_mesh(mesh):
    for name, picture in zip(names, pictures):
      say = lambda line, name=name: print(f'{name}  {line}', flush=True)
      how = dict(space=SPACE.value, steps=STEPS.value, seed=SEED.value, shown=FILMED, say=say)
      found.append(projection.project(method, span.stage, state, picture, measure, **how))
      write(found)  # after each, as each takes minutes
  print(
    f'{out}: {len(found)} pictures, step {step}, {weights} weights; '
    f'ganjax sample {place} --styles {out} shows them'
  )


def _beside(pictures, made):
  """One picture, a row each: the picture, and what was made."""
  return images.grid(np.stack([pictures, made], 1).reshape(-1, *made.shape[1:]), 2)


if __name__ == '__main__':
  configs.run(main)
