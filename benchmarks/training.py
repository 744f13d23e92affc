"""What training costs beside the bare step: python benchmarks/training.py [--data_dir DIR]

Prints a table: feeding from the cache on one core, time to the first step with a cold and a warm compilation cache,
and the throughput of train.py's whole loop (logging, grids, checkpoints, feeding) as a share of the bare update's,
measured in turns in one run. CIFAR-10 where TFDS has it prepared in --data_dir, else the shipped emoji at 32 pixels.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax
import numpy as np

from configs import dcgan_cifar
from ganjax import UserError, data, experiment, run_state
from ganjax.devices import sharding
from ganjax.update import active


def make_config(data_dir, width, batch_size):
  """The CIFAR-10 recipe at a size for CPUs."""
  config = dcgan_cifar.get_config()
  config.networks.width, config.batch_size, config.method.fakes_per_real = width, batch_size, 1
  config.data.data_dir = data_dir
  try:
    data.build(**config.data)
  except UserError:
    config.data.dataset, config.data.data_dir = 'emoji', None
  return config


def overrides(config):
  return [
    f'--config.networks.width={config.networks.width}',
    f'--config.batch_size={config.batch_size}',
    '--config.method.fakes_per_real=1',
    f'--config.data.dataset={config.data.dataset}',
    *([f'--config.data.data_dir={config.data.data_dir}'] if config.data.data_dir else []),
  ]


def time_feeding(config, seconds=2.0):
  """Images a second of CPU time through indices and read, batches of 64."""
  source = data.build(**config.data)
  step, start, done = 0, time.process_time(), 0
  while time.process_time() - start < seconds:
    done += len(source.read(data.indices(0, 64 * step, 64, source.num_examples))['image'])
    step += 1
  return done / (time.process_time() - start)


def train(config, workdir, steps, *more, cache=None):
  """Runs train.py; returns its output."""
  command = [
    sys.executable,
    'train.py',
    '--config',
    'configs/dcgan_cifar.py',
    '--workdir',
    str(workdir),
  ]
  command += [*overrides(config), f'--config.steps={steps}', *more]
  env = {**os.environ, **({'JAX_COMPILATION_CACHE_DIR': str(cache)} if cache else {})}
  out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
  if out.returncode:
    raise SystemExit(out.stderr)
  return out.stdout


def time_first_step(config):
  """Seconds from the start of train.py to the end of its first step: (cold, warm compilation cache)."""
  with tempfile.TemporaryDirectory() as folder:
    said = [train(config, f'{folder}/{n}', 1, cache=f'{folder}/xla') for n in ('cold', 'warm')]
  return [float(re.search(r'first step done ([\d.]+) s', text)[1]) for text in said]


def compare_loop(config, steps, rounds):
  """Images a second of the bare update and of train.py, in turns: [(bare, loop), ...]."""
  run = experiment.build(config)
  mesh = sharding.make_mesh()
  found = []
  with tempfile.TemporaryDirectory() as folder, jax.set_mesh(mesh):
    span = run.spans[0]
    update, (state, _, _) = run.update(span), run_state.start(run, mesh)
    pixels = np.random.default_rng(0).integers(0, 256, (config.batch_size, 32, 32, 3), np.uint8)
    batches = (sharding.place_batch({'image': pixels}, mesh),)

    def bare(state, n):
      start = time.monotonic()
      for _ in range(n):
        state, _ = update(state, batches, {}, phases=active(span.stage, 0))
      jax.block_until_ready(state)
      return state, n * config.batch_size / (time.monotonic() - start)

    state, _ = bare(state, 5)
    for i in range(rounds):
      state, before = bare(state, steps // 2)
      # Logs every 10 steps, and makes a grid and a checkpoint once a round: ten times as often as the recipe.
      every = [f'--config.{what}_every_steps={steps}' for what in ('sample', 'checkpoint')]
      train(config, folder + '/run', steps * (i + 1), '--config.log_every_steps=10', *every)
      state, after = bare(state, steps // 2)
      lines = [json.loads(x) for x in Path(folder, 'run/metrics.jsonl').read_text().splitlines()]
      mine = [x['images_per_second'] for x in lines if steps * i + 10 < x['step']]
      found.append(((before + after) / 2, statistics.harmonic_mean(mine)))
  return found


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--data_dir', help="TFDS's")
  parser.add_argument('--width', type=int, default=64)
  parser.add_argument('--batch', type=int, default=64)
  parser.add_argument('--steps', type=int, default=100, help='of each round')
  parser.add_argument('--rounds', type=int, default=3)
  args = parser.parse_args()
  config = make_config(args.data_dir, args.width, args.batch)
  device = jax.devices()[0].device_kind
  print(
    f'{config.data.dataset}, DCGAN at width {args.width}, batch {args.batch}, {os.cpu_count()} cores, {device}'
  )
  print(f'feeding, one core                 {time_feeding(config):>10,.0f} images/s')
  cold, warm = time_first_step(config)
  print(f'first step, cold cache            {cold:>10.1f} s')
  print(f'first step, warm cache            {warm:>10.1f} s')
  found = compare_loop(config, args.steps, args.rounds)
  for name, column in ('bare update', 0), ('train.py', 1):
    print(f'{name:<33} {statistics.median(x[column] for x in found):>10.1f} images/s')
  print(f'train.py / bare, median of rounds {statistics.median(b / a for a, b in found):>10.3f}')


if __name__ == '__main__':
  main()
