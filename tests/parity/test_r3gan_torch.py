"""networks/r3gan.py against a PyTorch twin with the same weights, in float64: outputs, gradients, those of R1 and R2.

The twin is written as the paper reads (arXiv:2501.05441, section 3): convolutions of torch with `groups`, resampling as
strided convolutions of each channel with the [1, 2, 1] filter over repeated pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.losses import adversarial, penalties
from ganjax.networks import r3gan

torch = pytest.importorskip('torch')

F = torch.nn.functional
RNG = np.random.default_rng(0)
LABEL = np.array([0, 2, 1])
CASES = {
  'two blocks': dict(resolution=8, width=8, cardinality=4, blocks=2),
  'classes': dict(resolution=8, width=8, cardinality=4, num_classes=3, embed_dim=5),
  'narrowing': dict(resolution=16, width=(24, 16, 8), cardinality=6),
  'split on CPU': dict(resolution=8, width=32, cardinality=8),
}


def conv(x, w, b=None, groups=1):
  w = w.permute(3, 2, 0, 1)
  return F.conv2d(x, w, b, padding=w.shape[2] // 2, groups=groups)


def filters(x):
  """[1, 2, 1] over repeated pixels, a kernel for each channel that sums to 1."""
  line = np.convolve([1, 2, 1], [1, 1])
  kernel = torch.tensor(np.outer(line, line) / 64)
  return kernel.expand(x.shape[1], 1, 4, 4)


def up(x):
  return 4 * F.conv_transpose2d(x, filters(x), stride=2, padding=1, groups=x.shape[1])


def down(x):
  return F.conv2d(x, filters(x), stride=2, padding=1, groups=x.shape[1])


def block(x, p, groups):
  y = F.leaky_relu(conv(x, p['Conv_0']['kernel'], p['Conv_0']['bias']), 0.2)
  y = F.leaky_relu(conv(y, p['Conv_1']['kernel'], p['Conv_1']['bias'], groups), 0.2)
  return x + conv(y, p['Conv_2']['kernel'])


class Twin:
  """G or D with the weights of ours: a tree of tensors in our layout."""

  def __init__(self, net, params):
    leaf = lambda w: torch.tensor(np.asarray(w), requires_grad=True)
    self.net, self.params = net, jax.tree.map(leaf, params)

  def grads(self):
    return jax.tree.map(lambda w: w.grad.numpy(), self.params)

  def blocks(self, x, number, groups):
    for i in range(number * self.net.blocks, (number + 1) * self.net.blocks):
      x = block(x, self.params[f'Block_{i}'], groups)
    return x

  def change(self, x, width):
    """The 1x1 convolution between stages, where widths differ."""
    if x.shape[1] == width:
      return x
    self.used += 1
    return conv(x, self.params[f'Conv_{self.used - 1}']['kernel'])

  def G(self, z, label):
    p, self.used = self.params, 0
    if self.net.num_classes:
      z = torch.cat([z, F.embedding(label, p['ClassEmbed_0']['embedding'])], 1)
    x = F.linear(z, p['Dense_0']['kernel'].T)[:, :, None, None] * p['basis'].permute(2, 0, 1)
    for i, (width, _, groups) in enumerate(self.net.stages):
      x = self.blocks(up(self.change(x, width)) if i else x, i, groups)
    return conv(x, p[f'Conv_{self.used}']['kernel'])

  def D(self, x, label):
    p, self.used = self.params, 1
    x = conv(x, p['Conv_0']['kernel'])
    for i, (width, _, groups) in enumerate(reversed(self.net.stages)):
      x = self.blocks(self.change(down(x), width) if i else x, i, groups)
    x = F.conv2d(x, p['basis'].permute(2, 0, 1)[:, None], groups=x.shape[1]).flatten(1)
    x = F.linear(x, p['Dense_0']['kernel'].T)
    return (
      (x * F.embedding(label, p['ClassEmbed_0']['embedding'])).sum(1)
      if label is not None
      else x[:, 0]
    )


class Module(torch.nn.Module):
  """A twin as a module, with weights from N(0, 0.3^2): for whole updates, which are in test_updates_torch.py."""

  def __init__(self, net, kind, *inputs):
    super().__init__()
    init = lambda: net.init(jax.random.key(0), *inputs, train=False)['params']
    draw = lambda w: 0.3 * torch.randn(w.shape).numpy()
    self.twin, self.kind = Twin(net, jax.tree.map(draw, jax.eval_shape(init))), kind
    leaves, self.tree = jax.tree.flatten(self.twin.params)
    self.leaves = torch.nn.ParameterList(leaves)

  def forward(self, x, label):
    self.twin.params = jax.tree.unflatten(self.tree, list(self.leaves))
    return getattr(self.twin, self.kind)(x, label)

  def read_params(self, read):
    return jax.tree.unflatten(self.tree, [read(leaf) for leaf in self.leaves])

  def read_stats(self):
    return {}


def noisy(params):
  """Blocks are the identity at the start, and biases zero."""
  return jax.tree.map(lambda w: w + 0.3 * RNG.normal(size=w.shape), params)


def close(ours, theirs, what):
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs)):
    name = what + jax.tree_util.keystr(path)
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(b).max(), err_msg=name)


nchw = lambda x: torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))


@pytest.mark.parametrize('name', CASES)
def test_losses_and_penalties_of_the_game(name):
  """G's relativistic loss in G's weights; D's with R1 and R2, a second derivative, in D's."""
  case = {'blocks': 1, **CASES[name]}
  size, classes = case['resolution'], case.get('num_classes', 0)
  label = LABEL if classes else None
  ids = torch.tensor(LABEL) if classes else None
  z, real = RNG.normal(size=(3, 7)), RNG.uniform(-1, 1, (3, size, size, 3))
  with jax.enable_x64(True):
    nets = r3gan.build(channels=3, dtype='float64', param_dtype='float64', **case)
    init = lambda net, x: nets[net].init(jax.random.key(0), x, label, train=True)['params']
    start = jax.jit(init, static_argnums=0)
    params = {net: noisy(start(net, x)) for net, x in (('G', z), ('D', real))}
    run = lambda net, p, x: nets[net].apply({'params': p}, x, label, train=True)

    def loss_G(p):
      fakes = run('G', p, z)
      return adversarial.relativistic_G(
        run('D', params['D'], fakes), run('D', params['D'], real)
      ), fakes

    def loss_D(p, fakes):
      logits = lambda x: run('D', p, x)
      terms = adversarial.relativistic_D(logits(real), logits(fakes))
      total = sum(getattr(penalties, n)(logits, real, fakes, None) for n in ('r1', 'r2'))
      return terms['loss_relativistic'] + 0.7 * total, total

    (value_G, fakes), grads_G = jax.jit(jax.value_and_grad(loss_G, has_aux=True))(params['G'])
    (value_D, total), grads_D = jax.jit(jax.value_and_grad(loss_D, has_aux=True))(
      params['D'], fakes
    )
    assert not jnp.allclose(fakes[0], fakes[1])

  G, D = (Twin(nets[net], params[net]) for net in 'GD')
  images = nchw(real).requires_grad_()
  made = G.G(torch.tensor(z), ids)
  close(fakes, made.detach().permute(0, 2, 3, 1).numpy(), 'images')
  loss = F.softplus(D.D(images, ids) - D.D(made, ids)).mean()
  loss.backward(inputs=jax.tree.leaves(G.params))
  close(value_G, loss.detach().numpy(), 'loss of G')
  close(grads_G, G.grads(), 'G')

  made = made.detach().requires_grad_()
  logits = D.D(images, ids), D.D(made, ids)
  slopes = [
    torch.autograd.grad(y.sum(), x, create_graph=True)[0] for y, x in zip(logits, (images, made))
  ]
  penalty = sum(slope.square().sum((1, 2, 3)).mean() / 2 for slope in slopes)
  loss = F.softplus(logits[1] - logits[0]).mean() + 0.7 * penalty
  loss.backward(inputs=jax.tree.leaves(D.params))
  close(total, penalty.detach().numpy(), 'penalties')
  close(value_D, loss.detach().numpy(), 'loss of D')
  close(grads_D, D.grads(), 'D')
