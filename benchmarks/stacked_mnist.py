"""Mode collapse on stacked MNIST: python benchmarks/stacked_mnist.py --workdir W [--data_dir DIR] [--methods dcgan,...]

Trains each method by train.py at one small budget, makes 26,000 samples by sample.py, names the three digits of each
with a classifier trained here, and prints which of the 1,000 modes were found beside the papers' figures. The protocol
is that of VEEGAN (arXiv:1705.07761, section 4.2) and PacGAN (arXiv:1712.04086, section 4.2). A job that was stopped or
killed goes on where it was when started again; `W/results.json` keeps what is done, `W/METHOD-SEED/` the runs.
One of the runs by hand: python train.py --config benchmarks/stacked_mnist.py:dcgan --workdir runs/stacked
"""

import json
import statistics
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))  # train.py reads this file as a config

import jobs
import mnist_classifier
import numpy as np

from ganjax import UserError, config, data
from ganjax.metrics.modes import kl_to_uniform, modes
from ganjax.workdir.files import write_json

# The budget of all methods: so many updates of D and of G, on 64 real images and 64 fakes each, and networks whose
# widest layer in D has 128 channels. PacGAN's own is 100,000 steps at twice the width, with two updates of G a step.
BUDGET = {
  'steps': 2000,
  'batch_size': 64,
  'ema.half_life_images': 0,
  'data.dataset': 'stacked_mnist',
  'data.resolution': 32,
  'data.flip': False,
  'log_every_steps': 100,
  'sample_every_steps': 1000,
  'checkpoint_every_steps': 500,
}
ONE_EACH = {'method.n_critic': 1, 'method.fakes_per_real': 1}
DCGAN = {
  **ONE_EACH,
  'networks.width': 32,
  **{f'optim.{net}.b2': 0.999 for net in 'GD'},
  **{f'optim.{net}.decay': 'constant' for net in 'GD'},
}
CNN = {**ONE_EACH, 'networks.width': 16}
R3GAN = {
  'networks.width': (64, 64, 32, 16),  # at 4, 8, 16 and 32 pixels: expanded twice, as DCGAN's D
  'networks.blocks': 1,
  'networks.cardinality': 8,
  'networks.num_classes': 0,
  'method.ada': None,
  'method.penalties': {'r1': 1.0, 'r2': 1.0},
}
# Method -> (the file in configs/ that it starts from, what differs besides the budget). DCGAN's Adam is PacGAN's; the
# optimizers of the others are those of their files.
METHODS = {
  'dcgan': ('dcgan_cifar', DCGAN),
  'pacgan': ('dcgan_cifar', {**DCGAN, 'method.packing': 2}),
  'wgan_gp': ('wgan_gp_cnn_cifar', CNN),
  'sngan': ('sngan_cnn_cifar', CNN),
  'r3gan': ('r3gan_cifar', R3GAN),
}
# (modes, KL) as VEEGAN, table 2, and PacGAN, table 2, give them.
PAPERS = {
  'dcgan': ('DCGAN', 99, 3.40),
  'pacgan': ('PacDCGAN2', 1000, 0.06),
  'ali': ('ALI', 16, 5.40),
  'unrolled': ('Unrolled GAN', 48.7, 4.32),
  'veegan': ('VEEGAN', 150, 2.95),
}
NUM = 26_000
NUM_MODES = 1000


def get_config(method):
  """The configuration of a method, for train.py."""
  if method not in METHODS:
    raise UserError(f'method {method!r} is not known; there are {", ".join(METHODS)}')
  base, changes = METHODS[method]
  return jobs.configure(f'stacked_mnist_{method}', base, BUDGET, changes)


def measure(params, pictures) -> dict:
  """{'modes', 'kl'} of uint8 [N, 32, 32, 3]."""
  labels = mnist_classifier.predict_stacks(params, pictures) @ [100, 10, 1]
  return {'modes': modes(labels, NUM_MODES), 'kl': kl_to_uniform(labels, NUM_MODES)}


