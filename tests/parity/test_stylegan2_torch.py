"""networks/stylegan2.py against a PyTorch twin with the same weights, in float64: outputs, gradients, R1, path lengths.

The twin is written as the paper and its code read: a kernel for each sample in a convolution of groups, zeros put
between pixels, padding of resampling filters as numbers.
"""

import jax
import numpy as np
import pytest

from configs import stylegan2_emoji
from ganjax import experiment, run_state
from ganjax.devices import sharding
from ganjax.layers.modulated import ModulatedConv
from ganjax.layers.resample import downsample_bilinear, smooth, upsample_bilinear
from ganjax.losses import adversarial, penalties, regularizers
from ganjax.networks import stylegan2
from ganjax.sampling import latents
from ganjax.update import active

torch = pytest.importorskip('torch')

F = torch.nn.functional
RNG = np.random.default_rng(0)
nchw = lambda x: torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))
nhwc = lambda x: x.detach().permute(0, 2, 3, 1).numpy()


def upfirdn(x, up=1, down=1, pad=(0, 0), gain=1):
  """Zeros after each pixel, zeros (or less than none) around, the filter [1, 3, 3, 1], every `down`-th pixel."""
  b, c, h, w = x.shape
  z = x.new_zeros(b, c, h * up, w * up)
  z[..., ::up, ::up] = x
  line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
  kernel = (gain * torch.outer(line, line) / 64).expand(c, 1, 4, 4)
  return F.conv2d(F.pad(z, (*pad, *pad)), kernel, groups=c)[..., ::down, ::down]


def act(x, gain=1.0, clamp=256.0):
  limit = clamp * gain if clamp else float('inf')
  return (F.leaky_relu(x, 0.2) * (2**0.5 * gain)).clamp(-limit, limit)


def norm(x):
  return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def dense(x, p, m=1.0):
  return x @ p['kernel'] * (m / x.shape[1] ** 0.5) + p['bias'] * m


def conv(x, p, **how):
  w = p['kernel'].permute(3, 2, 0, 1)
  return F.conv2d(x, w / w[0].numel() ** 0.5, p.get('bias'), **how)


