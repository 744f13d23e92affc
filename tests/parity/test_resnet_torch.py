"""networks/resnet.py against PyTorch twins with the same weights, in float64: pictures, logits, gradients, statistics.

The twins are written as the papers' tables read: convolve, then resample; ours resamples first where that is the same.
"""

import jax
import numpy as np
import pytest
from test_biggan_torch import Attention

from ganjax.networks import resnet

torch = pytest.importorskip('torch')

F = torch.nn.functional
SN = torch.nn.utils.spectral_norm
RNG = np.random.default_rng(0)
CASES = {
  'plain 32': dict(resolution=32, width=6, width_D=5, spectral=False, pool='mean'),
  'SNGAN 32': dict(resolution=32, width=6, width_D=5),
  'projection 32': dict(resolution=32, width=6, width_D=5, num_classes=4),
  'SNGAN 48': dict(resolution=48, width=2, width_D=2),
  'SNGAN 64': dict(resolution=64, width=1, width_D=1),
  'SAGAN 64': dict(
    resolution=64, width=4, width_D=4, num_classes=4, wide=True, spectral_G=True, attention=16
  ),
}


class Norm(torch.nn.Module):
  def __init__(self, features, classes):
    super().__init__()
    self.norm = torch.nn.BatchNorm2d(features, affine=not classes)
    if classes:
      self.scale = torch.nn.Embedding(classes, features)
      self.bias = torch.nn.Embedding(classes, features)

  def forward(self, x, label):
    if not hasattr(self, 'scale'):
      return self.norm(x)
    scale, bias = ((1 + self.scale(label)), self.bias(label))
    return self.norm(x) * scale[:, :, None, None] + bias[:, :, None, None]


class Up(torch.nn.Module):
  def __init__(self, a, b, classes, wrap):
    super().__init__()
    self.b1, self.b2 = Norm(a, classes), Norm(b, classes)
    self.c1 = wrap(torch.nn.Conv2d(a, b, 3, padding=1))
    self.c2 = wrap(torch.nn.Conv2d(b, b, 3, padding=1))
    self.c_sc = wrap(torch.nn.Conv2d(a, b, 1))

  def forward(self, x, label):
    double = lambda x: F.interpolate(x, scale_factor=2, mode='nearest')
    y = self.c1(double(F.relu(self.b1(x, label))))
    return self.c2(F.relu(self.b2(y, label))) + self.c_sc(double(x))


