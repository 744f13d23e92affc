"""networks/can.py and methods/can.py against PyTorch twins with the same weights, in float64; the ambiguity loss."""

import jax
import numpy as np
import pytest
from test_biggan_torch import close
from test_gan_cls_torch import params, stats

from ganjax import UserError, component
from ganjax import config as configs
from ganjax.method import name_nets, spans
from ganjax.methods import can as method_file
from ganjax.networks import can
from ganjax.optim import optimizers
from ganjax.update import init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
WIDTH, Z, K, BATCH, SIDE = 2, 3, 3, 4, 32
DOUBLE = dict(dtype='float64', param_dtype='float64')
ADAM = dict(lr=2.0**-9, b1=0.5, b2=0.999, eps=1e-6)


class G(nn.Module):
  def __init__(self, w=WIDTH):
    super().__init__()
    self.first, self.norm = nn.Linear(Z, 4 * 8 * w), nn.BatchNorm2d(8 * w)
    layers, a = [], 8 * w
    for b in (4 * w, 2 * w, w):
      layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
      a = b
    self.main = nn.Sequential(*layers, nn.ConvTranspose2d(a, 3, 4, 2, 1), nn.Tanh())

  def forward(self, z):
    x = self.first(z).reshape(len(z), 2, 2, -1).permute(0, 3, 1, 2)
    return self.main(F.relu(self.norm(x)))


class D(nn.Module):
  def __init__(self, w=WIDTH):
    super().__init__()
    act, layers, a = nn.LeakyReLU(0.2), [nn.Conv2d(3, w, 4, 2, 1), nn.LeakyReLU(0.2)], w
    for b in (2 * w, 4 * w):
      layers += [nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), act]
      a = b
    self.look, self.logit = nn.Sequential(*layers), nn.Linear(16 * a, 1)
    self.styles = nn.Sequential(nn.Linear(16 * a, 5), act, nn.Linear(5, K))

  def forward(self, x):
    x = self.look(x).permute(0, 2, 3, 1).flatten(1)
    return self.logit(x)[:, 0], self.styles(x)


@pytest.mark.parametrize('kind', ['cross_entropy', 'binary'])
def test_the_ambiguity_loss(kind):
  """Against the formula; least where all styles are equally likely, and finite where D is sure."""
  scores = np.random.default_rng(0).normal(size=(5, 4))
  p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
  wanted = -np.log(p).mean()
  if kind == 'binary':
    wanted = -(np.log(p) / 4 + 0.75 * np.log1p(-p)).sum(1).mean()
  with jax.enable_x64(True):
    loss = jax.jit(lambda x: method_file.undecided(x, kind))
    slope = jax.jit(jax.grad(loss))
    np.testing.assert_allclose(loss(scores), wanted, rtol=1e-12)
    np.testing.assert_allclose(slope(np.full((2, 4), 7.0)), 0, atol=1e-12)
    sure = np.array([[1000.0, 0, 0, 0]])
    assert np.isfinite(loss(sure)) and np.isfinite(slope(sure)).all()


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['cross_entropy', 'binary'])
def test_updates(kind):
  torch.manual_seed(0)
  nets = {'G': G().double().train(), 'D': D().double().train()}
  g, d = nets.values()
  opt = {
    n: torch.optim.Adam(net.parameters(), ADAM['lr'], (0.5, 0.999), ADAM['eps'])
    for n, net in nets.items()
  }
  bce = lambda logits, target: F.binary_cross_entropy_with_logits(
    logits, torch.full_like(logits, target)
  )
  with jax.enable_x64(True):
    sizes = dict(width=WIDTH, width_D=WIDTH, hidden=(5,), num_classes=K)
    ours = can.build(resolution=SIDE, channels=3, **sizes, **DOUBLE)
    arguments = dict(name='can', z_dim=Z, ambiguity=0.7, ambiguity_loss=kind)
    method = component.build('methods', arguments, nets=name_nets(ours))
    assert method.num_classes == K
    known = optimizers.build({n: configs.adam(**ADAM) for n in 'GD'}, method.phases, 10)
    (span,) = spans(method, 10, BATCH)
    update, base, rng = (
      make_update(method, span, known),
      jax.random.key(0),
      np.random.default_rng(0),
    )
    batches = [
      {'image': rng.uniform(-1, 1, (BATCH, SIDE, SIDE, 3)), 'label': rng.integers(0, K, BATCH)}
      for _ in range(2)
    ]
    state = jax.jit(lambda batch: init(method, known, base, batch))(batches[0])
    state = state.replace(
      params={name: params(net) for name, net in nets.items()},
      stats={name: stats(net) for name, net in nets.items()},
    )
    for step, batch in enumerate(batches):
      x, label = torch.tensor(batch['image']).permute(0, 3, 1, 2), torch.tensor(batch['label'])
      losses = {}
      for phase, name in enumerate('DG'):
        other = nets['DG'[1 - phase]]
        kept = [b.clone() for b in other.buffers()]
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(base, step), phase), 0)
        fake = g(torch.tensor(np.asarray(jax.random.normal(key, (BATCH, Z)))))
        if name == 'D':
          (real, styles), (made, _) = d(x), d(fake.detach())
          terms = {'loss_real': bce(real, 1.0), 'loss_fake': bce(made, 0.0)}
          terms['loss_style'] = F.cross_entropy(styles, label)
        else:
          made, styles = d(fake)
          p = styles.softmax(1)
          even = (
            F.binary_cross_entropy(p, torch.full_like(p, 1 / K), reduction='none').sum(1).mean()
          )
          even = even if kind == 'binary' else -styles.log_softmax(1).mean()
          terms = {'loss_G': bce(made, 1.0), 'loss_ambiguity': 0.7 * even}
        opt[name].zero_grad()
        sum(terms.values()).backward()
        opt[name].step()
        for buffer, before in zip(other.buffers(), kept):
          buffer.data = before
        losses |= terms
      state, metrics = update(state, (batch,), {}, phases=('D', 'G'))
      for name, term in losses.items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-8, err_msg=name)
      for name, net in nets.items():
        close(state.params[name], params(net), 1e-6)
        close(state.stats[name], stats(net), 1e-6)


@pytest.mark.parametrize('arguments, message', [
  (dict(ambiguity_loss='even'), "ambiguity_loss='even' must be cross_entropy or binary"),
  (dict(ambiguity=-1.0), 'ambiguity=-1.0 a number from 0'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    method_file.build({'G': None, 'D': None}, **arguments)
  with pytest.raises(UserError, match='makes squares whose sides are 32, 64'):
    can.build(resolution=48, channels=3, num_classes=3)