def modulated(x, w, p, up=False, demodulate=True):
  """A kernel for each sample, in groups."""
  b, c, h, width = x.shape
  style = dense(w, p['affine'])
  kernel = p['kernel'].permute(*((2, 3, 0, 1) if up else (3, 2, 0, 1)))  # [O, I, k, k]
  own = kernel[None] * style[:, None, :, None, None]
  if demodulate:
    own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
  else:
    own = own / kernel[0].numel() ** 0.5
  x = x.reshape(1, b * c, h, width)
  if not up:
    y = F.conv2d(x, own.flatten(0, 1), padding=own.shape[-1] // 2, groups=b)
    return y.reshape(b, -1, h, width)
  y = F.conv_transpose2d(x, own.transpose(1, 2).flatten(0, 1), stride=2, groups=b)
  return upfirdn(y.reshape(b, -1, *y.shape[2:]), pad=(1, 1), gain=4)


class Twin:
  """G or D with the variables of ours, as tensors in our layout."""

  def __init__(self, net, variables):
    leaf = lambda x: torch.tensor(np.asarray(x), requires_grad=True)
    self.net, self.params = net, jax.tree.map(leaf, variables['params'])
    self.noise = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), variables.get('noise', {}))

  def grads(self):
    zero = lambda w: np.zeros(w.shape) if w.grad is None else w.grad.numpy()
    return jax.tree.map(zero, self.params)

  def map(self, z, label, layers):
    p = self.params['mapping']
    parts = [] if z is None else [norm(z)]
    if label is not None:
      rows = F.embedding(label, p['embed']['embedding'])
      parts.append(norm(rows / self.net.num_classes**0.5 + p['embed_bias']))
    x = torch.cat(parts, 1)
    for i in range(layers):
      x = act(dense(x, p[f'fc{i}'], 0.01), clamp=0)
    return x

  def synthesize(self, w):
    """Of styles [B, L, W]."""
    p, noise, net = self.params['synthesis'], self.noise['synthesis'], self.net
    x, image = p['const'].permute(2, 0, 1).expand(len(w), -1, -1, -1), None
    styles = list(w.unbind(1))
    for i in range(len(net.stages)):
      block, residual, before = f'b{4 * 2**i}', net.architecture == 'resnet' and i, x
      for j in (0, 1) if i else (1,):
        own, name = p[f'{block}_conv{j}'], f'{block}_conv{j}'
        x = modulated(x, styles.pop(0), own['conv'], up=j == 0)
        x = x + own['noise_strength'] * noise[name]['constant'] + own['bias'][:, None, None]
        x = act(x, 0.5**0.5 if residual and j else 1.0, net.clamp)
      if residual:
        skip = conv(before, p[f'{block}_skip'])
        x = x + upfirdn(skip, up=2, pad=(2, 1), gain=4) * 0.5**0.5
      if net.architecture == 'skip' or i == len(net.stages) - 1:
        rgb = modulated(x, styles[0], p[f'{block}_torgb'], demodulate=False)
        rgb = rgb + p[f'{block}_torgb_bias'][:, None, None]
        rgb = rgb.clamp(-net.clamp, net.clamp) if net.clamp else rgb
        image = rgb if image is None else upfirdn(image, up=2, pad=(2, 1), gain=4) + rgb
    assert len(styles) == 1  # that of the last image
    return image

  def G(self, z, label):
    w = self.map(z, label, self.net.mapping_layers)
    return self.synthesize(w[:, None].expand(-1, 2 * len(self.net.stages), -1))

  def D(self, image, label):
    p, net = self.params, self.net
    layer = lambda x, name, gain=1.0, **how: act(conv(x, p[name], **how), gain, net.clamp)
    x = 0
    for i in reversed(range(len(net.stages))):
      block, residual = f'b{4 * 2**i}', net.architecture == 'resnet'
      if i == len(net.stages) - 1 or net.architecture == 'skip':
        x = x + layer(image, f'{block}_fromrgb')
      if i == 0:
        break
      image = upfirdn(image, down=2, pad=(1, 1))
      y = layer(x, f'{block}_conv0', padding=1)
      y = upfirdn(y, pad=(2, 2))
      y = layer(y, f'{block}_conv1', 0.5**0.5 if residual else 1.0, stride=2)
      if residual:
        skip = conv(upfirdn(x, down=2, pad=(1, 1)), p[f'{block}_skip'])
        y = y + skip * 0.5**0.5
      x = y
    b, c, h, w = x.shape
    group = min(net.group, b)
    y = x.reshape(group, b // group, c, h, w)
    y = (y - y.mean(0)).square().mean(0).add(1e-8).sqrt().mean((1, 2, 3))
    y = y.repeat(group)[:, None, None, None].expand(-1, 1, h, w)
    x = layer(torch.cat([x, y], 1), 'b4_conv', padding=1)
    x = act(dense(x.permute(0, 2, 3, 1).flatten(1), p['b4_fc']), clamp=0)
    x = dense(x, p['b4_out'])
    if label is None:
      return x[:, 0]
    return (x * self.map(None, label, net.mapping_layers)).sum(1) / x.shape[1] ** 0.5


def close(ours, theirs, what):
  theirs = jax.tree.leaves(theirs)
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(ours), theirs, strict=True):
    name = what + jax.tree_util.keystr(path)
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(b).max(), err_msg=name)


def noisy(tree):
  """Biases and strengths of noise are 0 at the start."""
  return jax.tree.map(lambda x: x + 0.3 * RNG.normal(size=x.shape), tree)


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def test_resampling_is_that_of_the_published_paddings():
  x = RNG.normal(size=(2, 6, 8, 3))
  y = nchw(x)
  close(upsample_bilinear(x), nhwc(upfirdn(y, up=2, pad=(2, 1), gain=4)), 'up')
  close(downsample_bilinear(x), nhwc(upfirdn(y, down=2, pad=(1, 1))), 'down')
  for padding in 0, 1, 2:
    close(smooth(x, padding), nhwc(upfirdn(y, pad=(padding, padding))), f'{padding}')


