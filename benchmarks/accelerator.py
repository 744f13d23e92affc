"""A first look at a GPU or TPU, in one command: python benchmarks/accelerator.py --workdir runs/accelerator

Trains DCGAN for some hundred steps by train.py, on the shipped emoji or on `--data_dir`'s CIFAR-10, and says where its
grid lies; then prints the time of a step of DCGAN and of a residual network at their configs' sizes, in float32 as XLA
computes it there and in bfloat16, one step in a dispatch and several. The variants of a config take turns in rounds.
Random pictures, already on the devices. `--tiny` tries the script itself on a CPU, by two steps of each.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax
import jobs
import numpy as np

from ganjax import UserError, experiment, run_state
from ganjax.devices import processes, sharding
from ganjax.update import active

TINY = {'networks.width': 4, 'batch_size': 8, 'method.n_critic': 1}


def train(workdir, data_dir, tiny):
  """A short run, whose grid is to be looked at; in a process of its own, since one alone can hold a TPU."""
  name = 'dcgan_cifar' if data_dir else 'dcgan_emoji'
  steps, every = (20, 10) if tiny else (500, 100)
  fields = {'steps': steps, 'sample_every_steps': steps, 'checkpoint_every_steps': steps}
  fields |= {'log_every_steps': every, **(TINY if tiny else {})}
  fields |= {'data.data_dir': data_dir} if data_dir else {}
  overrides = [f'--config.{field}={value}' for field, value in fields.items()]
  run = workdir / name
  jobs.run('train.py', '--config', f'configs/{name}.py', '--workdir', run, *overrides)
  last = json.loads((run / 'metrics.jsonl').read_text().splitlines()[-1])
  memory = max(value for field, value in last.items() if field.startswith('peak_')) / 2**30
  print(
    f'{name}: {last["images_per_second"]:,.0f} images/s at the end, {last["compile_seconds"]:.0f} s of compilation, '
    f'{memory:.2f} GiB at most; look at {run}/samples/{steps:08}.png'
  )


def configure(name, dtype, tiny):
  """A config in a number format; tiny, if so, in both networks."""
  config = jobs.configure(name, name, {'networks.dtype': dtype}, TINY if tiny else {})
  if tiny and 'width_D' in config.networks:
    config.networks.width_D = config.networks.width
  return config


class Variant:
  """A config in a number format, with so many steps in a dispatch."""

  def __init__(self, name, dtype, steps, tiny, mesh):
    self.name = f'{dtype}, {steps} step{"s" if steps > 1 else ""} a dispatch'
    config = configure(name, dtype, tiny)
    run = experiment.build(config)
    span, data = run.spans[0], config.data
    sharding.check_batch(span.batch_size, mesh)
    self.images_per_step, self._steps = run.images_per_step(span), steps
    self._update, self._phases = run.update(span), active(span.stage, 0)
    shape = (*[steps] * (steps > 1), span.batch_size)
    rng = np.random.default_rng(0)
    pixels = rng.integers(
      0, 256, (*shape, data.resolution, data.resolution, data.channels), np.uint8
    )
    rows = {'image': pixels, 'label': rng.integers(0, 10, shape, np.int32)}
    self._batches = (sharding.place_batch(rows, mesh, axis=len(shape) - 1),) * run.method.n_critic
    self._state, _, _ = run_state.start(run, mesh)
    start = time.perf_counter()
    self.run(steps)
    self.first_seconds = time.perf_counter() - start

  def run(self, steps) -> float:
    """Milliseconds a step."""
    start = time.perf_counter()
    for _ in range(steps // self._steps):
      self._state, _ = self._update(
        self._state, self._batches, {}, phases=self._phases, steps=self._steps
      )
    jax.block_until_ready(self._state)
    return (time.perf_counter() - start) / steps * 1e3


def compare(name, steps_per_dispatch, rounds, steps, tiny):
  """Prints the times of a config's variants."""
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh):
    kinds = [(d, k) for d in ('float32', 'bfloat16') for k in (1, steps_per_dispatch)]
    variants = [Variant(name, *kind, tiny, mesh) for kind in kinds]
    turns = [[v.run(steps) for v in variants] for _ in range(rounds)]
  columns = list(zip(*turns))
  images = variants[0].images_per_step
  print(f'\n{name}, {images} real images a step, {rounds} rounds of {steps} steps')
  for variant, found in zip(variants, columns):
    ms = statistics.median(found)
    ratio = statistics.median(a / b for a, b in zip(columns[0], found))
    print(
      f'  {variant.name:<34}{ms:>9.2f} ms a step ({min(found):.2f} to {max(found):.2f}), '
      f'{images / ms * 1e3:>9,.0f} images/s, {ratio:.2f} times the first; '
      f'first dispatch {variant.first_seconds:.0f} s'
    )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--workdir', type=jobs.folder, required=True)
  parser.add_argument('--data_dir', type=jobs.folder, help="TFDS's, with CIFAR-10 prepared")
  parser.add_argument('--configs', default='dcgan_cifar,sngan_cifar')
  parser.add_argument('--steps_per_dispatch', type=int, default=10)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--steps', type=int, default=100, help='of each variant in each round')
  parser.add_argument('--tiny', action='store_true')
  args = parser.parse_args()
  if args.tiny:
    args.rounds, args.steps, args.steps_per_dispatch = 1, 2, 2
  if min(args.rounds, args.steps, args.steps_per_dispatch) < 1:
    raise UserError('--rounds, --steps and --steps_per_dispatch must be 1 or more')
  if args.steps % args.steps_per_dispatch:
    raise UserError(f'--steps={args.steps} must be a multiple of {args.steps_per_dispatch}')
  names = args.configs.split(',')
  for name in names:
    configure(name, 'float32', args.tiny)  # so that it is there
  train(args.workdir, args.data_dir, args.tiny)
  processes.start()
  device = jax.devices()[0]
  print(f'{jax.device_count()} x {device.device_kind} ({device.platform}), jax {jax.__version__}')
  for name in names:
    compare(name, args.steps_per_dispatch, args.rounds, args.steps, args.tiny)


if __name__ == '__main__':
  try:
    main()
  except UserError as error:
    sys.exit(f'error: {error}')
