"""DCGAN's training step against a PyTorch twin of it: python benchmarks/dcgan_step.py [--profile]

Needs the extra `bench`. Both sides hold the same weights: parameter counts, outputs and losses are compared first, to
1e-4. Then both take turns in one run, torch in two memory formats, of which the faster is taken. The ganjax side is the
real update of train.py, which also computes its metrics. `--profile` adds where ganjax's step spends its time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import dcgan_cifar
from ganjax import experiment, run_state
from ganjax.devices import processes, sharding
from ganjax.losses import adversarial
from ganjax.method import apply
from ganjax.update import active, count

LAYOUTS = 'contiguous', 'channels_last'


def make_config(width, batch_size):
  """The CIFAR-10 recipe at a size for CPUs."""
  config = dcgan_cifar.get_config()
  config.networks.width, config.batch_size, config.method.fakes_per_real = width, batch_size, 1
  return config


def layer_arrays(params):
  """A network's arrays in the order that torch lists them: layer by layer, weight then bias."""
  order = lambda kind: sorted(
    (name for name in params if name.split('_')[0] == kind),
    key=lambda name: int(name.split('_')[1]),
  )
  linear, norms = order('Dense'), order('BatchNorm')
  convs = order('ConvTranspose') or order('Conv')
  if 'ConvTranspose_0' in params:  # norm i stands before convolution i
    names = linear + [name for pair in zip(norms, convs) for name in pair]
  else:  # and in D after convolution i + 1
    names = convs[:1] + [name for pair in zip(convs[1:], norms) for name in pair] + linear
  pick = lambda layer: (layer.get('kernel', layer.get('scale')), layer['bias'])
  return [np.asarray(a) for name in names for a in pick(params[name])]


class Torch:
  """The twin, as a process that waits between its turns."""

  def __init__(self, config, state, pixels, z, folder):
    spec = dict(
      batch=config.batch_size,
      width=config.networks.width,
      z_dim=config.method.z_dim,
      resolution=config.data.resolution,
      optim=config.optim.to_dict(),
      threads=len(os.sched_getaffinity(0)),
    )
    arrays = {f'{n}{i}': a for n in 'GD' for i, a in enumerate(layer_arrays(state.params[n]))}
    path = f'{folder}/twin.npz'
    np.savez(path, spec=json.dumps(spec), pixels=pixels, z=z, **arrays)
    self.start('torch_dcgan.py', path)

  def start(self, script, path):
    command = [sys.executable, str(Path(__file__).parent / script), path]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    self.process = subprocess.Popen(command, **pipes)

  def ask(self, *command):
    self.process.stdin.write(json.dumps(command) + '\n')
    self.process.stdin.flush()
    answer = self.process.stdout.readline()
    if not answer:
      raise SystemExit('the PyTorch twin stopped; is torch installed (extra `bench`)?')
    return json.loads(answer)

  def close(self):
    self.process.stdin.close()
    self.process.wait()


def check(run, state, pixels, z, torch):
  """Compares outputs and losses of both sides; returns the largest difference."""
  G, D = (run.method.nets[name] for name in 'GD')

  @jax.jit
  def compute(state, images, z):
    fakes, _ = apply(G, state, z, train=True)
    real, fake = (apply(D, state, x, train=True)[0] for x in (images, fakes))
    terms = adversarial.non_saturating_D(real, fake)
    found = terms['loss_real'], terms['loss_fake'], adversarial.non_saturating_G(fake)
    return fakes, jnp.stack(found)

  ours = compute(state, pixels.astype(np.float32) / 127.5 - 1, z)
  worst = 0.0
  for layout in LAYOUTS:
    for a, b in zip(ours, torch.ask('check', layout, 1)):
      worst = max(worst, float(np.abs(np.ravel(a) - np.asarray(b, np.float32)).max()))
  if not worst < 1e-4:
    raise SystemExit(f'the twins differ by {worst:.1e}: this would not compare like with like')
  return worst


def time_steps(update, state, batches, phases, n):
  """Seconds of each of n steps."""
  found = []
  for _ in range(n):
    start = time.perf_counter()
    state, metrics = update(state, batches, {}, phases=phases)
    jax.block_until_ready((state, metrics))
    found.append(time.perf_counter() - start)
  return state, found


def take_turns(update, state, batches, phases, torch, rounds, steps):
  """The two sides in turns, `steps` each a round, after one that warms up.

  Returns:
    ({'ganjax' or a layout of torch's: ms a step of each round}, the layout that is faster, how many times as fast
    ganjax is in each round).
  """
  times = {name: [] for name in ('ganjax', *LAYOUTS)}
  for i in range(rounds + 1):
    state, found = time_steps(update, state, batches, phases, steps)
    turn = {'ganjax': found, **{name: torch.ask('step', name, steps) for name in LAYOUTS}}
    for name, seconds in turn.items() if i else ():
      times[name].append(statistics.median(seconds) * 1e3)
  fastest = min(LAYOUTS, key=lambda name: statistics.median(times[name]))
  return times, fastest, [b / a for a, b in zip(times['ganjax'], times[fastest])]