@pytest.mark.parametrize(
  'how', [dict(), dict(up=True), dict(kernel=1, demodulate=False), dict(kernel=1, up=False)]
)
def test_modulated_convolution_and_its_gradients(how):
  net = ModulatedConv(5, param_dtype='float64', **how)
  x, w, ct = RNG.normal(size=(3, 4, 6, 2)), RNG.normal(size=(3, 7)), RNG.normal(size=(3, 4, 6, 5))
  if how.get('up'):
    ct = RNG.normal(size=(3, 8, 12, 5))
  params = noisy(net.init(jax.random.key(0), x, w)['params'])
  run = lambda p, x, w: net.apply({'params': p}, x, w)
  value, pull = jax.vjp(run, params, x, w)
  leaf = lambda x: torch.tensor(np.asarray(x), requires_grad=True)
  theirs = jax.tree.map(leaf, params)
  image, style = nchw(x).requires_grad_(), leaf(w)
  how = {k: v for k, v in how.items() if k != 'kernel'}
  y = modulated(image, style, theirs, **how)
  (y * nchw(ct)).sum().backward()
  close(value, nhwc(y), 'output')
  grads = jax.tree.map(lambda x: x.grad.numpy(), theirs), nhwc(image.grad), style.grad.numpy()
  close(pull(ct), grads, 'gradient')


CASES = {
  'config F': dict(resolution=8, width=6, channel_base=32, clamp=0),
  'clamped, of classes': dict(resolution=8, width=4, num_classes=3, mapping_layers_D=2, clamp=0.7),
  'resnet, skip': dict(resolution=(8, 12), architecture='resnet', architecture_D='skip'),
  'orig': dict(resolution=16, architecture='orig', architecture_D='orig', mapping_layers_D=0),
}


@pytest.mark.parametrize('name', CASES)
def test_losses_and_regularizers_of_the_game(name):
  """G's loss and path lengths in G's weights, D's loss and R1 in D's: the latter of each are second derivatives."""
  case = dict(width=4, w_dim=5, mapping_layers=2, mbstd_group=2, clamp=256.0) | CASES[name]
  sides = case.pop('resolution')
  sides = (sides, sides) if isinstance(sides, int) else sides
  label = np.array([0, 2, 1, 1]) if 'num_classes' in case else None
  ids = None if label is None else torch.tensor(label)
  z, real = RNG.normal(size=(4, 7)), RNG.uniform(-1, 1, (4, *sides, 3))
  nets = stylegan2.build(
    resolution=sides, channels=3, dtype='float64', param_dtype='float64', **case
  )
  init = lambda net, x: nets[net].init(jax.random.key(0), x, label, train=False)
  start = jax.jit(init, static_argnums=0)
  variables = {net: noisy(start(net, x)) for net, x in (('G', z), ('D', real))}
  G = lambda p, *args, **how: nets['G'].apply(
    {**variables['G'], 'params': p}, *args, train=False, **how
  )
  D = lambda p, x: nets['D'].apply({'params': p}, x, label, train=True)
  key, mean = jax.random.key(1), 0.3

  def loss_G(p):
    fakes = G(p, z, label)
    w = G(p, z, label, method='map')
    length, new = regularizers.path_length(lambda w: G(p, w, method='synthesize'), w, key, mean)
    return adversarial.non_saturating_G(D(variables['D']['params'], fakes)) + 2 * length, (
      fakes,
      w,
      new,
    )

  def loss_D(p, fakes):
    terms = adversarial.non_saturating_D(D(p, real), D(p, fakes))
    return sum(terms.values()) + 5 * penalties.r1(lambda x: D(p, x), real, None, None)

  (value_G, (fakes, w, new)), grads_G = jax.jit(jax.value_and_grad(loss_G, has_aux=True))(
    variables['G']['params']
  )
  value_D, grads_D = jax.jit(jax.value_and_grad(loss_D))(variables['D']['params'], fakes)
  twins = {net: Twin(nets[net], variables[net]) for net in 'GD'}
  G, D = twins['G'], twins['D']
  made = G.G(torch.tensor(z), ids)
  close(fakes, nhwc(made), 'images')
  styles = G.map(torch.tensor(z), ids, 2)[:, None].expand(-1, w.shape[1], -1)
  close(w, styles.detach().numpy(), 'styles')
  again = G.synthesize(styles)
  y = nchw(jax.random.normal(key, fakes.shape, 'float64')) / (sides[0] * sides[1]) ** 0.5
  (slopes,) = torch.autograd.grad((again * y).sum(), styles, create_graph=True)
  lengths = slopes.square().sum(2).mean(1).sqrt()
  moved = mean + 0.01 * (lengths.mean() - mean)
  loss = F.softplus(-D.D(made, ids)).mean() + 2 * (lengths - moved).square().mean()
  loss.backward(inputs=jax.tree.leaves(G.params))
  close(new, moved.detach().numpy(), 'mean length')
  close(value_G, loss.detach().numpy(), 'loss of G')
  close(grads_G, G.grads(), 'G')

  images = nchw(real).requires_grad_()
  on_real = D.D(images, ids)
  (slopes,) = torch.autograd.grad(on_real.sum(), images, create_graph=True)
  loss = F.softplus(-on_real).mean() + F.softplus(D.D(made.detach(), ids)).mean()
  loss = loss + 5 * slopes.square().sum((1, 2, 3)).mean() / 2
  loss.backward(inputs=jax.tree.leaves(D.params))
  close(value_D, loss.detach().numpy(), 'loss of D')
  close(grads_D, D.grads(), 'D')


