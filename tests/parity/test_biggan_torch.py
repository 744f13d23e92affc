"""networks/biggan.py and biggan_deep.py against PyTorch twins with the same weights, in float64.

Pictures, logits, gradients and statistics of two calls in training. The twins are written as figures 15 and 16 of the
paper read: convolve, then resample; ours resamples first where that is the same.
"""

import jax
import numpy as np
import pytest

from ganjax.networks import biggan, biggan_deep

torch = pytest.importorskip('torch')

F = torch.nn.functional
RNG = np.random.default_rng(0)
SHARED, CLASSES = 5, 4
# The network, its resolution, length of z, whether norms share the embedding, side of attention, D's head. Deep's skips
# drop and add channels at 64 pixels, where every stage has others. StudioGAN's D, which alone differs, activates in
# place: what its skips get has been through the ReLU.
CASES = {
  'BigGAN': (biggan, 32, 8, True, 16, 'projection'),
  'StudioGAN': (biggan, 32, 8, True, 16, 'projection'),
  'tables, classifier': (biggan, 64, 7, False, 0, 'classifier'),
  'deep, proxy': (biggan_deep, 64, 7, True, 16, 'proxy'),
}
WIDTH = {'G': 2, 'D': 4}
PAIRS = [(name, net) for name in CASES for net in 'GD' if (name, net) != ('StudioGAN', 'G')]


def sn(layer):
  return torch.nn.utils.spectral_norm(layer, eps=1e-6)


