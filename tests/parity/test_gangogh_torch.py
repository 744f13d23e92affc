"""networks/gangogh.py against PyTorch twins with the same weights, in float64: outputs, and slopes of D's slopes.

The losses are those of `methods/gan.py`, which tests/parity/test_updates_torch.py has.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_attngan_torch import layer

from ganjax import UserError
from ganjax.networks import gangogh

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
W, Z, K, BATCH, SIDE = 2, 3, 3, 4, 16
value = lambda p: p.detach().numpy().copy()


class G(nn.Module):
  """Even and odd channels are the parts of a gate; the style's numbers are a linear layer's of 0s and 1s."""

  def __init__(self):
    super().__init__()
    self.first = nn.Linear(Z + K, 16 * 4 * W)
    self.ups = nn.ModuleList(
      [nn.ConvTranspose2d(2 * W, 2 * W, 5, 2, 1), nn.ConvTranspose2d(W, 3, 5, 2, 1)]
    )
    self.norms = nn.ModuleList([nn.BatchNorm2d(4 * W), nn.BatchNorm2d(2 * W)])
    self.styles = nn.ModuleList([nn.Linear(K, 16 * 4 * W, bias=False), nn.Linear(K, 64 * 2 * W)])

  def forward(self, z, label):
    one = F.one_hot(label, K).double()
    x = self.first(torch.cat([z, one], 1)).reshape(-1, 4 * W, 4, 4)
    for i in range(2):
      x = self.norms[i](x)
      x = x + self.styles[i](one).reshape(x.shape)
      x = torch.sigmoid(x[:, ::2]) * torch.tanh(x[:, 1::2])
      x = self.ups[i](x)[:, :, :-1, :-1]
    return torch.tanh(x)


class D(nn.Module):
  def __init__(self):
    super().__init__()
    self.convs = nn.ModuleList([nn.Conv2d(3, W, 5, 2), nn.Conv2d(W, 2 * W, 5, 2)])
    self.norm = nn.GroupNorm(1, 2 * W)
    self.source, self.style = nn.Linear(16 * 2 * W, 1), nn.Linear(16 * 2 * W, K)

  def forward(self, x):
    x = F.leaky_relu(self.convs[0](F.pad(x, (1, 2, 1, 2))), 0.2)
    x = F.leaky_relu(self.norm(self.convs[1](F.pad(x, (1, 2, 1, 2)))), 0.2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    return self.source(x)[:, 0], self.style(x)


def halves(x, axis):
  """Even channels, then odd ones."""
  x = np.moveaxis(x, axis, 0)
  return np.moveaxis(np.concatenate([x[::2], x[1::2]]), 0, axis)


def maps(x, features):
  """[..., features 4 4] of torch's order -> [..., 4 4 features] of ours."""
  side = int((x.shape[-1] // features) ** 0.5)
  x = halves(x.reshape(*x.shape[:-1], features, side, side), x.ndim - 1)
  return np.moveaxis(x, x.ndim - 3, -1)


def params_of_G(net):
  first = layer(net.first)
  found = {'Dense_0': {k: maps(x, 4 * W).reshape(*x.shape[:-1], -1) for k, x in first.items()}}
  for i, (up, norm, style) in enumerate(zip(net.ups, net.norms, net.styles)):
    own, features = layer(up), norm.num_features
    if i == 0:
      own = {'kernel': halves(own['kernel'], 2), 'bias': halves(own['bias'], 0)}
    found[f'ConvTranspose_{i}'] = own
    found[f'BatchNorm_{i}'] = {k: halves(x, 0) for k, x in layer(norm).items()}
    table = maps(value(style.weight).T, features).reshape(K, -1)
    found[f'ClassEmbed_{i}'] = {'embedding': table}
  found['bias_1'] = maps(value(net.styles[1].bias), 2 * W)
  return found


def params_of_D(net):
  return {
    **{f'Conv_{i}': layer(one) for i, one in enumerate(net.convs)},
    'LayerNorm_0': {'scale': value(net.norm.weight), 'bias': value(net.norm.bias)},
    'Dense_0': layer(net.source),
    'Dense_1': layer(net.style),
  }


def test_outputs_and_second_slopes():
  torch.manual_seed(0)
  rng, g, d = np.random.default_rng(0), G().double().train(), D().double()
  for p in (*g.parameters(), *d.parameters()):
    p.data += 0.2 * torch.randn_like(p)
  z, label = rng.normal(size=(BATCH, Z)), np.array([0, 2, 1, 1])
  with jax.enable_x64(True):
    sizes = dict(resolution=SIDE, channels=3, num_classes=K, width=W, width_D=W)
    nets = gangogh.build(**sizes, dtype='float64', param_dtype='float64')
    start = jax.eval_shape(lambda: nets['G'].init(jax.random.key(0), z, label, train=True))
    own = params_of_G(g)
    jax.tree.map(lambda x, y: np.testing.assert_equal(x.shape, y.shape), start['params'], own)
    run = lambda label: nets['G'].apply(
      {'params': own, 'batch_stats': zeros(start['batch_stats'])},
      z,
      label,
      train=True,
      mutable=['batch_stats'],
    )[0]
    fakes = jax.jit(run)(label)
    made = g(torch.tensor(z), torch.tensor(label))
    np.testing.assert_allclose(fakes, made.permute(0, 2, 3, 1).detach().numpy(), atol=1e-10)
    np.testing.assert_allclose(jax.jit(run)(np.eye(K)[label]), fakes, atol=1e-12)
    params = params_of_D(d)
    judge = lambda params, x: nets['D'].apply({'params': params}, x, train=True)
    ours, theirs = jax.jit(judge)(params, fakes), d(made)
    for a, b in zip(ours, theirs, strict=True):
      np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-9)

    def penalty(params):
      slopes = jax.grad(lambda x: jnp.sum(judge(params, x)[0]))(fakes)
      return jnp.mean((jnp.sqrt(jnp.sum(slopes**2, (1, 2, 3))) - 1) ** 2)

    x = made.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(d(x)[0].sum(), x, create_graph=True)
    wanted = ((slopes.flatten(1).norm(dim=1) - 1) ** 2).mean()
    wanted.backward()
    found, grads = jax.jit(jax.value_and_grad(penalty))(params)
    np.testing.assert_allclose(found, wanted.item(), rtol=1e-9)
    weight = d.convs[1].weight.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(grads['Conv_1']['kernel'], weight, atol=1e-9 * np.abs(weight).max())


def zeros(tree):
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)


def test_what_is_refused():
  with pytest.raises(UserError, match='squares whose sides are 16, 32, 64'):
    gangogh.build(resolution=48, channels=3, num_classes=3)
  with pytest.raises(UserError, match='num_classes=1 must be at least 2'):
    gangogh.build(resolution=64, channels=3, num_classes=1)
