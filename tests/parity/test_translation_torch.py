"""pix2pix, CycleGAN and CUT against PyTorch twins with the same weights, in float64: outputs, and whole updates.

The twins are written as their authors' code is built: the U-Net of nested blocks, reflection padding as layers, a pool
that is a list. Dropout and the pools' draws are those of ganjax.
"""

import jax
import numpy as np
import pytest
from test_biggan_torch import close
from translation_run import SIDE, Run, batches

from benchmarks.torch_nets import Level, Residual, patch_gan, resnet, u_net
from ganjax.networks import pix2pix

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
STEPS = 4
NORMS = {'batch': nn.BatchNorm2d, 'instance': nn.InstanceNorm2d}


class Blur(nn.Module):
  """[1, 2, 1] at every second pixel."""

  def forward(self, x):
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype)
    filters = (taps[:, None] * taps / 16).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), filters, stride=2, groups=x.shape[1])


class Double(nn.Module):
  """[1, 3, 3, 1] between pixels, of which those of the border are repeated."""

  def forward(self, x):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    filters = (taps[:, None] * taps / 16).expand(x.shape[1], 1, 4, 4)
    x = F.pad(x, (1, 1, 1, 1), mode='replicate')
    return F.conv_transpose2d(x, filters, stride=2, padding=2, groups=x.shape[1])[..., 1:-1, 1:-1]


def cut_encoder(width, blocks):
  norm = lambda features: (nn.InstanceNorm2d(features), nn.ReLU())
  net = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), *norm(width)]
  for f in (1, 2):
    net += [nn.Conv2d(f * width, 2 * f * width, 3, 1, 1), *norm(2 * f * width), Blur()]
  return nn.Sequential(*net, *[Residual(4 * width) for _ in range(blocks)])


