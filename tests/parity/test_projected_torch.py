"""networks/fastgan.py and networks/projected.py against PyTorch twins with the same weights, in float64.

The twins are written as the papers and the published code read (arXiv:2101.04775, section 3; arXiv:2111.01007, section
3.2): doubling before the convolution, and mixing after the upsampling, where ours does it the other way round.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers import resample
from ganjax.networks import fastgan, projected

torch = pytest.importorskip('torch')

F = torch.nn.functional
RNG = np.random.default_rng(0)
LABEL = np.array([2, 0, 1])
KINDS = dict(dtype='float64', param_dtype='float64')
tensor = lambda x: torch.tensor(np.asarray(x))
nchw = lambda x: tensor(x).permute(0, 3, 1, 2)
nhwc = lambda x: x.detach().permute(0, 2, 3, 1).numpy()


class Twin:
  """A network with the parameters of ours, `p`, and its vectors u and other collections, `stats`."""

  def __init__(self, params, stats):
    leaf = lambda w: torch.tensor(np.asarray(w), requires_grad=True)
    self.p, self.stats = jax.tree.map(leaf, params), stats

  def at(self, tree, path):
    for key in path.split('/'):
      tree = tree[key] if key else tree
    return tree

  def weight(self, path, number, name, transposed=False):
    """The kernel `name` in the module at `path`, over its largest singular value by one iteration."""
    w = self.at(self.p, f'{path}/{name}')
    w = (w['embedding'] if 'embedding' in w else w['kernel']).movedim(-2 if transposed else -1, 0)
    u = tensor(self.at(self.stats['spectral_norm'], f'{path}/SpectralNorm_{number}')['u'])
    matrix = w.flatten(1)
    with torch.no_grad():
      v = F.normalize(matrix.T @ u, dim=0)
      u = F.normalize(matrix @ v, dim=0)
    return w / (u @ matrix @ v)

  def conv(self, x, path, number, name, **how):
    w = self.weight(path, number, name)
    bias = self.at(self.p, f'{path}/{name}').get('bias')
    return F.conv2d(x, w.permute(0, 3, 1, 2).contiguous(), bias, **how)

  def norm(self, x, path):
    p = self.at(self.p, path)
    return F.batch_norm(x, None, None, p['scale'], p['bias'], training=True)


class G(Twin):
  def __init__(self, net, params, stats, z, label):
    super().__init__(params, stats)
    self.net, self.keys, self.z, self.label = net, fastgan._keys(jnp.asarray(z)), z, label

  def noise(self, level, number, side):
    def draw(key):
      key = jax.random.fold_in(jax.random.fold_in(key, level), number)
      return jax.random.normal(key, (*side, 1))

    return nchw(jax.vmap(draw)(self.keys))

  def normalize(self, x, path, number):
    if not self.net.num_classes:
      return self.norm(x, f'{path}/BatchNorm_{number}')
    y = F.embedding(torch.tensor(self.label), self.p['ClassEmbed_0']['embedding'])
    at = f'{path}/ConditionalBatchNorm_{number}'
    constant = lambda name: self.at(self.p, f'{at}/{name}')['bias']
    linear = lambda i, name: F.linear(y, self.weight(at, i, name), constant(name))
    scale, bias = linear(0, 'scale'), linear(1, 'bias')
    x = F.batch_norm(x, None, None, training=True)
    return x * (1 + scale)[:, :, None, None] + bias[:, :, None, None]

  def up(self, x, level, double):
    path = f'UpBlock_{level - 1}'
    x = F.interpolate(x, scale_factor=2, mode='nearest')
    for number in range(1 + double):
      x = self.conv(x, path, number, f'Conv_{number}', padding=1)
      if double:
        name = 'noise_0' if self.net.num_classes else f'noise_{number}'
        x = x + self.p[path][name] * self.noise(level, number, x.shape[2:])
      x = F.glu(self.normalize(x, path, number), 1)
    return x

  def __call__(self):
    z = tensor(self.z)
    z = (z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt())[:, :, None, None]
    w = self.weight('', 0, 'ConvTranspose_0', transposed=True)  # [O, kh, kw, I]
    x = F.conv_transpose2d(z, w.permute(3, 0, 1, 2).contiguous())
    maps = [F.glu(self.norm(x, 'BatchNorm_0'), 1)]
    for level in range(1, 1 + fastgan.layout(self.net.resolution)[0]):
      double = {'double': True, 'single': False, 'alternating': level % 2 == 1}[self.net.blocks]
      x = self.up(maps[-1], level, double)
      if level >= 4:
        path = f'Excite_{level - 4}'
        small = F.adaptive_avg_pool2d(maps[level - 4], 4)
        small = F.silu(self.conv(small, path, 0, 'Conv_0'))
        x = x * torch.sigmoid(self.conv(small, path, 1, 'Conv_1'))
      maps.append(x)
    return self.conv(maps[-1], '', 1, 'Conv_0', padding=1)


class D(Twin):
  def mix(self, maps):
    p = self.stats['mixing']['Mix_0']

    def one(x, name):
      w, b = tensor(p[f'{name}_kernel'])[0, 0].T, tensor(p[f'{name}_bias'])
      return F.conv2d(x, w[:, :, None, None], b)

    found, below = [], 0
    for i in reversed(range(4)):
      x = one(maps[i], f'channels_{i}') + below
      x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=True)
      below = one(x, f'scales_{i}')
      found.append(below)
    return found[::-1]

  def head(self, x, i, halvings, separable, label):
    path, at = f'Head_{i}', 0

    def conv(x, **how):
      nonlocal at
      at += 1
      return self.conv(x, path, at - 1, f'Conv_{at - 1}', **how)

    for n in range(halvings):
      if separable:
        x = conv(conv(x, padding=1, groups=x.shape[1]))
      else:
        x = conv(x, stride=2, padding=1)
      x = F.leaky_relu(self.norm(x, f'{path}/BatchNorm_{n}'), 0.2)
      x = F.avg_pool2d(x, 2) if separable else x
    x = conv(x)
    if label is not None:
      p = self.p[path]
      y = F.embedding(torch.tensor(label), p['ClassEmbed_0']['embedding'])
      y = F.leaky_relu(F.linear(y, p['Dense_0']['kernel'].T, p['Dense_0']['bias']), 0.2)
      x = (x * y[:, :, None, None]).sum(1, keepdim=True) / np.sqrt(64)
    return x.flatten(1)

  def __call__(self, maps, separable, label):
    halvings = (4, 3, 2, 1)
    mixed = self.mix([nchw(x) for x in maps])
    return torch.cat(
      [self.head(x, i, n, separable, label) for i, (x, n) in enumerate(zip(mixed, halvings))], 1
    )


class FastD(Twin):
  """FastGAN's own discriminator."""

  def down(self, x, path, deep):
    lrelu = lambda y, i: F.leaky_relu(self.norm(y, f'{path}/BatchNorm_{i}'), 0.2)
    y = lrelu(self.conv(x, path, 0, 'Conv_0', stride=2, padding=1), 0)
    if not deep:
      return y
    y = lrelu(self.conv(y, path, 1, 'Conv_1', padding=1), 1)
    return (y + lrelu(self.conv(F.avg_pool2d(x, 2), path, 2, 'Conv_2'), 2)) / 2

  def excite(self, small, large, path):
    x = F.silu(self.conv(F.adaptive_avg_pool2d(small, 4), path, 0, 'Conv_0'))
    return large * torch.sigmoid(self.conv(x, path, 1, 'Conv_1'))

  def decode(self, x, i, doublings):
    x = F.adaptive_avg_pool2d(x, 8)
    for n in range(doublings):
      path = f'Decoder_{i}/UpBlock_{n}'
      x = self.conv(F.interpolate(x, scale_factor=2), path, 0, 'Conv_0', padding=1)
      x = F.glu(self.norm(x, f'{path}/BatchNorm_0'), 1)
    return torch.tanh(self.conv(x, f'Decoder_{i}', 0, 'Conv_0', padding=1))

  def __call__(self, image, small, part):
    lrelu = lambda x: F.leaky_relu(x, 0.2)
    side = image.shape[2]
    x = lrelu(self.conv(image, '', 0, 'Conv_0', padding=1))
    maps, halvings = [x], side.bit_length() - 4
    for i in range(halvings):
      x = self.down(x, f'Down_{i}', True)
      x = self.excite(maps[i - 2], x, f'Excite_{i - 2}') if i > 1 else x
      maps.append(x)
    x = lrelu(self.norm(self.conv(x, '', 1, 'Conv_1'), 'BatchNorm_0'))
    logits = [self.conv(x, '', 2, 'Conv_2')]
    x = lrelu(self.conv(small, '', 3, 'Conv_3', stride=2, padding=1))
    for i in range(halvings, halvings + small.shape[2].bit_length() - 5):
      x = self.down(x, f'Down_{i}', False)
    logits.append(self.conv(x, '', 4, 'Conv_4'))
    rows, columns = (slice(8 * n, 8 * n + 8) for n in divmod(part, 2))
    decoded = maps[-1], x, maps[-2][:, :, rows, columns]
    decoded = [self.decode(x, i, halvings) for i, x in enumerate(decoded)]
    return torch.cat([x.flatten(1) for x in logits], 1), *decoded


