"""Whole training steps of configs/ against PyTorch: the same weights, images, labels and draws, in float64.

Two steps of the real update, of two updates of D each, beside torch.optim.Adam on the twins of the networks: losses,
parameters, both of Adam's moments (gradients, that is), and the statistics of batch norm and spectral norm.
"""

import contextlib
import zlib

import jax
import numpy as np
import pytest
import test_biggan_torch as biggans
import test_resnet_torch as resnets

from configs import biggan_cifar, projection_cifar, sngan_cifar, wgan_gp_cifar
from ganjax import experiment, latents, parallel
from ganjax.networks import biggan, resnet
from ganjax.update import active

torch = pytest.importorskip('torch')

F = torch.nn.functional
BATCH, CRITICS, STEPS = 2, 2, 2
RESNET = {'width': 6, 'width_D': 5}
BIGGAN = {'width': 2, 'width_D': 4, 'shared_dim': biggans.SHARED}
CASES = {
  'SNGAN': (sngan_cifar, RESNET, {}),
  'WGAN-GP': (wgan_gp_cifar, RESNET, {}),
  'projection': (projection_cifar, RESNET | {'num_classes': 4}, {}),
  'BigGAN': (biggan_cifar, BIGGAN | {'num_classes': biggans.CLASSES}, {'z_dim': 8}),
  'non-saturating, R1': (sngan_cifar, RESNET, {'loss': 'non_saturating', 'penalties': {'r1': 3.0}}),
}
LOSSES = {
  'hinge': (lambda r, f: (F.relu(1 - r), F.relu(1 + f)), lambda f: -f),
  'wasserstein': (lambda r, f: (-r, f), lambda f: -f),
  'non_saturating': (lambda r, f: (F.softplus(-r), F.softplus(f)), lambda f: F.softplus(-f)),
}


def make_config(module, networks, method):
  config = module.get_config()
  config.steps, config.batch_size, config.data.flip = 10, BATCH, False
  config.networks.update(networks, dtype='float64', param_dtype='float64')
  config.method.update({'z_dim': 7, 'n_critic': CRITICS} | method)
  config.ema.half_life_images = 0
  return config


def make_twins(config):
  """({'G', 'D'}, how to read parameters of each, how to read statistics)."""
  if config.networks.name == 'biggan':
    up, down, downs = biggan.SHAPES[32]
    nets = {
      'G': biggans.G(up, 8, True, False, 16),
      'D': biggans.D(down, downs, False, 16, 1, 'projection'),
    }
    return (
      nets,
      {'G': biggans.params, 'D': biggans.params},
      {'G': biggans.stats, 'D': biggans.stats},
    )
  side, up, down, downs = resnet.SHAPES[32]
  spectral, classes = config.networks.spectral, config.networks.get('num_classes', 0)
  wrap = resnets.SN if spectral else lambda layer: layer
  nets = {
    'G': resnets.G(side, [RESNET['width'] * f for f in up], classes),
    'D': resnets.D(
      [RESNET['width_D'] * f for f in down], downs, wrap, config.networks.pool, classes
    ),
  }
  stats = {'G': resnets.stats_G, 'D': resnets.stats_D if spectral else lambda net: {}}
  return nets, {'G': resnets.params_G, 'D': resnets.params_D}, stats


@contextlib.contextmanager
def dropped(net):
  """Statistics that move within are put back."""
  kept = {name: x.clone() for name, x in net.named_buffers()}
  yield
  for name, x in net.named_buffers():
    x.data = kept[name]


