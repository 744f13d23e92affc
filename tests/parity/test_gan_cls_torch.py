"""networks/gan_cls.py and methods/gan_cls.py against PyTorch twins with the same weights, in float64."""

import jax
import numpy as np
import pytest
from test_biggan_torch import close
from test_mocogan_torch import KINDS, value

from ganjax import UserError, component
from ganjax import config as configs
from ganjax.method import name_nets, named, spans
from ganjax.networks import gan_cls
from ganjax.optim import optimizers
from ganjax.update import init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
WIDTH, Z, TEXT, E, BATCH = 2, 3, 4, 5, 4
DOUBLE = dict(dtype='float64', param_dtype='float64')
ADAM = dict(lr=2.0**-9, b1=0.5, b2=0.999, eps=1e-6)


class Residual(nn.Module):
  def __init__(self, features, narrow, act):
    super().__init__()
    conv = lambda a, b, k: (nn.Conv2d(a, b, k, padding=k // 2), nn.BatchNorm2d(b))
    layers = [
      *conv(features, narrow, 1),
      act,
      *conv(narrow, narrow, 3),
      act,
      *conv(narrow, features, 3),
    ]
    self.body, self.act = nn.Sequential(*layers), act

  def forward(self, x):
    return self.act(x + self.body(x))


class G(nn.Module):
  def __init__(self, w=WIDTH):
    super().__init__()
    self.text = nn.Linear(E, TEXT)
    up = lambda a, b: nn.ConvTranspose2d(a, b, 4, 2, 1)
    layers = [nn.ConvTranspose2d(Z + TEXT, 8 * w, 4), nn.BatchNorm2d(8 * w)]
    layers += [Residual(8 * w, 2 * w, nn.ReLU()), up(8 * w, 4 * w), nn.BatchNorm2d(4 * w)]
    layers += [Residual(4 * w, w, nn.ReLU()), up(4 * w, 2 * w), nn.BatchNorm2d(2 * w), nn.ReLU()]
    self.main = nn.Sequential(
      *layers, up(2 * w, w), nn.BatchNorm2d(w), nn.ReLU(), up(w, 3), nn.Tanh()
    )

  def forward(self, z, sentence):
    c = F.leaky_relu(self.text(sentence), 0.2)
    return self.main(torch.cat([z, c], 1)[..., None, None])


class D(nn.Module):
  def __init__(self, w=WIDTH):
    super().__init__()
    act, layers = nn.LeakyReLU(0.2), [nn.Conv2d(3, w, 4, 2, 1), nn.LeakyReLU(0.2)]
    for f in (1, 2, 4):
      layers += [
        nn.Conv2d(f * w, 2 * f * w, 4, 2, 1),
        nn.BatchNorm2d(2 * f * w),
        *([act] if f < 4 else []),
      ]
    self.look = nn.Sequential(*layers, Residual(8 * w, 2 * w, act))
    self.text = nn.Sequential(nn.Linear(E, TEXT), nn.BatchNorm1d(TEXT), act)
    joint = [nn.Conv2d(8 * w + TEXT, 8 * w, 1), nn.BatchNorm2d(8 * w), act]
    self.judge = nn.Sequential(*joint, nn.Conv2d(8 * w, 1, 4))

  def forward(self, x, sentence):
    c = self.text(sentence)[..., None, None].expand(-1, -1, 4, 4)
    return self.judge(torch.cat([self.look(x), c], 1))[:, 0, 0, 0]


KNOWN = KINDS | {'Linear': 'Dense', 'BatchNorm1d': 'BatchNorm'}


def of_layers(net, make):
  found = {}
  for module in net.modules():
    if kind := KNOWN.get(type(module).__name__):
      found[f'{kind}_{sum(name.split("_")[0] == kind for name in found)}'] = make(module)
  return {name: one for name, one in found.items() if one is not None}


def layer(module):
  weight, bias = value(module.weight), value(module.bias)
  if weight.ndim == 1:
    return {'scale': weight, 'bias': bias}
  return {'kernel': weight.transpose(*range(2, weight.ndim), 1, 0), 'bias': bias}


def params(net):
  return of_layers(net, layer)


def stats(net):
  read = lambda m: {'mean': value(m.running_mean), 'var': value(m.running_var)}
  return {'batch_stats': of_layers(net, lambda m: read(m) if hasattr(m, 'running_mean') else None)}


@pytest.mark.slow
def test_updates():
  """Two whole steps. Biases before a norm have no gradient but round-off."""
  torch.manual_seed(0)
  nets = {'G': G().double().train(), 'D': D().double().train()}
  g, d = nets.values()
  adam = lambda net: torch.optim.Adam(net.parameters(), ADAM['lr'], (0.5, 0.999), ADAM['eps'])
  opt = {'G': adam(g), 'D': adam(d)}
  bce = lambda logits, target: F.binary_cross_entropy_with_logits(
    logits, torch.full_like(logits, target)
  )
  with jax.enable_x64(True):
    sizes = dict(width=WIDTH, width_D=WIDTH, text=TEXT)
    ours = gan_cls.build(resolution=64, channels=3, **sizes, **DOUBLE)
    method = component.build(
      'methods', dict(name='gan_cls', z_dim=Z, between=0.7), nets=name_nets(ours)
    )
    known = optimizers.build({n: configs.adam(**ADAM) for n in 'GD'}, method.phases, 10)
    (span,) = spans(method, 10, BATCH)
    update, base, rng = (
      make_update(method, span, known),
      jax.random.key(0),
      np.random.default_rng(0),
    )
    draw = lambda *shape: rng.uniform(-1, 1, shape)
    batches = [{'image': draw(BATCH, 64, 64, 3), 'sentence': draw(BATCH, E)} for _ in range(2)]
    state = jax.jit(lambda batch: init(method, known, base, batch))(batches[0])
    state = state.replace(
      params={name: params(net) for name, net in nets.items()},
      stats={name: stats(net) for name, net in nets.items()},
    )
    for step, batch in enumerate(batches):
      key_of = lambda phase, step=step: jax.random.fold_in(
        jax.random.fold_in(jax.random.fold_in(base, step), phase), 0
      )
      z_of = lambda phase, name, count, key_of=key_of: torch.tensor(
        np.asarray(jax.random.normal(named(key_of(phase), name), (count, Z)))
      )
      keep = lambda net: [b.clone() for b in net.buffers()]
      x, e = torch.tensor(batch['image']).permute(0, 3, 1, 2), torch.tensor(batch['sentence'])
      kept = keep(g)
      fake = g(z_of(0, 'z', BATCH), e).detach()
      real, wrong, fake = d(x, e), d(torch.cat([x[1:], x[:1]]), e), d(fake, e)
      of_D = {
        'loss_real': bce(real, 1.0),
        'loss_mismatched': bce(wrong, 0.0) / 2,
        'loss_fake': bce(fake, 0.0) / 2,
      }
      for buffer, before in zip(g.buffers(), kept):
        buffer.data = before
      opt['D'].zero_grad()
      sum(of_D.values()).backward()
      opt['D'].step()
      kept = keep(d)
      middle = (e[:2] + e[2:]) / 2
      of_G = {
        'loss_G': bce(d(g(z_of(1, 'z', BATCH), e), e), 1.0),
        'loss_between': 0.7 * bce(d(g(z_of(1, 'z between', 2), middle), middle), 1.0),
      }
      for buffer, before in zip(d.buffers(), kept):
        buffer.data = before
      opt['G'].zero_grad()
      sum(of_G.values()).backward()
      opt['G'].step()
      state, metrics = update(state, (batch,), {}, phases=('D', 'G'))
      for name, term in (of_D | of_G).items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-8, err_msg=name)
      for name, net in nets.items():
        close(state.params[name], params(net), 1e-6)
        close(state.stats[name], stats(net), 1e-6)
    rows = method.rows(np.arange(2), {'sentence': batch['sentence'][:2]})
    found = jax.jit(lambda state, rows: span.stage.sample(state, rows, train=False)[0])(state, rows)
    one = torch.tensor(np.asarray(rows['z'])), torch.tensor(batch['sentence'][:2])
    theirs = g.eval()(*one).permute(0, 2, 3, 1).detach().numpy()
    np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)


def test_it_makes_64_pixels():
  with pytest.raises(UserError, match='makes pictures of 64x64, not data.resolution=32'):
    gan_cls.build(resolution=32, channels=3)