@pytest.mark.slow
@pytest.mark.parametrize('side, part', [(64, 1)])
def test_fastgans_discriminator(side, part):
  images = [RNG.uniform(-1, 1, (2, side >> i, side >> i, 3)) for i in (0, 1)]
  with jax.enable_x64(True):
    net = fastgan.build(resolution=side, channels=3, width=1, width_D=1, **KINDS)['D']
    params, stats = start(net, images, part)
    twin = FastD(params, stats)
    wanted = twin(*map(nchw, images), part)
    weigh = [RNG.normal(size=x.shape) for x in wanted]
    to_last = lambda x: x.transpose(0, 2, 3, 1) if x.ndim == 4 else x

    def run(p):
      out, new = net.apply({'params': p, **stats}, images, part, train=True, mutable=[*stats])
      return sum((x * to_last(w)).sum() for x, w in zip(out, weigh, strict=True)), out

    grads, out = jax.jit(jax.grad(run, has_aux=True))(params)
    alone = net.apply({'params': params, **stats}, images, train=True, mutable=[*stats])[0]
  for x, y in zip(out, wanted, strict=True):
    np.testing.assert_allclose(x, to_last(y.detach().numpy()), rtol=1e-6, atol=1e-8)
  np.testing.assert_allclose(alone, out[0], rtol=1e-9)
  sum((x * torch.tensor(w)).sum() for x, w in zip(wanted, weigh)).backward()
  close(grads, twin.p)


