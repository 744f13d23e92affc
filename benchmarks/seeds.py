"""Times a step of N seeds trained together, by vmap and unrolled, against N steps of single seeds one after the other.

    python benchmarks/seeds.py [--seeds 4 --width 1200 --dcgan_width 32 --batch_size 32]

All three ways take turns in one run, on the device at hand: the MLPs of configs/gan_mnist.py, and DCGAN at 32 pixels.
Prints what the compiler takes too: of the separate runs that of one; others find it in the compilation cache.
tests/test_seeds.py holds all ways equal to 1e-9 in float64.
"""

import argparse
import runpy
import time
from pathlib import Path

import jax
import numpy as np

from ganjax import experiment, run_state
from ganjax.devices import sharding
from ganjax.update import active, make_update

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def make_configs(args):
  """{name: the configuration of a case}."""
  mnist, dcgan = (
    runpy.run_path(str(CONFIGS / f'{name}.py'))['get_config']()
    for name in ('gan_mnist', 'dcgan_cifar')
  )
  mnist.networks.width, mnist.batch_size = args.width, args.mlp_batch_size
  dcgan.networks.width, dcgan.batch_size = args.dcgan_width, args.batch_size
  return {
    f'gan_mnist, MLP of width {args.width}, batch {args.mlp_batch_size}': mnist,
    f'DCGAN of width {args.dcgan_width}, 32 pixels, batch {args.batch_size}': dcgan,
  }


def compiled(config, unrolled, mesh):
  """(states at step 0, the compiled update as state -> (state, metrics), seconds to trace and compile)."""
  run = experiment.build(config)
  (span,) = run.spans
  size, channels = config.data.resolution, config.data.channels
  shape = (span.batch_size, size, size, channels)
  images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  batch = sharding.place_batch({'image': images}, mesh)
  ema = config.ema.to_dict() if run.method.ema else None
  how = dict(flip=config.data.flip, ema=ema, unrolled=unrolled)
  update = make_update(run.method, span, run.optimizers, **how)
  state, _, _ = run_state.start(run, mesh)
  args, then = (batch,) * run.method.n_critic, time.perf_counter()
  with jax.set_mesh(mesh):
    done = update.lower(state, args, {}, phases=active(span.stage, 0)).compile()
  return state, lambda state: done(state, args, {}), time.perf_counter() - then


def compare(name, config, args, mesh):
  """Prints one case: medians, and the range over rounds of the ratios."""
  ways, seconds = {}, {}
  for way, unrolled in ('vmap', False), ('unrolled', True):
    config.seeds = args.seeds
    state, step, seconds[way] = compiled(config, unrolled, mesh)
    ways[way] = [state], step
  config.seeds = 1
  state, step, seconds['separate'] = compiled(config, None, mesh)
  copy = lambda: jax.tree.map(lambda x: x.copy(), state)
  ways['separate'] = [copy() for _ in range(args.seeds)], step

  def turn(way):
    """Milliseconds that all seeds take for a step, of one turn."""
    states, step = ways[way]
    then = time.perf_counter()
    for _ in range(args.steps):
      for k, state in enumerate(states):
        states[k], metrics = step(state)
      jax.block_until_ready(metrics)
    return (time.perf_counter() - then) * 1000 / args.steps

  for way in ways:
    turn(way)  # warms up
  times = {way: [] for way in ways}
  for i in range(args.rounds):
    for way in list(ways)[:: 1 if i % 2 else -1]:
      times[way].append(turn(way))

  print(f'{name}: a step of {args.seeds} seeds, medians of {args.rounds} rounds')
  for way in ways:
    ratios = np.divide(times['separate'], times[way])
    faster = f'{np.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})'
    faster = '' if way == 'separate' else f'   {faster}'
    print(f'  {way:<10}{np.median(times[way]):>9.1f} ms   compiled in {seconds[way]:.1f} s{faster}')


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--seeds', type=int, default=4)
  parser.add_argument('--width', type=int, default=1200, help="of gan_mnist's layers")
  parser.add_argument('--mlp_batch_size', type=int, default=100)
  parser.add_argument('--dcgan_width', type=int, default=32)
  parser.add_argument('--batch_size', type=int, default=32, help="DCGAN's")
  parser.add_argument('--rounds', type=int, default=15, help='turns of each way')
  parser.add_argument('--steps', type=int, default=5, help='steps a turn')
  args = parser.parse_args()
  jax.config.update('jax_enable_compilation_cache', False)  # to time the compiler
  mesh = sharding.make_mesh()
  print(f'{mesh.size} x {mesh.devices.flat[0].device_kind}')
  for name, config in make_configs(args).items():
    compare(name, config, args, mesh)


if __name__ == '__main__':
  main()