class CutG(nn.Module):
  def __init__(self, width, blocks):
    super().__init__()
    self.encoder = cut_encoder(width, blocks)
    self.seen = 0, 4, 8, 12, 12 + min(4, blocks - 1)
    net = []
    for f in (4, 2):
      net += [Double(), nn.Conv2d(f * width, f * width // 2, 3, 1, 1)]
      net += [nn.InstanceNorm2d(f * width // 2), nn.ReLU()]
    self.decoder = nn.Sequential(*net, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

  def forward(self, x):
    return self.decoder(self.encoder(x))

  def features(self, x):
    found = []
    for i, module in enumerate(self.encoder):
      x = module(x)
      if i in self.seen:
        found.append(x)
    return found


def cut_patch_gan(width, layers):
  net, last = [nn.Conv2d(3, width, 4, 1, 1), nn.LeakyReLU(0.2), Blur()], width
  for i in range(1, layers + 1):
    features = width * min(2**i, 8)
    net += [nn.Conv2d(last, features, 4, 1, 1), nn.InstanceNorm2d(features), nn.LeakyReLU(0.2)]
    net += [Blur()] if i < layers else []
    last = features
  return nn.Sequential(*net, nn.Conv2d(last, 1, 4, 1, 1))


class Projection(nn.Module):
  def __init__(self, widths, features):
    super().__init__()
    layers = lambda c: nn.Sequential(
      nn.Linear(c, features), nn.ReLU(), nn.Linear(features, features)
    )
    self.heads = nn.ModuleList([layers(c) for c in widths])

  def forward(self, maps):
    found = [head(x) for head, x in zip(self.heads, maps)]
    return [x / (x.pow(2).sum(-1, keepdim=True).sqrt() + 1e-7) for x in found]


def patch_nce(query, key, temperature):
  """Of one picture's patches [P, C], as the authors' code: the positive first, then all, itself at -10."""
  positive = (query * key.detach()).sum(1, keepdim=True)
  others = query @ key.detach().T
  others = others.masked_fill(torch.eye(len(query), dtype=torch.bool), -10.0)
  logits = torch.cat([positive, others], 1) / temperature
  return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))


def layers_of(net):
  """{name of ours: torch's layer}: numbered by kind in the order that they are run."""
  kinds = {'Conv2d': 'Conv', 'ConvTranspose2d': 'ConvTranspose', 'BatchNorm2d': 'BatchNorm'}
  kinds |= {'Linear': 'Dense'}
  modules = [*net.modules()]
  if isinstance(net, Level):
    levels = net.levels()
    modules = [m for b in levels for m in (b.down, b.down_norm)]
    modules += [m for b in levels[::-1] for m in (b.up, b.up_norm)]
  found = {}
  for module in modules:
    if kind := kinds.get(type(module).__name__):
      number = sum(name.rpartition('_')[0] == kind for name in found)
      found[f'{kind}_{number}'] = module
  return found


value = lambda p: p.detach().numpy().copy()


def params(net, read=value):
  """Parameters as ganjax has them, or what else `read` takes from each."""

  def layer(module):
    weight = read(module.weight)
    if isinstance(module, nn.BatchNorm2d):
      return {'scale': weight, 'bias': read(module.bias)}
    bias = {} if module.bias is None else {'bias': read(module.bias)}
    return {'kernel': weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T, **bias}

  return {name: layer(module) for name, module in layers_of(net).items()}


def stats(net):
  norms = {n: m for n, m in layers_of(net).items() if isinstance(m, nn.BatchNorm2d)}
  read = lambda m: {'mean': value(m.running_mean), 'var': value(m.running_var)}
  return {'batch_stats': {n: read(m) for n, m in norms.items()}} if norms else {}


channels_first = lambda x: torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)
channels_last = lambda x: x.detach().permute(0, 2, 3, 1).numpy()


def set_masks(G, keys, levels, smallest):
  """The dropout of ganjax in the levels counted up from the innermost, whose map has the side `smallest`."""
  for i, block in enumerate(G.levels()[:0:-1]):
    side = smallest * 2 ** (i + 1)
    shape = len(keys), side, side, block.up.out_channels
    ones = np.ones(shape, np.float32)
    mask = channels_first(pix2pix.drop(ones, keys, i) > 0)
    block.dropout = (lambda y, mask=mask: 2 * y * mask) if i in levels else None


class Twin:
  """Networks of PyTorch with an Adam for each optimizer name; rates in the second half of the steps fall to 0."""

  def __init__(self, nets, phases, adam):
    self.nets = {name: net.double().train() for name, net in nets.items()}
    self.phases, self.adam = phases, adam
    self.opt = {
      opt: torch.optim.Adam(
        [p for n in names for p in nets[n].parameters()], betas=(0.5, 0.999), eps=adam['eps']
      )
      for opt, names in phases.items()
    }

  def take(self, opt, terms, step):
    self.opt[opt].zero_grad()
    sum(terms.values()).backward()
    ramp = self.adam['lr']
    left = 1 - max(0, step - ramp['begin']) / ramp['steps']
    self.opt[opt].param_groups[0]['lr'] = ramp['start'] * left
    self.opt[opt].step()

  def check(self, state):
    for opt, names in self.phases.items():
      moment = lambda what, opt=opt: lambda p: value(self.opt[opt].state[p][what])
      for n in names:
        net, moments = self.nets[n], state.opt[opt][0]
        close(state.params[n], params(net), 1e-9)
        close(moments.mu[n], params(net, moment('exp_avg')), 1e-9)
        close(moments.nu[n], params(net, moment('exp_avg_sq')), 1e-9)
        close(state.stats[n], stats(net), 1e-9)


# Half of the steps at the whole rate, which float32 has exactly: schedules are computed in it.
# Biases before an instance norm have no gradient but round-off, which Adam multiplies by up to lr / eps.
ADAM = dict(lr=dict(start=2.0**-9, end=0.0, begin=2, steps=STEPS - 2, shape='linear'), eps=1e-6)
BCE = F.binary_cross_entropy_with_logits
GAMES = {'non_saturating': BCE, 'least_squares': F.mse_loss}
DOUBLE = dict(dtype='float64', param_dtype='float64')


def start(run, twin, batch):
  state = run.start(batch)
  return state.replace(
    params={n: params(net) for n, net in twin.nets.items()},
    stats={n: stats(net) for n, net in twin.nets.items()},
  )


def key_of(run, step, phase):
  return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(run.key, step), phase), 0)