def measure_real(params, data_dir) -> dict:
  """The same of real stacks of test digits, and the classifier's accuracy on them, per digit and per stack."""
  where = {'split': 'test', 'resolution': BUDGET['data.resolution'], 'data_dir': data_dir}
  batch = data.build(dataset='stacked_mnist', **where).read(np.arange(NUM))
  found = mnist_classifier.predict_stacks(params, batch['image'])
  right = found == batch['label'][:, None] // [100, 10, 1] % 10
  digits, labels = mnist_classifier.read(**where)
  accuracy = float((mnist_classifier.predict(params, digits) == labels).mean())
  return {
    **measure(params, batch['image']),
    'true_kl': kl_to_uniform(batch['label'], NUM_MODES),
    'test_accuracy': accuracy,
    'channel_accuracy': right.mean(0).tolist(),
    'stack_accuracy': float(right.all(1).mean()),
  }


def train_and_measure(params, method, seed, steps, workdir, data_dir) -> dict:
  """A row of the results. Raises UserError where the method cannot be trained or sampled."""
  jobs.train(__file__, method, workdir, steps=steps, seed=seed, data__data_dir=data_dir)
  samples = workdir / 'samples.npz'
  what = ('--seeds', f'0-{NUM - 1}', '--batch', 500, '--format', 'npz', '--out', samples)
  jobs.run('sample.py', '--workdir', workdir, *what)
  with np.load(samples) as file:
    pictures = file['arr_0']
  samples.unlink()
  return {**measure(params, pictures), 'steps': steps}


def table(results, methods) -> str:
  """Ours beside the papers'."""
  lines = [
    f'{"method":<10}{"modes":>16}{"KL":>16}{"steps":>8}{"seeds":>7}   paper: modes / KL',
    f'{"real":<10}{results["real"]["modes"]:>16}{results["real"]["kl"]:>16.3f}',
  ]
  for method in [*methods, *(m for m in PAPERS if m not in METHODS)]:
    rows = [row for name, row in results.items() if name.split('-')[0] == method]
    paper = '{}: {} / {:.2f}'.format(*PAPERS[method]) if method in PAPERS else '-'
    if not rows:
      lines.append(f'{method:<10}{"-":>16}{"-":>16}{"-":>8}{"-":>7}   {paper}')
      continue

    def shown(name, digits, rows=rows):
      values = [row[name] for row in rows]
      spread = f' +- {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
      return f'{statistics.mean(values):.{digits}f}{spread}'

    steps = '/'.join(sorted({str(row['steps']) for row in rows}))
    digits = int(len(rows) > 1)
    lines.append(
      f'{method:<10}{shown("modes", digits):>16}{shown("kl", 3):>16}{steps:>8}{len(rows):>7}   {paper}'
    )
  return '\n'.join(lines)


def main():
  parser = jobs.parser(__doc__)
  parser.add_argument('--data_dir', type=jobs.folder, help="TFDS's, which holds mnist")
  parser.add_argument('--methods', default=','.join(METHODS))
  parser.add_argument('--steps', type=int, default=BUDGET['steps'])
  parser.add_argument('--seeds', type=int, default=1, help='runs of each method')
  args = parser.parse_args()
  workdir, data_dir, methods = args.workdir, args.data_dir, args.methods.split(',')
  unknown = sorted(set(methods) - METHODS.keys())
  if unknown:
    raise SystemExit(f'unknown methods {", ".join(unknown)}; there are {", ".join(METHODS)}')
  workdir.mkdir(parents=True, exist_ok=True)
  kept, failed = workdir / 'results.json', []
  results = json.loads(kept.read_text()) if kept.exists() else {}
  size = BUDGET['data.resolution']
  params = mnist_classifier.load(workdir / 'classifier.npz', resolution=size, data_dir=data_dir)
  if 'real' not in results:
    results['real'] = measure_real(params, data_dir)
    write_json(kept, results)
  print(
    f'classifier: {100 * results["real"]["test_accuracy"]:.2f} % of the test digits', flush=True
  )
  if results['real']['test_accuracy'] < 0.99:
    raise SystemExit('the protocol asks for 99 %')
  for seed in range(args.seeds):
    for method in methods:
      name = f'{method}-{seed}'
      if results.get(name, {}).get('steps') == args.steps:
        continue
      try:
        row = train_and_measure(params, method, seed, args.steps, workdir / name, data_dir)
      except UserError as error:
        failed.append(f'{name} has no row: {error}')
        continue
      results[name] = row
      write_json(kept, results)
      print(f'{name}: {row["modes"]} modes, KL {row["kl"]:.3f}', flush=True)
  print('\n'.join([table(results, methods), *failed]))
  return 1 if failed else 0


if __name__ == '__main__':
  config.run(main)