class G(torch.nn.Module):
  def __init__(self, side, channels, classes, wrap=lambda layer: layer, attention=0):
    super().__init__()
    self.shape = channels[0], side, side
    self.l1 = wrap(torch.nn.Linear(7, channels[0] * side * side))
    pairs = zip(channels, channels[1:])
    self.blocks = torch.nn.ModuleList([Up(a, b, classes, wrap) for a, b in pairs])
    self.norm = Norm(channels[-1], 0)
    self.last = wrap(torch.nn.Conv2d(channels[-1], 3, 3, padding=1))
    self.side = attention
    if attention:
      self.attention = Attention(channels[int(np.log2(attention // side))])

  def forward(self, z, label):
    x = self.l1(z).reshape(-1, *self.shape)
    for block in self.blocks:
      x = block(x, label)
      x = self.attention(x) if x.shape[2] == self.side else x
    return torch.tanh(self.last(F.relu(self.norm(x, None))))


class Down(torch.nn.Module):
  def __init__(self, a, b, first, down, wrap, wide):
    super().__init__()
    self.first, self.down = first, down
    middle = b if first or wide else a
    self.c1 = wrap(torch.nn.Conv2d(a, middle, 3, padding=1))
    self.c2 = wrap(torch.nn.Conv2d(middle, b, 3, padding=1))
    if down or a != b:
      self.c_sc = wrap(torch.nn.Conv2d(a, b, 1))

  def forward(self, x):
    y = self.c2(F.relu(self.c1(x if self.first else F.relu(x))))
    if hasattr(self, 'c_sc'):
      x = self.c_sc(x)
    return F.avg_pool2d(x + y, 2) if self.down else x + y


class D(torch.nn.Module):
  def __init__(self, channels, downs, wrap, pool, classes, wide=False, after=None):
    super().__init__()
    self.pool, self.after = pool, after  # the number of the block that attention follows
    pairs = enumerate(zip([3, *channels], channels))
    blocks = [Down(a, b, i == 0, i < downs, wrap, wide) for i, (a, b) in pairs]
    self.blocks = torch.nn.ModuleList(blocks)
    if after is not None:
      self.attention = Attention(channels[after])
    self.l5 = wrap(torch.nn.Linear(channels[-1], 1))
    if classes:
      self.l_y = wrap(torch.nn.Embedding(classes, channels[-1]))

  def forward(self, x, label):
    for i, block in enumerate(self.blocks):
      x = block(x)
      x = self.attention(x) if i == self.after else x
    x = F.relu(x)
    x = x.sum((2, 3)) if self.pool == 'sum' else x.mean((2, 3))
    y = self.l5(x)[:, 0]
    return y + (self.l_y(label) * x).sum(1) if hasattr(self, 'l_y') else y


def layer(module, read):
  """Ours of a torch layer's weights, or of their gradients: what `read` takes from a parameter."""
  weight = read(getattr(module, 'weight_orig', module.weight))
  if isinstance(module, torch.nn.Embedding):
    return {'embedding': weight}
  if isinstance(module, torch.nn.BatchNorm2d):
    return {'scale': weight, 'bias': read(module.bias)}
  kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
  return {'kernel': kernel} | ({} if module.bias is None else {'bias': read(module.bias)})


def attention(net, prefix, read):
  """{'SelfAttention_0': those of its convolutions}, or {}."""
  if not hasattr(net, 'attention'):
    return {}
  names = 'query', 'key', 'value', 'out'
  found = {
    f'{prefix}_{i}' if prefix else n: read(getattr(net.attention, n)) for i, n in enumerate(names)
  }
  return {'SelfAttention_0': found}


def with_gamma(net, found, read):
  if 'SelfAttention_0' in found:
    found['SelfAttention_0']['gamma'] = read(net.attention.gamma)
  return found


def norm(module, read):
  if hasattr(module, 'scale'):
    return {name: layer(getattr(module, name), read) for name in ('scale', 'bias')}
  return layer(module.norm, read)


def params_G(net, read):
  c, h, w = net.shape
  first = layer(net.l1, read)
  to_last = lambda x: x.reshape(-1, c, h * w).swapaxes(1, 2).reshape(*x.shape)
  found = {'Dense_0': {name: to_last(x) for name, x in first.items()}}
  for i, block in enumerate(net.blocks):
    kind = 'ConditionalBatchNorm' if hasattr(block.b1, 'scale') else 'BatchNorm'
    convs = (block.c1, block.c2, block.c_sc)
    found[f'UpBlock_{i}'] = {
      **{f'{kind}_{j}': norm(b, read) for j, b in enumerate((block.b1, block.b2))},
      **{f'Conv_{j}': layer(conv, read) for j, conv in enumerate(convs)},
    }
  found |= {'BatchNorm_0': norm(net.norm, read), 'Conv_0': layer(net.last, read)}
  return with_gamma(net, found | attention(net, '', lambda module: layer(module, read)), read)


def of_D(net, prefix, read):
  """{module: read(torch's)} for the Convs' and SpectralNorms' names alike."""
  found = {}
  for i, block in enumerate(net.blocks):
    convs = [getattr(block, n) for n in ('c1', 'c2', 'c_sc') if hasattr(block, n)]
    found[f'DownBlock_{i}'] = {f'{prefix or "Conv"}_{j}': read(c) for j, c in enumerate(convs)}
  found[f'{prefix or "Dense"}_0'] = read(net.l5)
  if hasattr(net, 'l_y'):
    found[f'{prefix}_1' if prefix else 'ClassEmbed_0'] = read(net.l_y)
  return found | attention(net, prefix, read)


def params_D(net, read):
  return with_gamma(net, of_D(net, '', lambda module: layer(module, read)), read)


vector = lambda module: {'u': module.weight_u.numpy().copy()}


def stats_D(net):
  return {'spectral_norm': of_D(net, 'SpectralNorm', vector)}


def stats_G(net):
  def read(n):
    return {'mean': n.norm.running_mean.numpy().copy(), 'var': n.norm.running_var.numpy().copy()}

  found = {'BatchNorm_0': read(net.norm)}
  for i, block in enumerate(net.blocks):
    kind = 'ConditionalBatchNorm' if hasattr(block.b1, 'scale') else 'BatchNorm'
    found[f'UpBlock_{i}'] = {f'{kind}_{j}': read(b) for j, b in enumerate((block.b1, block.b2))}
  if not hasattr(net.l1, 'weight_u'):
    return {'batch_stats': found}
  first = net.l1.weight_u.numpy().reshape(net.shape[0], -1).T.reshape(-1)
  spectral = {'SpectralNorm_0': {'u': first}, 'SpectralNorm_1': vector(net.last)}
  for i, block in enumerate(net.blocks):
    convs = enumerate((block.c1, block.c2, block.c_sc))
    spectral[f'UpBlock_{i}'] = {f'SpectralNorm_{j}': vector(conv) for j, conv in convs}
  spectral |= attention(net, 'SpectralNorm', vector)
  return {'batch_stats': found, 'spectral_norm': spectral}


def close(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9 * (1 + np.abs(y).max()), err_msg=name)


value = lambda p: p.detach().numpy().copy()
grad = lambda p: p.grad.numpy().copy()


@pytest.mark.parametrize('name', CASES)
def test_two_training_calls(name):
  case = CASES[name]
  classes, spectral = case.get('num_classes', 0), case.get('spectral', True)
  side, up, down, downs = resnet.SHAPES[case['resolution']]
  torch.manual_seed(0)
  with jax.enable_x64(True):
    ours = resnet.build(channels=3, dtype='float64', param_dtype='float64', **case)
    plain = lambda layer: layer
    wrap, wrap_G = SN if spectral else plain, SN if case.get('spectral_G') else plain
    shown = case.get('attention', 0)
    after = int(np.log2(case['resolution'] // shown)) - 1 if shown else None
    factors, pool = [case['width_D'] * f for f in down], case.get('pool', 'sum')
    theirs = {
      'G': G(side, [case['width'] * f for f in up], classes, wrap_G, shown).double(),
      'D': D(factors, downs, wrap, pool, classes, case.get('wide', False), after).double(),
    }
    label = RNG.integers(0, 4, 3)
    inputs = {
      'G': RNG.normal(size=(3, 7)),
      'D': RNG.uniform(-1, 1, (3, case['resolution'], case['resolution'], 3)),
    }
    channels_first = lambda x: x.transpose(0, 3, 1, 2) if x.ndim == 4 else x
    for net, read in (('G', params_G), ('D', params_D)):
      twin = theirs[net].train()
      read_stats = (lambda n: stats_G(n)) if net == 'G' else stats_D if spectral else lambda n: {}
      params, stats, x = read(twin, value), read_stats(twin), inputs[net]
      weights = RNG.normal(size=x.shape[:1] if net == 'D' else (3, *inputs['D'].shape[1:]))

      @jax.jit
      def loss(params, stats, net=net, x=x, weights=weights):
        def run(params):
          y, new = ours[net].apply(
            {'params': params, **stats}, x, label, train=True, mutable=[*stats]
          )
          return (y * weights).sum(), (y, new)

        return jax.grad(run, has_aux=True)(params)

      for _ in range(2):
        grads, (y, stats) = loss(params, stats)
        found = twin(torch.tensor(channels_first(x)), torch.tensor(label))
        twin.zero_grad()
        (found * torch.tensor(channels_first(weights))).sum().backward()
        close(channels_first(np.asarray(y)), value(found))
        close(grads, read(twin, grad))
        close(stats, read_stats(twin))
