"""Six GANs on CIFAR-10 at one small budget: python benchmarks/cifar.py --workdir W [--data_dir DIR] [--methods a,b]

Narrow networks and about the same time for each (see METHODS), then Frechet distance and KID on EfficientNet-Lite0 of
2,000 fakes against 10,000 training images, with 2,000 test images as the floor. W/samples.png has the last pictures of
each. A job that was stopped or killed goes on where it was when started again. One of them by hand: python train.py
--config benchmarks/cifar.py:sngan --workdir runs/sngan
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))  # train.py reads this file as a config

import jobs
from matplotlib.figure import Figure
from PIL import Image

from ganjax import UserError, config
from ganjax.evaluation import records
from ganjax.workdir.files import replace_file

BUDGET = {
  'batch_size': 32,
  'data.dataset': 'cifar10',
  'data.flip': True,
  'method.fakes_per_real': 1,
  'log_every_steps': 50,
  'sample_every_steps': 500,
  'checkpoint_every_steps': 100,
}
RESNET = {'method.n_critic': 2, 'networks.width': 32, 'networks.width_D': 32}
# The average forgets in 10,000 images what the published runs forget in 443,600.
BIGGAN = {
  'method.n_critic': 2,
  'networks.width': 8,
  'networks.width_D': 16,
  'ema.half_life_images': 10_000,
  'ema.start_steps': 0,
  'ema.rampup': 0.05,
}
# Method -> (the file in configs/ that it starts from, what differs, steps). Steps are such that all take about as much
# processor time, by the cost of a step of each on two cores of an Intel Xeon (Sapphire Rapids) that had other work.
METHODS = {
  'dcgan': ('dcgan_cifar', {'networks.width': 64}, 4700),
  'wgan_gp': ('wgan_gp_cifar', RESNET, 1300),
  'sngan': ('sngan_cifar', RESNET, 1800),
  'projection': ('projection_cifar', RESNET, 1750),
  'biggan': ('biggan_cifar', BIGGAN, 1550),
  'biggan_diffaug': ('biggan_diffaug_cifar', BIGGAN, 1500),
}
METRICS = 'fd_efficientnet_lite0,kid_efficientnet_lite0'
COUNTS = ('--metrics', METRICS, '--num', 2000, '--num_real', 10_000)


def get_config(method):
  """The configuration of a method, for train.py."""
  if method not in METHODS:
    raise UserError(f'method {method!r} is not known; there are {", ".join(METHODS)}')
  base, changes, steps = METHODS[method]
  return jobs.configure(f'cifar_{method}', base, BUDGET, changes, {'steps': steps})


def measured(path, step=None) -> bool:
  """Whether both metrics stand in a file of records."""
  found = {r['metric'] for r in records.read(path) if step is None or r['step'] == step}
  return found >= {*METRICS.split(',')}


def picture(path, runs):
  """Puts the last grid of samples of each run into one picture, three in a row."""
  rows = -(-len(runs) // 3)
  figure = Figure((8.4, 3 * rows), layout='constrained')
  axes = figure.subplots(rows, 3, squeeze=False).ravel()
  for axis in axes:
    axis.set_axis_off()
  for axis, run in zip(axes, runs):
    last = max((run / 'samples').glob('*.png'))
    axis.imshow(Image.open(last))
    axis.set_title(f'{run.name}, step {int(last.stem):,}', fontsize=9)
  with replace_file(path) as file:
    figure.savefig(file, format='png', dpi=100)


def main():
  parser = jobs.parser(__doc__)
  parser.add_argument('--data_dir', type=jobs.folder, help="TFDS's, which holds cifar10")
  parser.add_argument('--methods', default=','.join(METHODS))
  args = parser.parse_args()
  workdir, data_dir, methods = args.workdir, args.data_dir, args.methods.split(',')
  where = ('--data_dir', data_dir) if data_dir else ()
  done = []
  for method in methods:
    steps, run = get_config(method).steps, workdir / method
    jobs.train(__file__, method, run, data__data_dir=data_dir)
    if not measured(run, steps):
      # Statistics over fresh batches: averages of weights and of statistics need not fit each other.
      jobs.run('-m', 'ganjax', 'evaluate', '--workdir', run, '--batch_norm', 'standing', *COUNTS)
    done.append(run)
  floor = workdir / 'test.jsonl'
  if not (floor.exists() and measured(floor)):
    sides = ('--fake', 'cifar10:test', '--real', 'cifar10:train', '--resolution', 32)
    jobs.run('-m', 'ganjax', 'evaluate', *sides, *COUNTS, '--out', floor, *where)
  jobs.run('-m', 'ganjax', 'compare', *done, floor, '--out', workdir / 'compare.png')
  picture(workdir / 'samples.png', done)


if __name__ == '__main__':
  config.run(main)
