"""SRResNet, RRDB and the VGG-style D, and an update of each stage, against PyTorch twins in float64.

The twins are written as BasicSR's networks are built, with layers called as ours, and its training of ESRGAN: G first,
D's two halves apart, each with the other's mean as a constant.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_biggan_torch import close
from test_translation_torch import channels_first, channels_last, value

from ganjax import component, media
from ganjax import config as configs
from ganjax.layers.resample import resize_bicubic
from ganjax.method import name_nets, spans
from ganjax.optim import optimizers
from ganjax.update import active, init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
DOUBLE = dict(dtype='float64', param_dtype='float64')
SIDE = 32
leaky = lambda slope: lambda x: F.leaky_relu(x, slope)


class Twin(nn.Module):
  """Layers that are named as Flax names them, in the order that they are made."""

  def __init__(self):
    super().__init__()
    self.numbers = {}

  def add(self, kind, module):
    number = self.numbers.setdefault(kind, itertools.count())
    self.add_module(f'{kind}_{next(number)}', module)
    return module

  def conv(self, c_in, c_out, kernel=3, stride=1, bias=True):
    return self.add('Conv', nn.Conv2d(c_in, c_out, kernel, stride, 1, bias=bias))


class SRResNet(Twin):
  def __init__(self, scale, width, blocks):
    super().__init__()
    self.first = [self.conv(3, width)]
    self.body = [[self.conv(width, width), self.conv(width, width)] for _ in range(blocks)]
    self.factors = {2: [2], 3: [3], 4: [2, 2]}[scale]
    self.ups = [self.conv(width, width * f * f) for f in self.factors]
    self.hr, self.last = [self.conv(width, width)], [self.conv(width, 3)]
    self.scale = scale

  def forward(self, x):
    act = leaky(0.1)
    y = act(self.first[0](x))
    for one, two in self.body:
      y = y + two(F.relu(one(y)))
    for up, factor in zip(self.ups, self.factors):
      y = act(F.pixel_shuffle(up(y), factor))
    y = self.last[0](act(self.hr[0](y)))
    return y + F.interpolate(x, scale_factor=self.scale, mode='bilinear', align_corners=False)


class Dense(Twin):
  def __init__(self, width, growth):
    super().__init__()
    self.own = [self.conv(width + i * growth, growth) for i in range(4)]
    self.own += [self.conv(width + 4 * growth, width)]

  def forward(self, x):
    seen = [x]
    for conv in self.own[:-1]:
      seen.append(F.leaky_relu(conv(torch.cat(seen, 1)), 0.2))
    return self.own[-1](torch.cat(seen, 1)) * 0.2 + x


class RRDB(Twin):
  def __init__(self, width, growth):
    super().__init__()
    self.own = [self.add('DenseBlock', Dense(width, growth)) for _ in range(3)]

  def forward(self, x):
    y = x
    for block in self.own:
      y = block(y)
    return y * 0.2 + x


class RRDBNet(Twin):
  def __init__(self, scale, width, growth, blocks):
    super().__init__()
    self.factor = 4 // scale
    self.first = [self.conv(3 * self.factor**2, width)]
    self.body = [self.add('Block', RRDB(width, growth)) for _ in range(blocks)]
    self.rest = [self.conv(width, width) for _ in range(4)] + [self.conv(width, 3)]

  def forward(self, x):
    act = leaky(0.2)
    x = F.pixel_unshuffle(x, self.factor) if self.factor > 1 else x
    first = y = self.first[0](x)
    for block in self.body:
      y = block(y)
    body, up1, up2, hr, last = self.rest
    y = first + body(y)
    for up in (up1, up2):
      y = act(up(F.interpolate(y, scale_factor=2, mode='nearest')))
    return last(act(hr(y)))


class VGG(Twin):
  def __init__(self, width, side):
    super().__init__()
    self.layers, last = [], 3
    for i, factor in enumerate((1, 2, 4, 8, 8)):
      f = factor * width
      self.layers.append((self.conv(last, f, bias=not i), self.norm(f) if i else None))
      self.layers.append((self.conv(f, f, 4, 2, False), self.norm(f)))
      last = f
    self.dense = self.add('Dense', nn.Linear(last * (side // 32) ** 2, 100))
    self.logit = [self.add('Dense', nn.Linear(100, 1))]

  def norm(self, features):
    return self.add('BatchNorm', nn.BatchNorm2d(features))

  def forward(self, x):
    for conv, norm in self.layers:
      x = conv(x)
      x = F.leaky_relu(norm(x) if norm else x, 0.2)
    x = x.permute(0, 2, 3, 1).flatten(1)  # as ours; only an order of the weights
    return self.logit[0](F.leaky_relu(self.dense(x), 0.2))[:, 0]


def tree(net, read, kind):
  """{layer: arrays of it}, nested by the names, of the layers that `kind` takes."""
  found = {}
  for name, module in net.named_modules():
    if own := kind(module, read):
      *path, last = name.split('.')
      place = found
      for part in path:
        place = place.setdefault(part, {})
      place[last] = own
  return found


def weights(module, read):
  if isinstance(module, nn.BatchNorm2d):
    return {'scale': read(module.weight), 'bias': read(module.bias)}
  if not isinstance(module, nn.Conv2d | nn.Linear):
    return None
  w = read(module.weight)
  bias = {} if module.bias is None else {'bias': read(module.bias)}
  return {'kernel': w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T, **bias}


def statistics(module, read):
  if isinstance(module, nn.BatchNorm2d):
    return {'mean': value(module.running_mean), 'var': value(module.running_var)}
  return None


params = lambda net, read=value: tree(net, read, weights)


def stats(net):
  found = tree(net, value, statistics)
  return {'batch_stats': found} if found else {}


# Pictures in [-1, 1] outside, in [0, 1] within.
unit = lambda x: (channels_first(x) + 1) / 2


@pytest.mark.parametrize('twin, networks, sides', [
  (lambda: SRResNet(4, 4, 2), dict(name='srresnet', scale=4, blocks=2), (5, 7)),
  (lambda: SRResNet(3, 4, 1), dict(name='srresnet', scale=3, blocks=1), (4, 4)),
  (lambda: RRDBNet(4, 4, 3, 2), dict(name='rrdb', scale=4, growth=3, blocks=2), (4, 5)),
  (lambda: RRDBNet(2, 4, 3, 1), dict(name='rrdb', scale=2, growth=3, blocks=1), (6, 4)),
])  # fmt: skip
def test_generators(twin, networks, sides):
  torch.manual_seed(0)
  net = twin().double()
  x = np.random.default_rng(0).uniform(-1, 1, (2, *sides, 3))
  with jax.enable_x64(True):
    more = dict(resolution=(64, 64), channels=3)
    G = component.build('networks', {**networks, 'width': 4, **DOUBLE}, **more)['G']
    found = G.apply({'params': params(net)}, x, train=False)
  np.testing.assert_allclose(found, 2 * channels_last(net(unit(x))) - 1, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_the_u_net_of_real_esrgan():
  """In a training call, in which torch's spectral norm iterates once, too."""
  with jax.enable_x64(True):
    sizes = dict(name='real_esrgan', width=2, width_D=3, blocks=0, **DOUBLE)
    D = component.build('networks', sizes, resolution=(16, 24), channels=3)['D']
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, 16, 24, 3))
    shapes = jax.eval_shape(lambda x: D.init(jax.random.key(0), x, train=False), x)
    variables = jax.tree.map(lambda a: rng.normal(size=a.shape), shapes)
    call = jax.jit(lambda v, x: D.apply(v, x, train=True, mutable=['spectral_norm'])[0])
    found = call(variables, x)
  layers = jax.tree.map(lambda a: torch.tensor(np.asarray(a)), variables['params'])

  def conv(number, x, normed=True, **how):
    own = layers[f'Conv_{number}']
    w = own['kernel'].permute(3, 2, 0, 1)
    if normed:
      u = torch.tensor(np.asarray(variables['spectral_norm'][f'SpectralNorm_{number - 1}']['u']))
      v = F.normalize(u @ w.flatten(1), dim=0)
      w = w / (F.normalize(w.flatten(1) @ v, dim=0) @ w.flatten(1) @ v)
    return F.conv2d(x, w, own.get('bias'), padding=1, **how)

  act = leaky(0.2)
  double = lambda x: F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
  first = act(conv(0, unit(x), normed=False))
  second = act(conv(1, first, stride=2))
  third = act(conv(2, second, stride=2))
  y = act(conv(3, third, stride=2))
  for number, skip in ((4, third), (5, second), (6, first)):
    y = act(conv(number, double(y))) + skip
  y = conv(9, act(conv(8, act(conv(7, y)))), normed=False)
  assert found.shape == (2, 16, 24)
  np.testing.assert_allclose(found, y[:, 0], rtol=1e-9, atol=1e-11)