@pytest.mark.parametrize('side', [64, 256])
def test_fastgans_small_pictures(side):
  """A 1x1 convolution of the map of that size; without it the picture is the same."""
  z = RNG.normal(size=(2, 5))
  with jax.enable_x64(True):
    net = fastgan.build(resolution=side, channels=3, width=8, **KINDS)['G']
    shapes = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), z, train=False))
    both = lambda v: net.apply(v, z, train=False, both=True)
    image, small = jax.eval_shape(both, shapes[1])
  assert image.shape == shapes[0].shape == (2, side, side, 3)
  assert small.shape == (2, min(side // 2, 128), min(side // 2, 128), 3)


def start(net, *inputs):
  """Variables of ours, with biases and weights of noise that are not zero."""
  variables = dict(jax.jit(lambda: net.init(jax.random.key(0), *inputs, train=True))())
  params = jax.tree.map(lambda w: w + 0.1 * RNG.normal(size=w.shape), variables.pop('params'))
  return params, variables


def step(net, params, stats, inputs, weigh):
  """Output, gradients of its product with `weigh`, new statistics."""

  def run(p):
    y, new = net.apply({'params': p, **stats}, *inputs, train=True, mutable=[*stats])
    return (y * weigh).sum(), (y, new)

  return jax.jit(jax.grad(run, has_aux=True))(params)


def close(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs)):
    name = jax.tree_util.keystr(path)
    b = b.grad if b.grad is not None else torch.zeros_like(b)
    atol = 1e-9 * (1 + np.abs(b.numpy()).max())
    np.testing.assert_allclose(a, b.numpy(), rtol=1e-6, atol=atol, err_msg=name)


@pytest.mark.parametrize(
  'case',
  [
    dict(resolution=64, blocks='alternating'),
    dict(resolution=64, blocks='single'),
    dict(resolution=(16, 24), blocks='double', num_classes=3),
  ],
  ids=str,
)
def test_generator(case):
  label = LABEL if 'num_classes' in case else None
  z = RNG.normal(size=(3, 6))
  with jax.enable_x64(True):
    net = projected.build(channels=3, width=2, width_D=1, **case, **KINDS)['G']
    params, stats = start(net, z, label)
    sides = net.resolution
    weigh = RNG.normal(size=(3, *sides, 3))
    grads, (images, new) = step(net, params, stats, (z, label), weigh)
    twin = G(net, params, stats, z, label)
    made = twin()
  assert images.shape == (3, *sides, 3)
  np.testing.assert_allclose(images, nhwc(made), rtol=1e-6, atol=1e-8)
  (made * nchw(weigh)).sum().backward()
  close(grads, twin.p)
  assert not np.allclose(
    new['spectral_norm']['SpectralNorm_0']['u'], stats['spectral_norm']['SpectralNorm_0']['u']
  )


@pytest.mark.parametrize('separable', [False, True])
@pytest.mark.parametrize('classes', [0, 3])
def test_discriminator(separable, classes):
  label = LABEL if classes else None
  maps = [RNG.normal(size=(3, 40 >> i, 32 >> i, c)) for i, c in enumerate((5, 6, 7, 8))]
  how = dict(width_D=2, separable=separable, num_classes=classes, **KINDS)
  with jax.enable_x64(True):
    net = projected.build(resolution=8, channels=3, width=1, **how)['D']
    params, stats = start(net, maps, label)
    shape = jax.eval_shape(
      lambda: net.apply({'params': params, **stats}, maps, label, train=True, mutable=[*stats])
    )[0].shape
    weigh = RNG.normal(size=shape)
    grads, (logits, new) = step(net, params, stats, (maps, label), weigh)
  assert shape == (3, 4 * (2 * 1))  # four maps of 2 x 1 logits
  twin = D(params, stats)
  found = twin(maps, separable, label)
  np.testing.assert_allclose(logits, found.detach().numpy(), rtol=1e-6, atol=1e-8)
  (found * tensor(weigh)).sum().backward()
  close(grads, twin.p)
  jax.tree.map(np.testing.assert_array_equal, new['mixing'], stats['mixing'])


@pytest.mark.parametrize('sides', [(128, 160), (13, 7), (5, 40)])
@pytest.mark.parametrize('align', [False, True])
def test_interpolation(sides, align):
  x = RNG.normal(size=(2, 10, 14, 3))
  with jax.enable_x64(True):
    found = resample.interpolate(jnp.asarray(x), sides, align)
  wanted = F.interpolate(nchw(x), sides, mode='bilinear', align_corners=align)
  np.testing.assert_allclose(found, nhwc(wanted), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('shape', [(8, 12), (5, 7), (4, 4), (3, 9)])
def test_adaptive_mean(shape):
  x = RNG.normal(size=(2, *shape, 3))
  with jax.enable_x64(True):
    found = resample.adaptive_mean(jnp.asarray(x), 4)
  np.testing.assert_allclose(found, nhwc(F.adaptive_avg_pool2d(nchw(x), 4)), rtol=1e-9)


def test_first_weights_are_torchs():
  """Uniform in +- 1 / sqrt(fan_in), of which mixing's must not change."""
  w = fastgan.TORCH_INIT(jax.random.key(0), (3, 3, 50, 40))
  wanted = torch.nn.Conv2d(50, 40, 3).weight.detach().abs()
  assert np.abs(w).max() == pytest.approx(wanted.max().item(), rel=1e-3)
  assert np.std(w) == pytest.approx(450**-0.5 / 3**0.5, rel=0.02)
  maps = [jnp.zeros((1, 8 >> i, 8 >> i, c)) for i, c in enumerate((24, 40, 112, 320))]
  mixing = projected.Mix(64, 'float32', 'float32').init(jax.random.key(0), maps)['mixing']
  assert len(mixing) == 16
  for i, (a, b) in enumerate(((24, 64), (40, 128), (112, 256), (320, 512))):
    for name, channels in (f'channels_{i}', a), (f'scales_{i}', b):
      for part in 'kernel', 'bias':
        assert np.abs(mixing[f'{name}_{part}']).max() == pytest.approx(channels**-0.5, rel=0.15)
