"""Mode collapse on mixtures of Gaussians: python benchmarks/mixtures.py --workdir W [--methods gan,pacgan2,...]

Trains each method on a ring of 8 and a grid of 25 Gaussians, 10 seeds together in one program, and prints how many
modes their generators have found, how many samples are of high quality, and the reverse KL: mean and deviation over the
seeds. The protocol is that of VEEGAN (arXiv:1705.07761, section 4.1) and PacGAN (arXiv:1712.04086, section 4.1): 2,500
samples, high quality within 3 standard deviations; the row `real` is of samples of the mixture itself.
`W/results.json` keeps what is done; a method that was killed while it trained begins anew, which takes a minute or two.
`W/mixtures.png` shows samples of seed 0.

Networks and budget are ours, the same for all methods. PacGAN's code (github.com/fjxmlzn/PacGAN, folder
synthetic_data_experiments) has 4 layers of 400 units in G, 3 layers of 200 maxout units of 5 pieces in D, batches of
100 packs, and trains for 400 epochs of 100,000 packs, 400,000 steps, at a constant rate of 1e-4. A batch of 96 points
makes 96 / m packs, so PacGAN-m judges fewer things the larger m is, and has not converged on the grid when the budget
ends: few samples of high quality, an even balance (docs/mixtures.png).
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))

import flax.linen as nn
import jax
import jax.numpy as jnp
import jobs
import numpy as np
from matplotlib.figure import Figure

from ganjax import UserError, seeds
from ganjax.devices import processes, sharding
from ganjax.layers.norm import BatchNorm
from ganjax.layers.spectral import SpectralNorm
from ganjax.method import name_nets, spans
from ganjax.methods import gan
from ganjax.metrics.modes import mixture_modes
from ganjax.networks.mlp import between
from ganjax.optim import optimizers as optim
from ganjax.update import active, init, make_update
from ganjax.workdir.files import replace_file, write_json

# The budget of all methods: so many updates of D and of G, on 96 real points and 96 fakes each.
STEPS = 6000
BATCH_SIZE = 96  # that 2, 3 and 4 divide
WIDTH, LAYERS = 64, 3
Z_DIM = 2
NUM = 2500
ADAM = dict(lr=1e-3, b1=0.8, b2=0.999, decay='linear')
NOTE = (
  f'{BATCH_SIZE} real points a step, an update of D and one of G, Adam at {ADAM["lr"]:g} falling to 0, {LAYERS} layers'
  f' of {WIDTH} units;\nPacGAN took 400,000 steps of 100 packs at 1e-4 and layers of 400 and 200 units'
)
# Networks see points in units in which no mean is beyond this. A layer's kinks must lie among the data from the start:
# in a few thousand steps biases that begin at 0 do not move there, nor do weights grow to make up for smaller units.
SPAN = 4.0

CIRCLE = np.arange(8) * np.pi / 4
# Name -> (means [modes, 2], standard deviation in each direction).
MIXTURES = {
  'ring': (np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], 1), 0.01),
  'grid': (np.stack(np.meshgrid(*[np.arange(-4, 5, 2)] * 2), -1).reshape(-1, 2), 0.05),
}
# Method -> arguments of methods/gan.py; sngan's D has spectral norm too. WGAN-GP's weight is that of its authors' toy
# (github.com/igul222/improved_wgan_training, gan_toy.py), which has 5 updates of D a step; R3GAN's is ours.
METHODS = {
  'gan': {},
  'pacgan2': {'packing': 2},
  'pacgan3': {'packing': 3},
  'pacgan4': {'packing': 4},
  'wgan_gp': {'loss': 'wasserstein', 'penalties': {'gradient_penalty': 0.1}},
  'sngan': {'loss': 'hinge'},
  'r3gan': {'loss': 'relativistic', 'penalties': {'r1': 0.1, 'r2': 0.1}},
}


class Generator(nn.Module):
  """z [B, Z] -> points [B, 1, 1, 2]: rectified linear units behind batch norm, as PacGAN's."""

  @nn.compact
  def __call__(self, z, label=None, *, train: bool):
    for _ in range(LAYERS):
      z = nn.relu(BatchNorm()(nn.Dense(WIDTH, use_bias=False)(z), train=train))
    return nn.Dense(2)(z).reshape(-1, 1, 1, 2)


class Discriminator(nn.Module):
  """Packs of m points [B, 1, 1, 2 m] -> logits [B]: leaky rectified linear units."""

  spectral: bool

  @nn.compact
  def __call__(self, x, label=None, *, train: bool):
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    x = x.reshape(len(x), -1)
    for _ in range(LAYERS):
      x = nn.leaky_relu(wrap(nn.Dense(WIDTH, bias_init=between(SPAN)))(x), 0.2)
    return wrap(nn.Dense(1))(x)[:, 0]


def draw(mixture, n: int, *seed):
  """n points of a mixture, float32 [n, 2]; the same for the same seed."""
  means, std = MIXTURES[mixture]
  rng = np.random.default_rng(seed)
  points = means[rng.integers(0, len(means), n)] + std * rng.normal(size=(n, 2))
  return points.astype(np.float32)


def scale(mixture) -> float:
  """What a mixture's points are multiplied by for the networks."""
  return float(SPAN / abs(MIXTURES[mixture][0]).max())