@pytest.mark.parametrize('loss, norm, batch_size, layers', [
  ('non_saturating', 'batch', 2, 1),
  ('non_saturating', 'batch', 1, 0),
  ('least_squares', 'instance', 2, 1),
])  # fmt: skip
def test_updates_of_pix2pix(loss, norm, batch_size, layers):
  torch.manual_seed(0)
  G, D = u_net(4, 3, NORMS[norm]), patch_gan(6, 3, layers, NORMS[norm])
  twin, game = Twin({'G': G, 'D': D}, {'D': ('D',), 'G': ('G',)}, ADAM), GAMES[loss]
  judge = lambda a, b: D(torch.cat([a, b], 1))
  levels = (1,)
  with jax.enable_x64(True):
    networks = dict(norm=norm, layers_D=layers, dropout_levels=levels)
    size = dict(adam=ADAM, batch_size=batch_size, steps=STEPS)
    run = Run('pix2pix', method=dict(loss=loss), networks=networks, **size, **DOUBLE)
    pairs = batches(STEPS, batch_size, 'float64')
    state = start(run, twin, pairs[0])
    for step, batch in enumerate(pairs):
      state, metrics = run.step(state, batch, step)
      a, b = channels_first(batch['source']), channels_first(batch['target'])
      set_masks(G, jax.random.split(key_of(run, step, 0), batch_size), levels, SIDE // 8)
      fake = G(a)
      real_logits, fake_logits = judge(a, b), judge(a, fake.detach())
      terms = {
        'loss_real': game(real_logits, torch.ones_like(real_logits)) / 2,
        'loss_fake': game(fake_logits, torch.zeros_like(fake_logits)) / 2,
      }
      twin.take('D', terms, step)
      kept = {name: x.clone() for name, x in D.named_buffers()}
      fake_logits = judge(a, fake)
      for name, x in D.named_buffers():  # of D's phase alone
        x.data = kept[name]
      terms |= {
        'loss_G': game(fake_logits, torch.ones_like(fake_logits)),
        'loss_l1': 100 * F.l1_loss(fake, b),
      }
      twin.take('G', {name: terms[name] for name in ('loss_G', 'loss_l1')}, step)
      for name, term in terms.items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-9, err_msg=name)
      twin.check(state)
    keys = jax.vmap(jax.random.key)(np.arange(batch_size))
    set_masks(G, keys, levels, SIDE // 8)
    rows = run.method.rows(np.arange(batch_size), batch)
    found, _ = run.sample(state, rows)
    theirs = [channels_last(G.train()(a))] if norm == 'instance' else []
    if norm == 'batch':  # test time: batches of one picture
      for i in range(batch_size):
        set_masks(G, keys[i : i + 1], levels, SIDE // 8)
        theirs.append(channels_last(G(a[i : i + 1])))
    np.testing.assert_allclose(found, np.concatenate(theirs), rtol=1e-9, atol=1e-9)


def pooled(held, size, images, key):
  """CycleGAN's pool as a list."""
  seen = []
  for number, image in enumerate(images.detach()):
    coin, place = jax.random.split(jax.random.fold_in(key, number))
    if len(held) < size:
      held.append(image)
    elif bool(jax.random.bernoulli(coin)):
      index = int(jax.random.randint(place, (), 0, size))
      held[index], image = image, held[index]
    seen.append(image)
  return torch.stack(seen)


def test_updates_of_cyclegan():
  torch.manual_seed(0)
  nets = {n: resnet(3, 2) for n in ('G_AB', 'G_BA')}
  nets |= {n: patch_gan(3, 3, 1, nn.InstanceNorm2d) for n in ('D_A', 'D_B')}
  twin = Twin(nets, {'G': ('G_AB', 'G_BA'), 'D': ('D_A', 'D_B')}, ADAM)
  G_AB, G_BA, D_A, D_B = nets.values()
  mse = lambda logits, target: F.mse_loss(logits, torch.full_like(logits, target))
  held = {'A': [], 'B': []}
  with jax.enable_x64(True):
    method = dict(pool_size=3)
    size = dict(adam=ADAM, batch_size=2, steps=STEPS)
    run = Run('cyclegan', method=method, networks=dict(blocks=2), **size, **DOUBLE)
    pictures = batches(STEPS, 2, 'float64')
    state = start(run, twin, pictures[0])
    swapped = 0
    for step, batch in enumerate(pictures):
      state, metrics = run.step(state, batch, step)
      a, b = channels_first(batch['source']), channels_first(batch['target'])
      fake_b, fake_a = G_AB(a), G_BA(b)
      terms = {
        'loss_G_AB': mse(D_B(fake_b), 1.0),
        'loss_G_BA': mse(D_A(fake_a), 1.0),
        'loss_cycle_A': 10 * F.l1_loss(G_BA(fake_b), a),
        'loss_cycle_B': 10 * F.l1_loss(G_AB(fake_a), b),
        'loss_identity_A': 10 * 0.5 * F.l1_loss(G_BA(a), a),
        'loss_identity_B': 10 * 0.5 * F.l1_loss(G_AB(b), b),
      }
      twin.take('G', terms, step)
      of_D = {}
      for i, (d, D, real, fake) in enumerate((('A', D_A, a, fake_a), ('B', D_B, b, fake_b))):
        seen = pooled(held[d], 3, fake, jax.random.fold_in(key_of(run, step, 1), i))
        swapped += int((seen != fake).any((1, 2, 3)).sum())
        of_D |= {f'loss_real_{d}': mse(D(real), 1.0) / 2, f'loss_fake_{d}': mse(D(seen), 0.0) / 2}
      twin.take('D', of_D, step)
      for name, term in (terms | of_D).items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-9, err_msg=name)
      twin.check(state)
      for d in 'AB':
        images = channels_last(torch.stack(held[d]))
        np.testing.assert_allclose(state.extra[d]['images'][: len(images)], images, atol=1e-9)
  assert swapped >= 4


@pytest.mark.parametrize('mirrored', [False, True])
def test_updates_of_cut(mirrored):
  """CUT, and FastCUT, which mirrors."""
  torch.manual_seed(0)
  widths, weight = (3, 6, 12, 12, 12), 10.0 if mirrored else 1.0
  nets = {'G': CutG(3, 2), 'D': cut_patch_gan(3, 1), 'F': Projection(widths, 6)}
  twin = Twin(nets, {'D': ('D',), 'G': ('G', 'F')}, ADAM)
  G, D, F_net = nets.values()
  mse = lambda logits, target: F.mse_loss(logits, torch.full_like(logits, target))

  def nce(made, given, key, coins=None):
    maps = G.features(made)
    if coins is not None:
      maps = [torch.stack([one.flip(2) if c else one for one, c in zip(x, coins)]) for x in maps]
    places = []
    for i, x in enumerate(maps):
      order = jax.random.permutation(jax.random.fold_in(key, i), x.shape[2] * x.shape[3])
      places.append(torch.tensor(np.asarray(order[:7])))
    pick = lambda maps: [x.flatten(2).transpose(1, 2)[:, p] for x, p in zip(maps, places)]
    pairs = zip(F_net(pick(maps)), F_net(pick(G.features(given))))
    return sum(patch_nce(q, k, 0.2) for a, b in pairs for q, k in zip(a, b)) / (5 * len(given))

  with jax.enable_x64(True):
    method = dict(patches=7, temperature=0.2, nce_weight=weight)
    method |= dict(mirrored=mirrored, identity=not mirrored)
    run = Run('cut', method=method, adam=ADAM, batch_size=2, steps=STEPS, **DOUBLE)
    pictures = batches(STEPS, 2, 'float64')
    state = start(run, twin, pictures[0])
    turned = set()
    for step, batch in enumerate(pictures):
      state, metrics = run.step(state, batch, step)
      a, b, coins = channels_first(batch['source']), channels_first(batch['target']), None
      given = a
      if mirrored:
        coins = np.asarray(jax.random.bernoulli(key_of(run, step, 0), 0.5, (2,)))
        given = torch.stack([one.flip(2) if c else one for one, c in zip(a, coins)])
        turned |= {*coins.tolist()}
      fake = G(given)
      terms = {'loss_real': mse(D(b), 1.0) / 2, 'loss_fake': mse(D(fake.detach()), 0.0) / 2}
      twin.take('D', terms, step)
      key = key_of(run, step, 1)
      of_G = {
        'loss_G': mse(D(fake), 1.0),
        'loss_nce': weight * nce(fake, a, jax.random.fold_in(key, 0), coins),
      }
      if not mirrored:
        of_G['loss_nce'] = of_G['loss_nce'] / 2
        of_G['loss_nce_identity'] = weight * nce(G(b), b, jax.random.fold_in(key, 1)) / 2
      twin.take('G', of_G, step)
      for name, term in (terms | of_G).items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-9, err_msg=name)
      twin.check(state)
  assert turned == ({True, False} if mirrored else set())


