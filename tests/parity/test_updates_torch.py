"""Whole training steps of configs/ against PyTorch: the same weights, images, labels and draws, in float64.

Two steps of the real update, most of two updates of D each, beside torch.optim.Adam on the twins of the networks:
losses, parameters, both of Adam's moments (gradients, that is), and the statistics of batch norm and spectral norm.
(torch-mimicry 0.1.16 does not import with a current torch: it needs torch._six, which is gone since 2.0.)
"""

import contextlib
import math
import zlib

import jax
import numpy as np
import pytest
import test_biggan_torch as biggans
import test_r3gan_torch as r3gans
import test_resnet_torch as resnets

from benchmarks import torch_dcgan
from configs import (
  biggan_cifar,
  biggan_lecam_cifar,
  contragan_cifar,
  dcgan_cifar,
  dragan_cifar,
  projection_cifar,
  r3gan_cifar,
  reacgan_cifar,
  sngan_cifar,
  wgan_gp_cifar,
)
from ganjax import experiment, run_state
from ganjax.devices import sharding
from ganjax.networks import biggan, r3gan, resnet
from ganjax.sampling import latents
from ganjax.update import active

torch = pytest.importorskip('torch')

F = torch.nn.functional
BATCH, CRITICS, STEPS = 4, 2, 2
RESNET = {'width': 6, 'width_D': 5}
CLASSES = biggans.CLASSES
# The twin's D is the paper's.
BIGGAN = {
  'width': 2,
  'width_D': 4,
  'shared_dim': biggans.SHARED,
  'num_classes': CLASSES,
  'relu_skip': False,
}
R3GAN = {'width': 8, 'cardinality': 4, 'blocks': 1, 'num_classes': CLASSES, 'embed_dim': 5}
ramp = lambda start, end: {'start': start, 'end': end, 'steps': 3, 'shape': 'cosine'}
ADAM = {'lr': ramp(2e-4, 5e-5), 'b2': ramp(0.9, 0.99)}
# The configuration, what its networks, its method and other fields have here instead.
CASES = {
  'SNGAN': (sngan_cifar, RESNET, {}),
  'WGAN-GP': (wgan_gp_cifar, RESNET, {}),
  'projection': (projection_cifar, RESNET | {'num_classes': 4}, {}),
  'BigGAN': (biggan_cifar, BIGGAN, {'z_dim': 8}),
  'non-saturating, R1': (sngan_cifar, RESNET, {'loss': 'non_saturating', 'penalties': {'r1': 3.0}}),
  'DCGAN': (dcgan_cifar, {'width': 4}, {'n_critic': 1}),
  'DRAGAN': (dragan_cifar, RESNET | {'name': 'resnet', 'spectral': False, 'pool': 'mean'}, {}),
  'LeCam, auxiliary classifier': (
    biggan_lecam_cifar,
    BIGGAN | {'head': 'classifier'},
    {
      'z_dim': 8,
      'n_critic': 1,
      'lecam': {'weight': 0.3, 'decay': 0.9, 'start_steps': 1},
      'class_loss': {'name': 'auxiliary_classifier', 'D': 1.0, 'D_fake': 0.5, 'G': 0.1},
    },
  ),
  'ContraGAN': (contragan_cifar, BIGGAN | {'embed_dim': 6}, {'z_dim': 8, 'n_critic': 1}),
  'ReACGAN': (reacgan_cifar, BIGGAN | {'embed_dim': 6}, {'z_dim': 8, 'n_critic': 1}),
  'R3GAN': (
    r3gan_cifar,
    R3GAN,
    {'n_critic': 1, 'ada': None, 'penalties': {'r1': ramp(0.5, 0.05), 'r2': ramp(0.7, 0.05)}},
    {'data': {'resolution': 8}, 'optim': {'G': ADAM, 'D': ADAM}},
  ),
}
HINGE = lambda r, f: {'real': F.relu(1 - r), 'fake': F.relu(1 + f)}
WASSERSTEIN = lambda r, f: {'real': -r, 'fake': f}
ENTROPY = lambda r, f: {'real': F.softplus(-r), 'fake': F.softplus(f)}
LOSSES = {
  'hinge': (HINGE, lambda f, r: -f),
  'wasserstein': (WASSERSTEIN, lambda f, r: -f),
  'non_saturating': (ENTROPY, lambda f, r: F.softplus(-f)),
  'relativistic': (
    lambda r, f: {'relativistic': F.softplus(f - r)},
    lambda f, r: F.softplus(r - f),
  ),
}


def make_config(module, networks, method, others=None):
  config = module.get_config()
  config.steps, config.batch_size, config.data.flip = 10, BATCH, False
  config.networks.update(networks, dtype='float64', param_dtype='float64')
  config.method = config.method.to_dict() | {'z_dim': 7, 'n_critic': CRITICS} | method
  config.update(others or {})
  config.ema = {'half_life_images': 0, 'rampup': 0.0, 'start_steps': 0}
  return config