class Game:
  """The method's phases on twins of both networks, with torch's Adam and the draws of ours."""

  def __init__(self, config, nets, state):
    self.config, self.nets, self.noise = config, nets, None
    self.twins = {
      net: Twin(nets[net], {'params': state.params[net], **state.stats[net]}) for net in 'GD'
    }
    self.mean, self.length = np.zeros(config.networks.w_dim), 0.0
    self.opt = {}
    for net, every in ('G', config.method.path_every), ('D', config.method.r1_every):
      o, share = config.optim[net], every / (every + 1)
      leaves = jax.tree.leaves(self.twins[net].params)
      how = dict(lr=o.lr * share, betas=(float(o.b1), o.b2**share), eps=o.eps)
      self.opt[net] = torch.optim.Adam(leaves, **how)

  def take(self, net, loss):
    for leaf in jax.tree.leaves(self.twins[net].params):
      leaf.grad = torch.zeros_like(leaf)
    loss.backward(inputs=jax.tree.leaves(self.twins[net].params))
    self.opt[net].step()
    return loss.item()

  def style(self, key, n, label):
    latent, place = jax.random.split(key)
    G, layers, size = self.twins['G'], self.nets['G'].num_styles, self.config.method.z_dim
    z = torch.tensor(np.asarray(latents.normal(latent, n, 2 * size)))
    w, other = (G.map(x, label, G.net.mapping_layers) for x in (z[:, :size], z[:, size:]))
    self.mean = 0.995 * self.mean + 0.005 * w.detach().mean(0).numpy()
    share = np.asarray(jax.random.uniform(place, (n, 1))) / self.config.method.mixing
    start = np.where(share < 1, 1 + np.floor(share * (layers - 1)), layers)
    own = torch.tensor(np.arange(layers) < start)[..., None]
    return torch.where(own, w[:, None], other[:, None])

  def synthesize(self, w, key):
    rngs = {'noise': jax.random.split(key)[1]}
    draw = lambda module: module.synthesis._noise(len(w), None)
    unused = {'styles': {'w_avg': np.zeros(self.config.networks.w_dim)}}
    drawn = self.nets['G'].apply(unused, method=draw, rngs=rngs)
    own = {name: {'constant': torch.tensor(np.asarray(x))[:, None]} for name, x in drawn.items()}
    self.twins['G'].noise = {'synthesis': own}
    return self.twins['G'].synthesize(w)

  def generate(self, key, n, label):
    of_style, of_noise = jax.random.split(key)
    return self.synthesize(self.style(of_style, n, label), of_noise)

  def phase(self, name, key, images, label):
    """A loss, as ours logs it, after the update."""
    method, judge, n = self.config.method, self.twins['D'].D, len(images)
    if name == 'G':
      fakes = self.generate(jax.random.split(key)[0], n, label)
      return {'loss_G': self.take('G', F.softplus(-judge(fakes, label)).mean())}
    if name == 'G_path':
      of_style, of_noise, direction = jax.random.split(key, 3)
      some = label[:: method.path_shrink]
      w = self.style(of_style, len(some), some)
      made = self.synthesize(w, of_noise)
      shape = (len(some), *made.shape[2:], made.shape[1])
      y = nchw(jax.random.normal(direction, shape)) / (shape[1] * shape[2]) ** 0.5
      (slopes,) = torch.autograd.grad((made * y).sum(), w, create_graph=True)
      lengths = slopes.square().sum(2).mean(1).sqrt()
      mean = self.length + 0.01 * (lengths.mean() - self.length)
      self.length = mean.item()
      loss = method.path_weight * (lengths - mean).square().mean()
      return {'loss_path': self.take('G', loss * method.path_every) / method.path_every}
    if name == 'D':
      fakes = self.generate(jax.random.split(key, 3)[0], n, label).detach()
      loss = F.softplus(judge(fakes, label)).mean() + F.softplus(-judge(images, label)).mean()
      return {'loss_D': self.take('D', loss)}
    images = images.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(judge(images, label).sum(), images, create_graph=True)
    loss = method.r1_gamma / 2 * slopes.square().sum((1, 2, 3)).mean()
    return {'loss_r1': self.take('D', loss * method.r1_every) / method.r1_every}


