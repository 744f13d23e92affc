"""Training steps of SNGAN and BigGAN against PyTorch twins: python benchmarks/gan_steps.py [--cases sngan,biggan]

Needs the extra `bench`. A step is n_critic updates of D and one of G, by Adam, with spectral norm and batch norm, at
the sizes of benchmarks/cifar.py, and BigGAN once wider. The twins' initial weights are read by
`ganjax.weights.published`, and pictures and losses of both sides compared first, to 1e-4. Then both take turns in
rounds; of torch's memory formats the faster one is taken. Compilation is timed without a cache.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]

import cifar
import dcgan_step
import jax
import jax.numpy as jnp
import numpy as np
from dcgan_step import LAYOUTS

from ganjax import experiment, run_state
from ganjax.devices import processes, sharding
from ganjax.losses import adversarial
from ganjax.method import apply
from ganjax.update import active, count
from ganjax.weights import published

# Case -> (method of benchmarks/cifar.py, format of the twin's weights, widths that differ).
CASES = {
  'sngan': ('sngan', 'mimicry', {}),
  'biggan': ('biggan', 'biggan_pytorch', {'relu_skip': False}),
  'biggan_32': ('biggan', 'biggan_pytorch', {'width': 32, 'width_D': 32, 'relu_skip': False}),
}


class Torch(dcgan_step.Torch):
  """The twin, as a process that waits between its turns; its weights lie in `folder`."""

  def __init__(self, config, form, pixels, labels, z, folder):
    big = form == 'biggan_pytorch'
    nets = config.networks
    spec = dict(
      format=form,
      folder=folder,
      channels_G=nets.width * (4 if big else 1),
      channels_D=nets.width_D * (2 if big else 1),
      num_classes=nets.get('num_classes', 0),
      shared_dim=nets.get('shared_dim', 0),
      z_dim=config.method.z_dim,
      n_critic=config.method.n_critic,
      flip=config.data.flip,
      optim=config.optim.to_dict(),
      threads=len(os.sched_getaffinity(0)),
    )
    path = f'{folder}/twin.npz'
    np.savez(path, spec=json.dumps(spec), pixels=pixels, labels=labels, z=z)
    self.start('torch_gans.py', path)


def check(run, state, pixels, labels, z, torch):
  """Compares pictures and losses of both sides; returns the largest difference."""
  G, D = (run.method.nets[name] for name in 'GD')

  @jax.jit
  def compute(state, images, z):
    label = labels if run.method.num_classes else None
    fakes, moved = apply(G, state, z, label, train=True)
    real, moved = apply(D, moved, images, label, train=True)
    fake, moved = apply(D, moved, fakes, label, train=True)
    terms = adversarial.hinge_D(real, fake)
    return apply(G, moved, z, label, train=True)[0], jnp.stack([*terms.values()])

  ours = compute(state, pixels.astype(np.float32) / 127.5 - 1, z)
  worst = 0.0
  for layout in LAYOUTS:
    for a, b in zip(ours, torch.ask('check', layout, 1)):
      worst = max(worst, float(np.abs(np.ravel(a) - np.asarray(b, np.float32)).max()))
  if not worst < 1e-4:
    raise SystemExit(f'the twins differ by {worst:.1e}: this would not compare like with like')
  return worst


def measure(case, rounds, steps):
  """Prints a case's figures."""
  method, form, widths = CASES[case]
  config = cifar.get_config(method)
  config.networks.update(widths)
  config.ema.half_life_images = 0  # no average on either side
  run, mesh = experiment.build(config), sharding.make_mesh()
  span, rng, n, size = run.spans[0], np.random.default_rng(0), config.batch_size, 32
  pixels = rng.integers(0, 256, (n, size, size, 3), np.uint8)
  labels = rng.integers(0, 10, n).astype(np.int32)
  z = rng.standard_normal((n, config.method.z_dim), np.float32)
  with tempfile.TemporaryDirectory() as folder, jax.set_mesh(mesh):
    torch = Torch(config, form, pixels, labels, z, folder)
    state, *_ = run_state.start(run, mesh)
    torch.ask('step', LAYOUTS[0], 0)  # the files are there
    nets = {net: published.read(Path(f'{folder}/{net}.pth'), run, net, form) for net in 'GD'}
    kinds = {kind: {net: x[kind] for net, x in nets.items()} for kind in ('params', 'stats')}
    state = sharding.replicate(state.replace(**kinds), mesh)
    worst = check(run, state, pixels, labels, z, torch)
    update, phases = run.update(span), active(span.stage, 0)
    batch = sharding.place_batch({'image': pixels, 'label': labels}, mesh)
    batches = (batch,) * run.method.n_critic
    start = time.perf_counter()
    state, _ = dcgan_step.time_steps(update, state, batches, phases, 1)
    first = time.perf_counter() - start
    turns = dcgan_step.take_turns(update, state, batches, phases, torch, rounds, steps)
    torch.close()
  numbers = ', '.join(f'{name} {count(state.params[name]):,}' for name in 'GD')
  times, fastest, ratios = turns
  middle = {name: statistics.median(x) for name, x in times.items()}
  print(
    f'\n{case}: {numbers} parameters, batch {n}, {run.method.n_critic} updates of D; equal within {worst:.0e}; '
    f'the first step, with compilation, {first:.0f} s'
  )
  for name, ms in middle.items():
    print(f'  {name:<14}{ms:>9.1f} ms a step ({min(times[name]):.1f} to {max(times[name]):.1f})')
  print(
    f'  ganjax is {statistics.median(ratios):.2f} times as fast as torch {fastest} '
    f'(median of {rounds} rounds, {min(ratios):.2f} to {max(ratios):.2f})'
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--cases', default=','.join(CASES))
  parser.add_argument('--rounds', type=int, default=6)
  parser.add_argument('--steps', type=int, default=8, help='of each side in each round')
  args = parser.parse_args()
  processes.start()
  jax.config.update('jax_enable_compilation_cache', False)
  print(f'{jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} cores')
  for case in args.cases.split(','):
    measure(case, args.rounds, args.steps)


if __name__ == '__main__':
  main()