def class_loss(scores, label, name, temperature=1.0, margin=None):
  """Of AC-GAN (equation 3), ContraGAN (equation 8) and ReACGAN (equation 8), sample by sample."""
  if name == 'auxiliary_classifier':
    return F.cross_entropy(scores, label)
  (rows, proxies), terms = scores, []
  for i, y in enumerate(label):
    own, pairs, same = rows[i] @ proxies[y], rows @ rows[i], label == y
    others = torch.arange(len(label)) != i
    if name == 'contrastive_2c':
      own, pairs = torch.exp(own / temperature), torch.exp(pairs / temperature)
      good, every = own + pairs[same & others].sum(), own + pairs[others].sum()
    else:
      good = torch.exp((own - margin).clamp(max=0) / temperature)
      every = good + torch.exp((pairs[~same] - (1 - margin)).clamp(min=0) / temperature).sum()
    terms.append(-torch.log(good / every))
  return torch.stack(terms).mean()


def at(value, step):
  """A number, or a cosine ramp of the step (arXiv:2501.05441, appendix D)."""
  if isinstance(value, float):
    return value
  share = (1 + math.cos(math.pi * min(step / value.steps, 1))) / 2
  return value.end + (value.start - value.end) * share


class Unlabelled(torch.nn.Module):
  """A network without classes, called with labels; batch norm, not spectral norm."""

  def __init__(self, net):
    super().__init__()
    self.net = net

  def forward(self, x, label):
    return self.net(x)

  def layers(self):
    """{name of ours: torch's module}: numbered by kind, as layers are made."""
    kinds = {'Linear': 'Dense', 'Conv2d': 'Conv', 'ConvTranspose2d': 'ConvTranspose'}
    kinds |= {'BatchNorm2d': 'BatchNorm'}
    found = {}
    for module in self.net.modules():
      if kind := kinds.get(type(module).__name__):
        number = sum(name.rpartition('_')[0] == kind for name in found)
        found[f'{kind}_{number}'] = module
    return found

  def read_params(self, read):
    return {name: resnets.layer(module, read) for name, module in self.layers().items()}

  def read_stats(self):
    read = lambda m: {'mean': m.running_mean.numpy().copy(), 'var': m.running_var.numpy().copy()}
    norms = {name: m for name, m in self.layers().items() if name.startswith('BatchNorm')}
    return {'batch_stats': {name: read(m) for name, m in norms.items()}}


READ = 'read_params', 'read_stats'