def profile(run, span, state, pixels, z, rounds):
  """Milliseconds of the step's parts, each compiled on its own: {part: median}."""
  G, D = (run.method.nets[name] for name in 'GD')
  images = jnp.asarray(pixels.astype(np.float32) / 127.5 - 1)
  phases = {phase.name: phase for phase in span.stage.phases}

  def forward(net, params, x):
    return apply(net, state.replace(params={**state.params, net.name: params}), x, train=True)[0]

  def gradients(name, params):
    held = lambda p: state.replace(params={**state.params, name: p})
    loss = lambda p: phases[name].loss(held(p), {'image': images}, jax.random.key(1))[0]
    return jax.grad(loss)(params)

  def adam(name, params, opt, grads):
    changes, opt = run.optimizers[name].update({name: grads}, opt, {name: params}, step=0)
    return optax.apply_updates({name: params}, changes), opt

  G_params, D_params = state.params['G'], state.params['D']
  calls = {
    'G': (lambda p: forward(G, p, z), G_params),
    'D': (lambda p: forward(D, p, images), D_params),
    'D image': (jax.grad(lambda x: jnp.sum(forward(D, D_params, x))), images),
    'D loss': (lambda p: gradients('D', p), D_params),
    'G loss': (lambda p: gradients('G', p), G_params),
    'G Adam': (lambda p: adam('G', p, state.opt['G'], p), G_params),
    'D Adam': (lambda p: adam('D', p, state.opt['D'], p), D_params),
  }
  calls = {name: (jax.jit(f), x) for name, (f, x) in calls.items()}
  found = {name: [] for name in calls}
  for i in range(rounds + 1):
    for name, (f, x) in calls.items():
      start = time.perf_counter()
      jax.block_until_ready(f(x))
      if i:
        found[name].append((time.perf_counter() - start) * 1e3)
  ms = {name: statistics.median(times) for name, times in found.items()}
  back = ms['D image'] - ms['D']
  return {
    'G forward, twice': 2 * ms['G'],
    'G backward': ms['G loss'] - ms['G'] - ms['D image'],
    'D forward, three times': 3 * ms['D'],
    'D backward to weights, twice': ms['D loss'] - ms['G'] - 2 * ms['D'],
    'D backward to images': back,
    'optimizers': ms['G Adam'] + ms['D Adam'],
  }


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--width', type=int, default=64)
  parser.add_argument('--batch', type=int, default=64)
  parser.add_argument('--rounds', type=int, default=6)
  parser.add_argument('--steps', type=int, default=8, help='of each side in each round')
  parser.add_argument('--profile', action='store_true', help='where the step spends its time')
  args = parser.parse_args()
  config = make_config(args.width, args.batch)
  processes.start()
  mesh = sharding.make_mesh()
  run = experiment.build(config)
  span = run.spans[0]
  rng = np.random.default_rng(0)
  size = config.data.resolution
  pixels = rng.integers(0, 256, (args.batch, size, size, 3), np.uint8)
  z = rng.standard_normal((args.batch, config.method.z_dim), np.float32)
  with tempfile.TemporaryDirectory() as folder, jax.set_mesh(mesh):
    state, *_ = run_state.start(run, mesh)
    torch = Torch(config, state, pixels, z, folder)
    worst = check(run, state, pixels, z, torch)
    numbers = ', '.join(f'{name} {count(state.params[name]):,}' for name in 'GD')
    print(
      f'DCGAN at width {args.width}, batch {args.batch}, on {jax.devices()[0].device_kind}, '
      f'{len(os.sched_getaffinity(0))} cores\n'
      f'equal parameters ({numbers}), outputs and losses within {worst:.0e}'
    )
    parts = profile(run, span, state, pixels, z, args.rounds) if args.profile else {}
    update, phases = run.update(span), active(span.stage, 0)
    batches = (sharding.place_batch({'image': pixels}, mesh),)
    times = {name: [] for name in ('ganjax', *LAYOUTS)}
    for i in range(args.rounds + 1):
      state, found = time_steps(update, state, batches, phases, args.steps)
      turn = {'ganjax': found, **{name: torch.ask('step', name, args.steps) for name in LAYOUTS}}
      if i:  # the first round compiles and warms up
        for name, found in turn.items():
          times[name].append(statistics.median(found) * 1e3)
          times[name, 'all'] = times.get((name, 'all'), []) + found
    torch.close()

  print(f'\n{"":<22}{"ms a step, min":>16}{"median":>10}{"images/s":>12}')
  for name in ('ganjax', *LAYOUTS):
    shown = name if name == 'ganjax' else f'torch {name}'
    median = statistics.median(times[name])
    low = min(times[name, 'all']) * 1e3
    print(f'{shown:<22}{low:>16.1f}{median:>10.1f}{args.batch / median * 1e3:>12.0f}')
  fastest = min(LAYOUTS, key=lambda name: statistics.median(times[name]))
  ratios = [b / a for a, b in zip(times['ganjax'], times[fastest])]
  print(
    f'\nganjax is {statistics.median(ratios):.2f} times as fast as torch {fastest} '
    f'(median of {args.rounds} rounds, {min(ratios):.2f} to {max(ratios):.2f})'
  )
  if parts:
    total = statistics.median(times['ganjax'])
    parts['the rest, less what runs side by side'] = total - sum(parts.values())
    print('\npart of the ganjax step                     ms   share')
    for name, ms in parts.items():
      print(f'{name:<40}{ms:>6.1f}{ms / total:>8.0%}')


if __name__ == '__main__':
  main()
