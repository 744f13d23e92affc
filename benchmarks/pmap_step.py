"""Times a ganjax update (jit over a mesh) against the same update written with jax.pmap and explicit means.

    python benchmarks/pmap_step.py [--devices 4 --width 16 --batch_size 64]

Both sides take turns in one run, on the accelerators there are, or else on so many virtual devices of the CPU. The
pmap side is written as its users write one: a program for one device's rows, with `pmean` over gradients, losses and
batch statistics. tests/devices/test_one_and_several.py holds the two equal to 1e-9 in float64.
"""

import argparse
import runpy
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ganjax import experiment, run_state
from ganjax.devices import sharding
from ganjax.layers.norm import BatchNorm
from ganjax.update import active

CONFIG = Path(__file__).resolve().parents[1] / 'configs/dcgan_cifar.py'
AXIS = 'devices'


def cross_device_norm(norm, args, kwargs, context):
  """Stands in for BatchNorm (train mode): the global batch's statistics, as means of the devices' means."""
  layer = context.module
  if not isinstance(layer, BatchNorm):
    return norm(*args, **kwargs)
  (x,) = args
  axes = tuple(range(x.ndim - 1))
  mean = lax.pmean(jnp.mean(x, axes), AXIS)
  var = lax.pmean(jnp.mean(jnp.square(x), axes), AXIS) - jnp.square(mean)
  n = lax.psum(x.size // x.shape[-1], AXIS)
  for name, new in (('mean', mean), ('var', var * n / (n - 1))):
    old = layer.get_variable('batch_stats', name)
    layer.put_variable('batch_stats', name, (1 - layer.momentum) * old + layer.momentum * new)
  scale, bias = (layer.get_variable('params', name) for name in ('scale', 'bias'))
  return scale * (x - mean) / jnp.sqrt(var + layer.eps) + bias


def make_pmap_step(config, nets, devices):
  """The DCGAN step of configs/dcgan_cifar.py for `jax.pmap`: one update of D, one of G, the average of G.

  Args:
    config: of the run; its networks, method, optimizers and average must be of the kind that dcgan_cifar has.
    nets: {'G', 'D'}, the Linen modules.
    devices: to run on.

  Returns:
    (start, step): start(state) turns a TrainState into this step's, a dict stacked once a device; step(state, images)
    -> (state, losses) takes uint8 images [devices, rows, H, W, C], donates the state and returns stacked arrays.
  """
  G, D = nets['G'], nets['D']
  method, b, n = config.method, config.batch_size // len(devices), config.batch_size

  def optimizer(lr, b1, b2, eps, decay):
    end = {'constant': lr, 'linear': 0.0}[decay]
    return optax.adam(optax.linear_schedule(lr, end, config.steps), b1, b2, eps)

  optimizers = {name: optimizer(**config.optim[name]) for name in ('G', 'D')}

  def call(net, params, stats, x):
    with nn.intercept_methods(cross_device_norm):
      out, new = net.apply(
        {'params': params, 'batch_stats': stats}, x, train=True, mutable=['batch_stats']
      )
    return out, new['batch_stats']

  def mine(x, rows):
    """This device's rows of what is drawn for the global batch."""
    return lax.dynamic_slice_in_dim(x, lax.axis_index(AXIS) * rows, rows)

  def fakes(params, stats, key, per_real):
    z = mine(jax.random.normal(key, (per_real * n, method.z_dim)), per_real * b)
    return call(G, params, stats, z)

  def descend(name, loss, state):
    grads, (stats, losses) = jax.grad(loss, has_aux=True)(state['params'][name])
    grads, losses = lax.pmean((grads, losses), AXIS)
    changes, opt = optimizers[name].update(grads, state['opt'][name], state['params'][name])
    params = optax.apply_updates(state['params'][name], changes)
    new = {'params': params, 'stats': stats, 'opt': opt}
    return {**state, **{k: {**state[k], name: v} for k, v in new.items()}}, losses

  def step(state, images):
    key = jax.random.fold_in(state['key'], state['step'])
    key_D, key_G, key_flip = (jax.random.fold_in(jax.random.fold_in(key, i), 0) for i in range(3))
    images = images.astype(jnp.float32) / 127.5 - 1
    if config.data.flip:
      coins = mine(jax.random.bernoulli(key_flip, 0.5, (n,)), b)
      images = jnp.where(coins[:, None, None, None], images[:, :, ::-1], images)

    def loss_D(params):
      fake_images, _ = fakes(state['params']['G'], state['stats']['G'], key_D, 1)
      real, stats = call(D, params, state['stats']['D'], images)
      fake, stats = call(D, params, stats, fake_images)
      loss_real, loss_fake = -nn.log_sigmoid(real).mean(), -nn.log_sigmoid(-fake).mean()
      return loss_real + loss_fake, (stats, {'loss_real': loss_real, 'loss_fake': loss_fake})

    def loss_G(params):
      images, stats = fakes(params, state['stats']['G'], key_G, method.fakes_per_real)
      fake, _ = call(D, state['params']['D'], state['stats']['D'], images)
      loss = -nn.log_sigmoid(fake).mean()
      return loss, (stats, {'loss_G': loss})

    state, losses_D = descend('D', loss_D, state)
    state, losses_G = descend('G', loss_G, state)
    if config.ema.half_life_images:
      half_life = jnp.float32(config.ema.half_life_images)
      if config.ema.rampup:
        half_life = jnp.minimum(half_life, config.ema.rampup * n * state['step'])
      keep = 0.5 ** (n / jnp.maximum(half_life, 1e-8))
      new = {'params': state['params']['G'], 'stats': state['stats']['G']}
      state = {**state, 'ema': optax.incremental_update(new, state['ema'], 1 - keep)}
    return {**state, 'step': state['step'] + 1}, {**losses_D, **losses_G}

  def start(state):
    own = {
      'step': state.step,
      'key': state.key,
      'params': state.params,
      'stats': {name: state.stats[name]['batch_stats'] for name in nets},
      'opt': {name: optimizers[name].init(state.params[name]) for name in nets},
    }
    if config.ema.half_life_images:
      ema = state.ema['G']
      own['ema'] = {'params': ema['params'], 'stats': ema['stats']['batch_stats']}
    return jax.tree.map(lambda x: jnp.stack([jax.device_get(x)] * len(devices)), own)

  return start, jax.pmap(step, AXIS, devices=devices, donate_argnums=0)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--devices', type=int, default=4, help='virtual devices, without others')
  parser.add_argument('--width', type=int, default=16)
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--rounds', type=int, default=10, help='turns of each side')
  parser.add_argument('--steps', type=int, default=5, help='steps a turn')
  args = parser.parse_args()
  jax.config.update('jax_num_cpu_devices', args.devices)

  config = runpy.run_path(str(CONFIG))['get_config']()
  config.update(steps=(args.rounds + 1) * args.steps, batch_size=args.batch_size)
  config.networks.width = args.width
  run = experiment.build(config)
  span = run.spans[0]
  mesh = sharding.make_mesh()
  sharding.check_batch(args.batch_size, mesh)
  size, devices = config.data.resolution, list(mesh.devices.flat)
  images = np.random.default_rng(0).integers(0, 256, (args.batch_size, size, size, 3), np.uint8)

  state, _, _ = run_state.start(run, mesh)
  start, pmap_step = make_pmap_step(config, run.method.nets, devices)
  sides = {'jax.pmap': start(state), 'ganjax': state}
  update, batch = run.update(span), sharding.place_batch({'image': images}, mesh)
  rows = (len(devices), -1, *images.shape[1:])
  stacked = jax.device_put(images.reshape(rows), batch['image'].sharding)

  def ganjax_step(state):
    with jax.set_mesh(mesh):  # pmap refuses to run inside
      return update(state, (batch,), {}, phases=active(span.stage, 0))

  steps = {'jax.pmap': lambda state: pmap_step(state, stacked), 'ganjax': ganjax_step}

  def turn(name):
    """Milliseconds a step of one turn."""
    then = time.perf_counter()
    for _ in range(args.steps):
      sides[name], losses = steps[name](sides[name])
      jax.block_until_ready(losses)
    return (time.perf_counter() - then) * 1000 / args.steps

  for name in steps:  # compiles
    turn(name)
  times = {name: [] for name in steps}
  for i in range(args.rounds):
    for name in list(steps)[:: 1 if i % 2 else -1]:
      times[name].append(turn(name))

  ratios = np.divide(times['jax.pmap'], times['ganjax'])
  print(
    f'DCGAN, width {args.width}, batch {args.batch_size}, {len(devices)} x {devices[0].device_kind}'
  )
  print(f'{"":<10}{"ms a step":>12}{"images/s":>12}   (medians of {args.rounds} turns)')
  for name in ('ganjax', 'jax.pmap'):
    median = np.median(times[name])
    print(f'{name:<10}{median:>12.1f}{1000 * args.batch_size / median:>12,.0f}')
  print(
    f'ganjax is {np.median(ratios):.2f} times as fast as jax.pmap ({min(ratios):.2f} to {max(ratios):.2f})'
  )


if __name__ == '__main__':
  main()