def test_steps_of_training():
  """All four phases, then G and D alone: losses, weights, second moments, the mean style and the mean length."""
  config = stylegan2_emoji.get_config()
  config.steps, config.batch_size, config.data.flip, config.data.resolution = 10, 4, False, 8
  sizes = dict(width=4, w_dim=5, mapping_layers=2, num_classes=3, mapping_layers_D=1)
  config.networks = config.networks.to_dict() | sizes | dict(dtype='float64', param_dtype='float64')
  own = dict(z_dim=6, path_every=2, path_shrink=2, r1_every=4, r1_gamma=1.0, diffaugment='')
  config.method = config.method.to_dict() | own
  rng = np.random.default_rng(1)
  # Black and white: -1 and 1 exactly.
  pixels = rng.choice(np.array([0, 255], np.uint8), (4, 8, 8, 3))
  label = np.array([0, 2, 1, 1], np.int32)
  images = nchw(pixels / 127.5 - 1)
  mesh = sharding.make_mesh(jax.devices()[:1])
  with jax.set_mesh(mesh):
    run = experiment.build(config)
    state, *_ = run_state.start(run, mesh)
    state = sharding.replicate(state.replace(params=jax.device_get(noisy(state.params))), mesh)
    game = Game(config, run.method.nets, jax.device_get(state))
    update, stage = run.update(run.spans[0]), run.spans[0].stage
    batch = (sharding.place_batch({'image': pixels, 'label': label}, mesh),)
    for step in range(2):
      names = active(stage, step)
      state, metrics = update(state, batch, {}, phases=names)
      metrics['loss_D'] = metrics['loss_real'] + metrics['loss_fake']
      for number, phase in enumerate(stage.phases):
        if phase.name in names:
          key = jax.random.fold_in(jax.random.fold_in(run.key, step), number)
          key = jax.random.fold_in(key, 0)
          found = game.phase(phase.name, key, images, torch.tensor(label).long())
          for metric, value in found.items():
            np.testing.assert_allclose(metrics[metric], value, rtol=1e-6, err_msg=metric)
      np.testing.assert_allclose(state.stats['G']['styles']['w_avg'], game.mean, rtol=1e-6)
      np.testing.assert_allclose(state.extra['path_length'], game.length, rtol=1e-5)
      for net in 'GD':
        moment = lambda p, net=net: game.opt[net].state[p]['exp_avg_sq'].numpy()
        value = lambda p: p.detach().numpy()
        theirs = game.twins[net].params
        for ours, read in (state.params[net], value), (state.opt[net][0].nu[net], moment):
          pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(jax.tree.map(read, theirs)))
          for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7 * np.abs(b).max() + 1e-12)
  assert names == ('G', 'D')