def train(method, mixture, steps, count):
  """Samples [count, NUM, 2] of generators of seeds 0 to count - 1, trained together on the same points."""
  nets = name_nets({'G': Generator(), 'D': Discriminator(method == 'sngan')})
  made = gan.build(nets, z_dim=Z_DIM, **METHODS[method])
  (span,) = spans(made, steps, BATCH_SIZE)
  optimizers = optim.build({'G': ADAM, 'D': ADAM}, made.phases, steps)
  update, mesh = make_update(made, span, optimizers), sharding.make_mesh(jax.devices()[:1])
  keys = jnp.stack([jax.random.key(seed) for seed in range(count)])
  images = lambda step: {'image': scale(mixture) * draw(mixture, BATCH_SIZE, step)[:, None, None]}
  with jax.set_mesh(mesh):
    state = jax.jit(lambda keys: init(made, optimizers, keys, images(0)))(keys)
    state = sharding.replicate(state, mesh)
    for step in range(steps):
      batch = sharding.place_batch(images(step), mesh)
      state, _ = update(state, (batch,), {}, phases=active(span.stage, step))
    sample = lambda state, z: span.stage.sample(state, z, train=False)[0]
    points = jax.jit(lambda *args: seeds.each(sample, *args))(state, made.rows(np.arange(NUM), {}))
  return np.asarray(points).reshape(count, NUM, 2) / scale(mixture)


def measure(samples, mixture) -> dict:
  """{'modes', 'quality', 'kl'}: lists of a figure for each of samples [seeds, N, 2], see `mixture_modes`."""
  found = [mixture_modes(points, *MIXTURES[mixture]) for points in samples]
  return dict(zip(('modes', 'quality', 'kl'), map(list, zip(*found))))


def table(results, mixture, methods) -> str:
  """The rows of one mixture: mean and deviation over the seeds."""
  lines = [
    f'{mixture} of {len(MIXTURES[mixture][0])} modes',
    f'  {"method":<10}{"modes":>16}{"% high quality":>18}{"reverse KL":>18}{"steps":>8}{"seeds":>7}{"seconds":>9}',
  ]
  for method in ['real', *methods]:
    row = results.get(f'{mixture}-{method}')
    if not row:
      continue

    def shown(name, digits, times=1, row=row):
      values = [times * value for value in row[name]]
      spread = f' +- {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
      return f'{statistics.mean(values):.{digits}f}{spread}'

    lines.append(
      f'  {method:<10}{shown("modes", 1):>16}{shown("quality", 1, 100):>18}{shown("kl", 3):>18}'
      f'{row["steps"] or "":>8}{row["seeds"]:>7}{row["seconds"]:>9.0f}'
    )
  return '\n'.join(lines)


def picture(path, shown):
  """Draws {mixture: {method: points [N, 2]}}, a row for each mixture, with crosses at the means."""
  columns = max(map(len, shown.values()))
  figure = Figure((1.7 * columns, 1.8 * len(shown)), layout='constrained')
  axes = figure.subplots(len(shown), columns, squeeze=False)
  for row, (mixture, methods) in zip(axes, shown.items()):
    means, _ = MIXTURES[mixture]
    side = 1.4 * abs(means).max()
    for axis in row:
      axis.set_axis_off()
    for axis, (method, points) in zip(row, methods.items()):
      axis.scatter(*means.T, s=12, c='tab:orange', marker='+', linewidths=0.6)
      axis.scatter(*points.T, s=1, c='black', alpha=0.3, linewidths=0)
      axis.set(xlim=(-side, side), ylim=(-side, side), aspect='equal', title=f'{mixture}: {method}')
      axis.title.set_fontsize(8)
  with replace_file(path) as file:
    figure.savefig(file, format='png', dpi=100)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--workdir', required=True, type=jobs.folder)
  parser.add_argument('--methods', default=','.join(METHODS))
  parser.add_argument('--mixtures', default=','.join(MIXTURES))
  parser.add_argument('--steps', type=int, default=STEPS)
  parser.add_argument('--seeds', type=int, default=10, help='trained together')
  args = parser.parse_args()
  workdir, methods, mixtures = args.workdir, args.methods.split(','), args.mixtures.split(',')
  unknown = sorted({*methods} - METHODS.keys() | {*mixtures} - MIXTURES.keys())
  if unknown:
    raise UserError(
      f'{", ".join(unknown)}: methods are {", ".join(METHODS)}, mixtures {", ".join(MIXTURES)}'
    )
  processes.start()
  workdir.mkdir(parents=True, exist_ok=True)
  kept, failed = workdir / 'results.json', []
  results = json.loads(kept.read_text()) if kept.exists() else {}
  budget = {'steps': args.steps, 'seeds': args.seeds}
  for mixture in mixtures:
    samples = np.stack([draw(mixture, NUM, seed, 1) for seed in range(args.seeds)])
    real = {'steps': 0, 'seeds': args.seeds, 'seconds': 0, **measure(samples, mixture)}
    results[f'{mixture}-real'] = real
    for method in methods:
      name, then = f'{mixture}-{method}', time.perf_counter()
      if budget.items() <= results.get(name, {}).items():
        continue
      samples = train(method, mixture, args.steps, args.seeds)
      try:
        row = measure(samples, mixture)
      except UserError as error:
        failed.append(f'{name} has no row: {error}')
        continue
      with replace_file(workdir / f'{name}.npy') as file:
        np.save(file, samples[0])
      results[name] = {**budget, 'seconds': time.perf_counter() - then, **row}
      write_json(kept, results)
      print(f'{name}: {statistics.mean(row["modes"]):.1f} modes', flush=True)
  shown = {
    mixture: {'real': draw(mixture, NUM, 0, 1)}
    | {
      method: np.load(workdir / f'{mixture}-{method}.npy')
      for method in methods
      if f'{mixture}-{method}' in results
    }
    for mixture in mixtures
  }
  picture(workdir / 'mixtures.png', shown)
  print('\n'.join([*(table(results, mixture, methods) for mixture in mixtures), NOTE, *failed]))
  return 1 if failed else 0


if __name__ == '__main__':
  try:
    sys.exit(main())
  except UserError as error:
    sys.exit(f'error: {error}')