def conv(a, b, size=3, bias=True):
  return sn(torch.nn.Conv2d(a, b, size, padding=size // 2, bias=bias))


double = lambda x: F.interpolate(x, scale_factor=2, mode='nearest')


class Norm(torch.nn.Module):
  """Batch norm whose gain and bias are linear in a vector, or rows of tables."""

  def __init__(self, features, length):
    super().__init__()
    self.norm = torch.nn.BatchNorm2d(features, eps=1e-4, affine=False)
    make = lambda: (
      sn(torch.nn.Linear(length, features, bias=False))
      if length
      else torch.nn.Embedding(CLASSES, features)
    )
    self.scale, self.bias = make(), make()

  def forward(self, x, y):
    a, b = self.scale(y)[:, :, None, None], self.bias(y)[:, :, None, None]
    return F.relu(self.norm(x) * (1 + a) + b)


class Attention(torch.nn.Module):
  def __init__(self, c):
    super().__init__()
    self.query, self.key = conv(c, c // 8, 1, False), conv(c, c // 8, 1, False)
    self.value, self.out = conv(c, c // 2, 1, False), conv(c // 2, c, 1, False)
    self.gamma = torch.nn.Parameter(torch.tensor(0.7))

  def forward(self, x):
    rows = lambda x: x.flatten(2)
    key, value = (rows(F.max_pool2d(m(x), 2)) for m in (self.key, self.value))
    weights = F.softmax(rows(self.query(x)).transpose(1, 2) @ key, -1)
    found = (value @ weights.transpose(1, 2)).reshape(len(x), -1, *x.shape[2:])
    return x + self.gamma * self.out(found)


class Up(torch.nn.Module):
  def __init__(self, a, b, length):
    super().__init__()
    self.norms = torch.nn.ModuleList([Norm(a, length), Norm(b, length)])
    self.convs = torch.nn.ModuleList([conv(a, b), conv(b, b), conv(a, b, 1)])

  def forward(self, x, y):
    first, second, skip = self.convs
    h = first(double(self.norms[0](x, y)))
    return second(self.norms[1](h, y)) + skip(double(x))


class DeepG(torch.nn.Module):
  def __init__(self, a, b, length, up):
    super().__init__()
    self.up, self.b, hidden = up, b, a // 4
    norms = [Norm(a, length), *(Norm(hidden, length) for _ in range(3))]
    convs = [conv(a, hidden, 1), conv(hidden, hidden), conv(hidden, hidden), conv(hidden, b, 1)]
    self.norms, self.convs = torch.nn.ModuleList(norms), torch.nn.ModuleList(convs)

  def forward(self, x, y):
    h = x
    for i in range(4):
      h = self.norms[i](h, y)
      h = self.convs[i](double(h) if self.up and i == 1 else h)
    x = x[:, : self.b]
    return h + (double(x) if self.up else x)


class G(torch.nn.Module):
  def __init__(self, factors, z, shared, deep, attention):
    super().__init__()
    channels = [WIDTH['G'] * f for f in factors]
    self.deep, self.side, self.first = deep, attention, channels[0]
    self.chunk = z // len(channels) if shared and not deep else z
    self.shared = torch.nn.Embedding(CLASSES, SHARED) if shared else None
    length = SHARED + self.chunk if shared else 0
    self.linear = sn(torch.nn.Linear(length if deep else self.chunk, 16 * channels[0]))
    self.blocks = torch.nn.ModuleList()
    for a, b in zip(channels, channels[1:]):
      if deep:
        self.blocks += [DeepG(a, a, length, False), DeepG(a, b, length, True)]
      else:
        self.blocks.append(Up(a, b, length))
    self.attention = Attention(8) if attention else None
    self.norm = torch.nn.BatchNorm2d(channels[-1], eps=1e-4)
    self.last = conv(channels[-1], 3)

  def forward(self, z, label):
    chunks = z.split(self.chunk, 1)
    if self.shared is None:
      conditions = [label] * len(self.blocks)
    elif self.deep:
      chunks = [torch.cat([z, self.shared(label)], 1)]
      conditions = chunks * len(self.blocks)
    else:
      conditions = [torch.cat([self.shared(label), c], 1) for c in chunks[1:]]
    x = self.linear(chunks[0]).reshape(-1, self.first, 4, 4)
    for block, condition in zip(self.blocks, conditions):
      side = x.shape[2]
      x = block(x, condition)
      if self.attention and x.shape[2] == self.side > side:
        x = self.attention(x)
    return torch.tanh(self.last(F.relu(self.norm(x))))


class Down(torch.nn.Module):
  def __init__(self, a, b, down, first, in_place):
    super().__init__()
    self.down, self.first, self.in_place = down, first, in_place
    self.convs = torch.nn.ModuleList([conv(a, b), conv(b, b)])
    if down or a != b:
      self.convs.append(conv(a, b, 1))

  def forward(self, x):
    relu = lambda x: F.relu(x, inplace=self.in_place)
    h = self.convs[1](relu(self.convs[0](x if self.first else relu(x))))
    x = h + (self.convs[2](x) if len(self.convs) > 2 else x)
    return F.avg_pool2d(x, 2) if self.down else x


class DeepD(torch.nn.Module):
  def __init__(self, a, b, down):
    super().__init__()
    self.down, h = down, b // 4
    self.convs = torch.nn.ModuleList([conv(a, h, 1), conv(h, h), conv(h, h), conv(h, b, 1)])
    if a != b:
      self.convs.append(conv(a, b - a, 1))

  def forward(self, x):
    pool = lambda x: F.avg_pool2d(x, 2) if self.down else x
    first, second, third, last, *rest = self.convs
    h = last(pool(F.relu(third(F.relu(second(F.relu(first(F.relu(x)))))))))
    x = pool(x)
    return h + torch.cat([x, *(c(x) for c in rest)], 1)


class D(torch.nn.Module):
  def __init__(self, factors, downs, deep, attention, halvings, head, in_place):
    super().__init__()
    first, *rest = channels = [WIDTH['D'] * f for f in factors]
    self.side, self.head = attention, head
    self.blocks = torch.nn.ModuleList()
    self.stem = conv(3, first) if deep else None
    if deep:
      for i, (a, b) in enumerate(zip(channels, rest)):
        self.blocks += [DeepD(a, b, i < downs), DeepD(b, b, False)]
    else:
      pairs = enumerate(zip([3, *channels], channels))
      self.blocks += [Down(a, b, i < downs, i == 0, in_place) for i, (a, b) in pairs]
    # The block after which the side is reached; of deep's two at a side, the second.
    self.after = 2 * halvings - 1 if deep else halvings - 1
    reached = (rest if deep else channels)[halvings - 1]
    self.attention = Attention(reached) if attention else None
    self.linear = sn(torch.nn.Linear(channels[-1], 1))
    width = {'projection': channels[-1], 'proxy': 6}
    sizes = {'classifier': CLASSES, 'proxy': 6}
    self.second = sn(torch.nn.Linear(channels[-1], sizes[head])) if head in sizes else None
    self.table = sn(torch.nn.Embedding(CLASSES, width[head])) if head in width else None

  def forward(self, x, label):
    x = x if self.stem is None else self.stem(x)
    for i, block in enumerate(self.blocks):
      x = block(x)
      if self.attention and i == self.after:
        assert x.shape[2] == self.side
        x = self.attention(x)
    x = F.relu(x).sum((2, 3))
    logits = self.linear(x)[:, 0]
    if self.head == 'projection':
      return logits + (self.table(label) * x).sum(1)
    if self.head == 'classifier':
      return logits, self.second(x)
    proxies = self.table(torch.arange(CLASSES))
    return logits, (F.normalize(self.second(x)), F.normalize(proxies))


def layers(net):
  """{path of ours: torch's module}, of every layer with parameters or statistics."""
  found = {}
  deep = isinstance(net.blocks[0], DeepG | DeepD)
  for i, block in enumerate(net.blocks):
    kind = {Up: 'UpBlock', Down: 'DownBlock', DeepG: 'GBlock', DeepD: 'DBlock'}[type(block)]
    found |= {(f'{kind}_{i}', f'Conv_{j}'): c for j, c in enumerate(block.convs)}
    for j, n in enumerate(getattr(block, 'norms', ())):
      at = f'{kind}_{i}', f'ConditionalBatchNorm_{j}'
      found |= {at: n.norm, (*at, 'scale'): n.scale, (*at, 'bias'): n.bias}
  if net.attention:
    names = 'query', 'key', 'value', 'out'
    found |= {('SelfAttention_0', n): getattr(net.attention, n) for n in names}
  found['Dense_0',] = net.linear
  if isinstance(net, G):
    found |= {('BatchNorm_0',): net.norm, ('Conv_0',): net.last}
    return found | ({('ClassEmbed_0',): net.shared} if net.shared else {})
  extra = {('Dense_1',): net.second, ('ClassEmbed_0',): net.table}
  found |= {at: module for at, module in extra.items() if module is not None}
  return found | ({('Conv_0',): net.stem} if deep else {})


def nest(flat):
  tree = {}
  for path, leaf in flat.items():
    node = tree
    for key in path[:-1]:
      node = node.setdefault(key, {})
    node[path[-1]] = leaf
  return tree


def params(net, read):
  """Ours of torch's parameters, or of their gradients: what `read` takes from one."""
  found = {}
  for path, module in layers(net).items():
    if isinstance(module, torch.nn.BatchNorm2d):
      if module.affine:
        found |= {(*path, 'scale'): read(module.weight), (*path, 'bias'): read(module.bias)}
      continue
    weight = read(getattr(module, 'weight_orig', module.weight))
    if isinstance(module, torch.nn.Embedding):
      found[*path, 'embedding'] = weight
      continue
    to_last = module is net.linear and isinstance(net, G)
    rows = lambda x: x.reshape(net.first, 16, -1).swapaxes(0, 1).reshape(x.shape)
    fix = rows if to_last else lambda x: x
    weight = fix(weight)
    found[*path, 'kernel'] = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
    if module.bias is not None:
      found[*path, 'bias'] = fix(read(module.bias))
  if net.attention:
    found['SelfAttention_0', 'gamma'] = read(net.attention.gamma)
  return nest(found)


def stats(net):
  """Ours of torch's. A vector u lies where the SpectralNorm of its layer does: numbered as layers are made."""
  batch, spectral, made = {}, {}, {}
  normal = {path: m for path, m in layers(net).items() if hasattr(m, 'weight_u')}
  for path, module in layers(net).items():
    if isinstance(module, torch.nn.BatchNorm2d):
      mean, var = module.running_mean.numpy().copy(), module.running_var.numpy().copy()
      batch |= {(*path, 'mean'): mean, (*path, 'var'): var}
  for path in sorted(normal, key=lambda path: order(path, net)):
    number = made[path[:-1]] = made.get(path[:-1], -1) + 1
    u = normal[path].weight_u.numpy().copy()
    if path == ('Dense_0',) and isinstance(net, G):
      u = u.reshape(net.first, 16).T.reshape(-1)
    spectral[*path[:-1], f'SpectralNorm_{number}', 'u'] = u
  found = {'batch_stats': nest(batch), 'spectral_norm': nest(spectral)}
  return {name: tree for name, tree in found.items() if tree}


def order(path, net):
  """When a layer is made among those of its module."""
  top = ['Dense_0', 'Conv_0'] if isinstance(net, G) else ['Conv_0', 'Dense_0', 'ClassEmbed_0']
  inner = ['scale', 'bias', 'query', 'key', 'value', 'out', *(f'Conv_{i}' for i in range(5))]
  return ([*top, 'Dense_1'] if len(path) == 1 else inner).index(path[-1])


def close(a, b, rtol):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * (1e-2 + np.abs(y).max()), err_msg=name)


value = lambda p: p.detach().numpy().copy()
grad = lambda p: p.grad.numpy().copy()


@pytest.mark.parametrize('name, net', PAIRS)
def test_two_training_calls(name, net):
  network, resolution, z, shared, attention, head = CASES[name]
  up, down, downs = network.SHAPES[resolution]
  deep, halvings = network is biggan_deep, int(np.log2(resolution // (attention or 32)))
  in_place = name == 'StudioGAN'
  torch.manual_seed(0)
  if net == 'G':
    twin = G(up, z, shared, deep, attention).double().train()
    x = RNG.normal(size=(3, z))
  else:
    twin = D(down, downs, deep, attention, halvings, head, in_place).double().train()
    x = RNG.uniform(-1, 1, (3, resolution, resolution, 3))
  sizes = dict(width=WIDTH['G'], width_D=WIDTH['D'], shared_dim=SHARED if shared else 0)
  kinds = dict(dtype='float64', param_dtype='float64')
  label = RNG.integers(0, CLASSES, 3)
  to_first = lambda x: np.asarray(x).transpose(0, 3, 1, 2) if x.ndim == 4 else np.asarray(x)
  with jax.enable_x64(True):
    ours = network.build(
      resolution=resolution,
      channels=3,
      num_classes=CLASSES,
      attention=attention,
      head=head,
      embed_dim=6,
      **({'relu_skip': True} if in_place else {}),
      **sizes,
      **kinds,
    )[net]
    p, state = params(twin, value), stats(twin)
    shapes = jax.eval_shape(lambda: ours.init(jax.random.key(0), x, label, train=False))
    assert jax.tree.map(np.shape, {'params': p, **state}) == jax.tree.map(np.shape, shapes)
    out = jax.eval_shape(
      lambda: ours.apply({'params': p, **state}, x, label, train=True, mutable=[*state])
    )[0]
    weights = jax.tree.map(lambda y: RNG.normal(size=y.shape), out)

    @jax.jit
    def step(p, state):
      def run(p):
        y, new = ours.apply({'params': p, **state}, x, label, train=True, mutable=[*state])
        return sum(jax.tree.leaves(jax.tree.map(lambda y, w: (y * w).sum(), y, weights))), (y, new)

      return jax.grad(run, has_aux=True)(p)

    for _ in range(2):
      grads, (y, state) = step(p, state)
      found = twin(torch.tensor(to_first(x)), torch.tensor(label))
      twin.zero_grad()
      flat = jax.tree.leaves(
        jax.tree.map(lambda y, w: (y * torch.tensor(to_first(w))).sum(), found, weights)
      )
      sum(flat).backward()
      close(jax.tree.map(to_first, y), jax.tree.map(value, found), 1e-7)
      close(grads, params(twin, grad), 1e-6)
      close(state, stats(twin), 1e-7)