@pytest.mark.parametrize('blocks', [6, 9])
def test_the_resnets_of_the_paper(blocks):
  torch.manual_seed(0)
  net = resnet(4, blocks).double()
  with jax.enable_x64(True):
    run = Run('cyclegan', networks=dict(width=4, blocks=blocks), **DOUBLE)
    x = batches(1, 2, 'float64')[0]['source']
    found = run.method.nets['G_AB'].apply({'params': params(net)}, x, train=False)
  np.testing.assert_allclose(found, channels_last(net(channels_first(x))), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('downs', [7, 8])
@pytest.mark.parametrize('norm', ['batch', 'instance'])
def test_the_u_nets_of_the_paper(downs, norm):
  torch.manual_seed(0)
  side, net = 2**downs, u_net(2, downs, NORMS[norm]).double().train()
  keys, levels = jax.random.split(jax.random.key(3), 2), (0, 1, 2)
  x = np.random.default_rng(0).uniform(-1, 1, (2, side, side, 3))
  with jax.enable_x64(True):
    set_masks(net, keys, levels, 1)
    kinds = dict(width=2, downs=downs, norm=norm, dropout_levels=levels, **DOUBLE)
    G = pix2pix.build(resolution=(side, side), channels=3, **kinds)['G']
    variables = {'params': params(net), **stats(net)}
    found, _ = G.apply(variables, x, keys, train=True, mutable=['batch_stats'])
  np.testing.assert_allclose(found, channels_last(net(channels_first(x))), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize('layers', [0, 1, 3, 5])
@pytest.mark.parametrize('norm', ['batch', 'instance'])
def test_the_patch_gans_of_the_paper(layers, norm):
  torch.manual_seed(0)
  net = patch_gan(6, 2, layers, NORMS[norm]).double().train()
  x = np.random.default_rng(0).uniform(-1, 1, (2, 128, 128, 6))
  with jax.enable_x64(True):
    kinds = dict(width_D=2, downs=7, layers_D=layers, norm=norm, **DOUBLE)
    D = pix2pix.build(resolution=(128, 128), channels=3, **kinds)['D']
    variables = {'params': params(net), **stats(net)}
    found, _ = D.apply(variables, x, train=True, mutable=['batch_stats'])
  wanted = net(channels_first(x))[:, 0].detach().numpy()
  np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)
