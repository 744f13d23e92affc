"""Tiny runs of pix2pix, CycleGAN and CUT on pictures in memory, through the real update."""

import jax
import numpy as np

from ganjax import component, media
from ganjax import config as configs
from ganjax.devices import sharding
from ganjax.method import apply, name_nets, spans
from ganjax.optim import optimizers
from ganjax.update import active, init, make_update

SIDE = 16
NETWORKS = {
  'pix2pix': dict(name='pix2pix', width=4, width_D=3, downs=3, layers_D=1, dropout_levels=(0, 1)),
  'cyclegan': dict(name='cyclegan', width=3, width_D=3, blocks=1, layers_D=1),
  'cut': dict(name='cut', width=3, width_D=3, blocks=2, layers_D=1, features=6),
}


class Run:
  """A method with its networks; `method` and `networks` are arguments of their `build`."""

  def __init__(
    self, name, *, method=None, networks=None, adam=None, batch_size=4, steps=10, **kind
  ):
    networks = {**NETWORKS[name], **(networks or {}), **kind}
    nets = component.build('networks', networks, resolution=(SIDE, SIDE), channels=3)
    fields = dict.fromkeys(('source', 'target'), media.Field('image', (SIDE, SIDE, 3)))
    more = dict(nets=name_nets(nets), fields=fields)
    self.method = component.build('methods', {'name': name, **(method or {})}, **more)
    self.fields = fields
    configured = {opt: configs.adam(**(adam or {})) for opt in 'GD'}
    self.optimizers = optimizers.build(configured, self.method.phases, steps)
    (self.span,) = spans(self.method, steps, batch_size)
    self.update = make_update(self.method, self.span, self.optimizers)
    self.key = jax.random.key(0)

  @property
  def sample(self):
    return self.span.stage.sample

  def start(self, batch):
    return jax.jit(lambda batch: init(self.method, self.optimizers, self.key, batch))(batch)

  def call(self, name):
    """(state, *inputs) -> what a network makes of them in training, jitted."""
    net = self.method.nets[name]
    return jax.jit(lambda state, *inputs: apply(net, state, *inputs, train=True)[0])

  def step(self, state, batch, number=0):
    return self.update(state, (batch,), {}, phases=active(self.span.stage, number))

  def train(self, batches, devices=1):
    """(state, [metrics]) on host, of a step on each batch, over so many devices."""
    mesh, seen = sharding.make_mesh(jax.devices()[:devices]), []
    with jax.set_mesh(mesh):
      state = sharding.replicate(jax.device_get(self.start(batches[0])), mesh)
      for number, batch in enumerate(batches):
        state, metrics = self.step(state, sharding.place_batch(batch, mesh), number)
        seen.append(metrics)
    return jax.device_get((state.replace(key=()), seen))


def batches(steps, batch_size=4, dtype='float32', seed=0):
  """Random pictures in [-1, 1]: {'source', 'target'} for each step."""
  rng = np.random.default_rng(seed)
  pictures = rng.uniform(-1, 1, (steps, 2, batch_size, SIDE, SIDE, 3)).astype(dtype)
  return [{'source': a, 'target': b} for a, b in pictures]