ADAM = dict(lr=1e-3, b1=0.9, b2=0.99)


def update(opt, terms):
  opt.zero_grad()
  sum(terms.values()).backward()
  opt.step()


def bce(logits, real):
  return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


@pytest.mark.slow
@pytest.mark.parametrize('loss', ['relativistic_average', 'non_saturating'])
def test_updates_of_both_stages(loss):
  torch.manual_seed(0)
  nets = {'G': SRResNet(4, 4, 1).double(), 'D': VGG(2, SIDE).double()}
  G, D = nets['G'], nets['D'].train()
  make = lambda net: torch.optim.Adam(net.parameters(), ADAM['lr'], betas=(0.9, 0.99))
  opts = {'pixels': make(G), 'G': make(G), 'D': make(D)}
  with jax.enable_x64(True):
    sizes = dict(name='srresnet', width=4, width_D=2, blocks=1, **DOUBLE)
    ours = name_nets(component.build('networks', sizes, resolution=SIDE, channels=3))
    how = dict(name='srgan', pretrain=1, loss=loss, perceptual={})
    fields = {'image': media.Field('image', (SIDE, SIDE, 3))}
    method = component.build('methods', how, nets=ours, fields=fields)
    configured = {name: configs.adam(**ADAM) for name in opts}
    built = optimizers.build(configured, method.phases, 3)
    key = jax.random.key(0)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, SIDE, SIDE, 3))
    low = np.clip(resize_bicubic(jnp.asarray(images[0]), 0.25), -1, 1)
    state = jax.jit(
      lambda: init(method, built, key, {'image': jnp.asarray(images[0]), 'low': low})
    )()
    state = state.replace(
      params={n: params(net) for n, net in nets.items()}, stats={'G': {}, 'D': stats(D)}
    )
    for step, span in enumerate([spans(method, 3, 3)[0], *[spans(method, 3, 3)[1]] * 2]):
      run = make_update(method, span, built)
      batch = {'image': images[step]}
      state, metrics = run(state, (batch,), {}, phases=active(span.stage, step))
      low = np.clip(np.asarray(resize_bicubic(jnp.asarray(images[step]), 0.25)), -1, 1)
      real, fake = unit(images[step]), G(unit(np.round((low + 1) * 127.5) / 127.5 - 1))
      pixels = F.l1_loss(fake, real)
      if not step:
        terms = {'loss_pixels': pixels}
        update(opts['pixels'], terms)
      else:
        kept = {name: x.clone() for name, x in D.named_buffers()}
        of_real, of_fake = D(real).detach(), D(fake)
        if loss == 'relativistic_average':
          game = (bce(of_real - of_fake.mean(), False) + bce(of_fake - of_real.mean(), True)) / 2
        else:
          game = bce(of_fake, True)
        terms = {'loss_pixels': 0.01 * pixels, 'loss_G': 0.005 * game}
        update(opts['G'], terms)
        for name, x in D.named_buffers():  # of D's phase alone
          x.data = kept[name]
        of_real, of_fake = D(real), D(fake.detach())
        if loss == 'relativistic_average':
          of_D = {
            'loss_real': bce(of_real - of_fake.detach().mean(), True) / 2,
            'loss_fake': bce(of_fake - of_real.detach().mean(), False) / 2,
          }
        else:
          of_D = {'loss_real': bce(of_real, True), 'loss_fake': bce(of_fake, False)}
        update(opts['D'], of_D)
        terms |= of_D
      for name, term in terms.items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-8, err_msg=name)
    for name, net in nets.items():
      close(state.params[name], params(net), 1e-7)
      close(state.stats[name], stats(net), 1e-7)