def make_twins(config):
  """({'G', 'D'}, how to read parameters of each, how to read statistics)."""
  z_dim, size = config.method.z_dim, config.data.resolution
  own = lambda nets: (nets, *({n: getattr(type(nets[n]), f) for n in 'GD'} for f in READ))
  if config.networks.name == 'dcgan':
    width = config.networks.width
    G = torch_dcgan.Generator(size, z_dim, width)
    return own({'G': Unlabelled(G), 'D': Unlabelled(torch_dcgan.Discriminator(size, width // 2))})
  if config.networks.name == 'r3gan':
    nets, label = r3gan.build(resolution=size, channels=3, **R3GAN), np.zeros(1, int)
    inputs = {'G': np.zeros((1, z_dim)), 'D': np.zeros((1, size, size, 3))}
    return own({n: r3gans.Module(nets[n], n, inputs[n], label) for n in 'GD'})
  if config.networks.name == 'biggan':
    up, down, downs = biggan.SHAPES[32]
    head = config.networks.get('head', 'projection')
    in_place = config.networks.get('relu_skip', False)
    nets = {
      'G': biggans.G(up, 8, True, False, 16),
      'D': biggans.D(down, downs, False, 16, 1, head, in_place),
    }
    return (
      nets,
      {'G': biggans.params, 'D': biggans.params},
      {'G': biggans.stats, 'D': biggans.stats},
    )
  side, up, down, downs = resnet.SHAPES[size]
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
    self.method, self.steps, self.optim = config.method, config.steps, config.optim
    self.nets, self.params, self.stats = make_twins(config)
    self.averages = {'real': 0.0, 'fake': 0.0}
    self.opt = {
      name: torch.optim.Adam(net.double().train().parameters(), eps=config.optim[name].eps)
      for name, net in self.nets.items()
    }

  def read(self, name, what):
    """Parameters, or a moment of Adam, of a network as ganjax has them."""
    if what == 'params':
      return self.params[name](self.nets[name], resnets.value)
    moment = lambda p: self.opt[name].state[p][what].numpy().copy()
    return self.params[name](self.nets[name], moment)

  def take(self, name, loss, step):
    self.opt[name].zero_grad()
    loss.backward()
    o, (group,) = self.optim[name], self.opt[name].param_groups
    left = 1 - step / self.steps if o.decay == 'linear' else 1
    group['lr'], group['betas'] = at(o.lr, step) * left, (o.b1, at(o.b2, step))
    self.opt[name].step()

  def penalty(self, name, real, fake, label, key):
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    draw = lambda *shape: torch.tensor(np.asarray(jax.random.uniform(key, shape, 'float32')))
    if name == 'gradient_penalty':
      share = draw(len(real), 1, 1, 1)
      points = share * real + (1 - share) * fake
    elif name == 'dragan':
      noise = draw(*real.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
      points = real + real.std(correction=0) / 2 * noise
    else:
      points = {'r1': real, 'r2': fake}[name].clone()
    points.requires_grad_()
    with dropped(self.nets['D']):
      logits = self.nets['D'](points, label)
    (slopes,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    squares = (slopes**2).sum((1, 2, 3))
    return squares.mean() / 2 if name in ('r1', 'r2') else ((squares.sqrt() - 1) ** 2).mean()

  def lecam(self, real, fake, step):
    """relu(real - average of fakes)^2 + relu(average of reals - fake)^2 (arXiv:2104.03310, its code)."""
    o, old = self.method.lecam, self.averages
    value = F.relu(real - old['fake']).square().mean() + F.relu(old['real'] - fake).square().mean()
    decay, new = o.decay if step >= o.start_steps else 0, {'real': real, 'fake': fake}
    self.averages = {k: decay * old[k] + (1 - decay) * x.mean().item() for k, x in new.items()}
    return o.weight * value * (step >= o.start_steps)

  def step(self, key, step, batches):
    """One step -> its metrics, as those of ganjax."""
    (G, D), seen = self.nets.values(), []
    loss_D, loss_G = LOSSES[self.method.loss]
    draw = lambda key, n: torch.tensor(np.asarray(latents.normal(key, n, self.method.z_dim)))
    key_at = lambda phase, r: jax.random.fold_in(
      jax.random.fold_in(jax.random.fold_in(key, step), phase), r
    )
    scored = {**self.method.get('class_loss', {})}
    weights = {'D_fake': 0.0} | {k: scored.pop(k) for k in ('D', 'D_fake', 'G') if k in scored}
    split = lambda out: out if scored else (out, None)
    for r, (real, label) in enumerate(batches):
      with dropped(G), torch.no_grad():
        fake = G(draw(key_at(0, r), BATCH), label)
      (on_real, scores), (on_fake, scores_fake) = split(D(real, label)), split(D(fake, label))
      terms = {f'loss_{k}': x.mean() for k, x in loss_D(on_real, on_fake).items()}
      if scored:
        terms['loss_class'] = weights['D'] * class_loss(scores, label, **scored)
      if weights['D_fake']:
        terms['loss_class_fake'] = weights['D_fake'] * class_loss(scores_fake, label, **scored)
      if 'lecam' in self.method:
        terms['loss_lecam'] = self.lecam(on_real, on_fake, step)
      for name, weight in self.method.get('penalties', {}).items():
        value = self.penalty(name, real, fake, label, key_at(0, r))
        terms[f'loss_{name}'] = at(weight, step) * value
      self.take('D', sum(terms.values()), step)
      seen.append({name: x.item() for name, x in terms.items()})
    many = self.method.fakes_per_real
    labels = label.repeat(many)
    with dropped(D):
      on_fake, scores = split(D(G(draw(key_at(1, 0), many * BATCH), labels), labels))
      on_real = split(D(real, label))[0].repeat(many)
    terms = {'loss_G': loss_G(on_fake, on_real).mean()}
    if scored:
      terms['loss_G_class'] = weights['G'] * class_loss(scores, labels, **scored)
    self.take('G', sum(terms.values()), step)
    mean = {name: np.mean([terms[name] for terms in seen]) for name in seen[0]}
    return mean | {name: x.item() for name, x in terms.items()}


@pytest.mark.parametrize('name', CASES)
def test_two_steps(name):
  config = make_config(*CASES[name])
  critics, size = config.method.n_critic, config.data.resolution
  rng = np.random.default_rng(0)
  # Black and white: -1 and 1 exactly, where other levels are rounded to float32, in one of two ways.
  pixels = rng.choice(np.array([0, 255], np.uint8), (STEPS, critics, BATCH, size, size, 3))
  labels = rng.integers(0, CLASSES, (STEPS, critics, BATCH)).astype(np.int32)
  torch.manual_seed(0)
  twin = Twin(config)
  mesh = sharding.make_mesh(jax.devices()[:1])
  with jax.enable_x64(True), jax.set_mesh(mesh):
    run = experiment.build(config)
    shapes = jax.eval_shape(run.init, run.key)
    params = {n: twin.read(n, 'params') for n in 'GD'}
    stats = {n: twin.stats[n](net) for n, net in twin.nets.items()}
    found = jax.tree.map(lambda x: (x.shape, str(x.dtype)), (params, stats))
    assert found == jax.tree.map(lambda x: (x.shape, str(x.dtype)), (shapes.params, shapes.stats))
    state, *_ = run_state.start(run, mesh)
    state = sharding.replicate(state.replace(params=params, stats=stats), mesh)
    update = run.update(run.spans[0])
    for step in range(STEPS):
      batches = tuple(
        sharding.place_batch({'image': x, 'label': y}, mesh)
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
      if state.extra:
        biggans.close(state.extra, {'lecam': twin.averages}, 1e-6)