class Twin:
  def __init__(self, config):
    self.method, self.steps = config.method, config.steps
    self.nets, self.params, self.stats = make_twins(config)
    self.lr = {name: config.optim[name].lr for name in 'GD'}
    self.decays = config.optim.D.decay == 'linear'
    self.opt = {}
    for name, net in self.nets.items():
      net.double().train()
      o = config.optim[name]
      self.opt[name] = torch.optim.Adam(net.parameters(), o.lr, (o.b1, o.b2), o.eps)

  def read(self, name, what):
    """Parameters, or a moment of Adam, of a network as ganjax has them."""
    if what == 'params':
      return self.params[name](self.nets[name], resnets.value)
    moment = lambda p: self.opt[name].state[p][what].numpy().copy()
    return self.params[name](self.nets[name], moment)

  def take(self, name, loss, step):
    self.opt[name].zero_grad()
    loss.backward()
    for group in self.opt[name].param_groups:
      group['lr'] = self.lr[name] * (1 - step / self.steps if self.decays else 1)
    self.opt[name].step()

  def penalty(self, name, real, fake, label, key):
    draw = jax.random.fold_in(key, zlib.crc32(name.encode()))
    if name == 'gradient_penalty':
      share = torch.tensor(np.asarray(jax.random.uniform(draw, (len(real), 1, 1, 1), 'float32')))
      points = share * real + (1 - share) * fake
    else:
      points = real.clone()
    points.requires_grad_()
    with dropped(self.nets['D']):
      logits = self.nets['D'](points, label)
    (slopes,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    squares = (slopes**2).sum((1, 2, 3))
    return ((squares.sqrt() - 1) ** 2).mean() if name == 'gradient_penalty' else squares.mean() / 2

  def step(self, key, step, batches):
    """One step -> its metrics, as those of ganjax."""
    (G, D), seen = self.nets.values(), []
    loss_D, loss_G = LOSSES[self.method.loss]
    draw = lambda key, n: torch.tensor(np.asarray(latents.normal(key, n, self.method.z_dim)))
    key_at = lambda phase, r: jax.random.fold_in(
      jax.random.fold_in(jax.random.fold_in(key, step), phase), r
    )
    for r, (real, label) in enumerate(batches):
      with dropped(G), torch.no_grad():
        fake = G(draw(key_at(0, r), BATCH), label)
      terms = loss_D(D(real, label), D(fake, label))
      terms = dict(zip(('loss_real', 'loss_fake'), (x.mean() for x in terms)))
      for name, weight in self.method.get('penalties', {}).items():
        terms[f'loss_{name}'] = weight * self.penalty(name, real, fake, label, key_at(0, r))
      self.take('D', sum(terms.values()), step)
      seen.append({name: x.item() for name, x in terms.items()})
    many = self.method.fakes_per_real
    labels = label.repeat(many)
    with dropped(D):
      loss = loss_G(D(G(draw(key_at(1, 0), many * BATCH), labels), labels)).mean()
    self.take('G', loss, step)
    return {name: np.mean([terms[name] for terms in seen]) for name in seen[0]} | {
      'loss_G': loss.item()
    }


@pytest.mark.parametrize('name', CASES)
def test_two_steps(name):
  config = make_config(*CASES[name])
  rng = np.random.default_rng(0)
  # Black and white: -1 and 1 exactly, where other levels are rounded to float32, in one of two ways.
  pixels = rng.choice(np.array([0, 255], np.uint8), (STEPS, CRITICS, BATCH, 32, 32, 3))
  labels = rng.integers(0, 4, (STEPS, CRITICS, BATCH)).astype(np.int32)
  torch.manual_seed(0)
  twin = Twin(config)
  mesh = parallel.make_mesh(jax.devices()[:1])
  with jax.enable_x64(True), jax.set_mesh(mesh):
    run = experiment.build(config)
    shapes = jax.eval_shape(run.init, run.key)
    params = {n: twin.read(n, 'params') for n in 'GD'}
    stats = {n: twin.stats[n](net) for n, net in twin.nets.items()}
    found = jax.tree.map(lambda x: (x.shape, str(x.dtype)), (params, stats))
    assert found == jax.tree.map(lambda x: (x.shape, str(x.dtype)), (shapes.params, shapes.stats))
    state, *_ = experiment.start(run, mesh)
    state = parallel.replicate(state.replace(params=params, stats=stats), mesh)
    update = run.update(run.spans[0])
    for step in range(STEPS):
      batches = tuple(
        parallel.place_batch({'image': x, 'label': y}, mesh)
        for x, y in zip(pixels[step], labels[step])
      )
      state, metrics = update(state, batches, {}, phases=active(run.spans[0].stage, step))
      images = torch.tensor(pixels[step] / 127.5 - 1).permute(0, 1, 4, 2, 3)
      theirs = twin.step(run.key, step, list(zip(images, torch.tensor(labels[step]).long())))
      for key, value in theirs.items():
        np.testing.assert_allclose(metrics[key], value, rtol=1e-6, err_msg=key)
      for n in 'GD':
        moments = state.opt[n][0]
        biggans.close(state.params[n], twin.read(n, 'params'), 1e-6)
        biggans.close(moments.mu[n], twin.read(n, 'exp_avg'), 1e-6)
        biggans.close(moments.nu[n], twin.read(n, 'exp_avg_sq'), 1e-6)
        biggans.close(state.stats[n], twin.stats[n](twin.nets[n]), 1e-6)
