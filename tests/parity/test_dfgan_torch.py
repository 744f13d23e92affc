"""networks/dfgan.py and methods/dfgan.py against PyTorch twins with the same weights, in float64: outputs and updates.

The twins are those of the benchmarks: pixels are repeated before a block, a shortcut is pooled and then convolved.
"""

import jax
import numpy as np
import pytest
from test_biggan_torch import close

from benchmarks.torch_nets import TextD, TextG
from ganjax import component
from ganjax import config as configs
from ganjax.method import name_nets, spans
from ganjax.networks import dfgan
from ganjax.optim import optimizers
from ganjax.update import init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
SIDE, WIDTH, Z, TEXT, BATCH = 8, 2, 3, 5, 4
DOUBLE = dict(dtype='float64', param_dtype='float64')
ADAM = dict(lr=2.0**-9, b1=0.0, b2=0.9, eps=1e-6)


value = lambda p: p.detach().numpy().copy()


def layer(module):
  weight = value(module.weight)
  weight = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
  return {'kernel': weight} | ({} if module.bias is None else {'bias': value(module.bias)})


def numbered(kind, modules):
  return {f'{kind}_{i}': layer(m) for i, m in enumerate(m for m in modules if m is not None)}


def params_of_G(net):
  def block(one):
    found = numbered('Conv', [one.c1, one.c2, one.shortcut])
    for i, a in enumerate(one.affines):
      found[f'Affine_{i}'] = numbered('Dense', [a.gamma[0], a.gamma[2], a.beta[0], a.beta[2]])
    return found

  return {
    'Dense_0': layer(net.first),
    **{f'Up_{i}': block(one) for i, one in enumerate(net.blocks)},
    'Conv_0': layer(net.last),
  }


def params_of_D(net):
  found = {name: layer(getattr(net, name)) for name in ('first', 'joint', 'logit')}
  for i, one in enumerate(net.blocks):
    found[f'blocks_{i}'] = numbered('Conv', [one.r1, one.r2, one.shortcut])
    found[f'blocks_{i}']['gain'] = value(one.gain)
  return found


def test_outputs_and_updates():
  """Two whole steps, from weights that are none of the starting ones, in which blocks are the identity."""
  torch.manual_seed(0)
  rng = np.random.default_rng(0)
  widths = [WIDTH * min(2**i, 8) for i in range(2)]
  g, d = TextG(widths[::-1], Z, TEXT).double(), TextD(widths, TEXT).double()
  for p in (*g.parameters(), *d.parameters()):
    p.data += 0.3 * torch.randn_like(p)
  adam = lambda net: torch.optim.Adam(net.parameters(), ADAM['lr'], (0.0, 0.9), ADAM['eps'])
  opt_g, opt_d = adam(g), adam(d)
  with jax.enable_x64(True):
    nets = dfgan.build(resolution=SIDE, channels=3, width=WIDTH, **DOUBLE)
    method = component.build('methods', dict(name='dfgan', z_dim=Z), nets=name_nets(nets))
    known = optimizers.build({n: configs.adam(**ADAM) for n in 'GD'}, method.phases, 10)
    (span,) = spans(method, 10, BATCH)
    update, key = make_update(method, span, known), jax.random.key(0)
    draw = lambda *shape: rng.uniform(-1, 1, shape)
    batches = [
      {'image': draw(BATCH, SIDE, SIDE, 3), 'sentence': draw(BATCH, TEXT)} for _ in range(2)
    ]
    state = jax.jit(lambda batch: init(method, known, key, batch))(batches[0])
    state = state.replace(params={'G': params_of_G(g), 'D': params_of_D(d)})
    for step, batch in enumerate(batches):
      drawn = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, step), 0), 0)
      z = torch.tensor(np.asarray(jax.random.normal(drawn, (BATCH, Z))))
      x = torch.tensor(batch['image']).permute(0, 3, 1, 2).requires_grad_()
      e = torch.tensor(batch['sentence']).requires_grad_()
      fake, features = g(z, e), d.look(x)
      real = d.judge(features, e)
      wrong = d.judge(torch.cat([features[1:], features[:1]]), e)
      slopes = torch.autograd.grad(real.sum(), (x, e), create_graph=True)
      length = torch.cat([s.flatten(1) for s in slopes], 1).pow(2).sum(1).sqrt()
      terms = {
        'loss_real': F.relu(1 - real).mean(),
        'loss_fake': F.relu(1 + d.judge(d.look(fake.detach()), e)).mean() / 2,
        'loss_mismatched': F.relu(1 + wrong).mean() / 2,
        'loss_ma_gp': 2 * (length**6).mean(),
      }
      opt_d.zero_grad()
      sum(terms.values()).backward()
      opt_d.step()
      terms['loss_G'] = -d.judge(d.look(fake), e).mean()
      opt_g.zero_grad()
      terms['loss_G'].backward()
      opt_g.step()
      state, metrics = update(state, (batch,), {}, phases=('D', 'G'))
      for name, term in terms.items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-9, err_msg=name)
      close(state.params['G'], params_of_G(g), 1e-9)
      close(state.params['D'], params_of_D(d), 1e-9)
    rows = method.rows(np.arange(BATCH), {'sentence': batch['sentence']}, scale=0.5)
    found = jax.jit(lambda state, rows: span.stage.sample(state, rows, train=False)[0])(state, rows)
    one = torch.tensor(np.asarray(rows['z'])), torch.tensor(batch['sentence'])
    np.testing.assert_allclose(found, g(*one).permute(0, 2, 3, 1).detach().numpy(), rtol=1e-6)
    whole = method.rows(np.arange(BATCH), {'sentence': batch['sentence']})
    np.testing.assert_allclose(whole['z'], 2 * rows['z'])


@pytest.mark.parametrize(
  'side, counts', [(64, (4_868_867, 3_210_820)), (256, (9_744_131, 6_619_206))]
)
def test_parameter_counts_of_the_published_code(side, counts):
  """Its D has a shortcut's layer in blocks that do not use it, and counts apart what judges beside the text."""
  nets = dfgan.build(resolution=side, channels=3)
  image, sentence = np.zeros((1, side, side, 3), np.float32), np.zeros((1, 256), np.float32)
  shapes = lambda net, *x: jax.eval_shape(lambda: net.init(jax.random.key(0), *x, train=False))
  count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
  of_G = count(shapes(nets['G'], np.zeros((1, 100), np.float32), sentence))
  of_D = shapes(nets['D'], image, sentence)['params']
  judge = count([of_D.pop(name) for name in ('joint', 'logit')])
  blocks = {64: 1, 256: 3}[side]
  assert judge == 295_936
  assert (of_G, count(of_D) + blocks * (256 * 256 + 256)) == counts
