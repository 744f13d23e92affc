"""Networks that grow, and a fade's updates of D and G, against PyTorch twins with the same weights, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import progressive_emoji
from ganjax import experiment, run_state
from ganjax.devices import sharding
from ganjax.networks import progressive, stylegan
from ganjax.sampling import latents
from ganjax.update import active

torch = pytest.importorskip('torch')

F = torch.nn.functional
RNG = np.random.default_rng(0)
nchw = lambda x: torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))
nhwc = lambda x: x.detach().permute(0, 2, 3, 1).numpy()
act = lambda x: F.leaky_relu(x, 0.2)
up = lambda x: F.interpolate(x, scale_factor=2, mode='nearest')
lerp = lambda old, new, alpha: new if alpha is None else (1 - alpha) * old() + alpha * new


def norm(x):
  return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def conv(x, p, gain=2**0.5):
  w = p['kernel'].permute(3, 2, 0, 1)
  w = w * gain / w[0].numel() ** 0.5
  return F.conv2d(x, w, p['bias'], padding=w.shape[-1] // 2)


def dense(x, p, gain):
  return x @ p['kernel'] * (gain / x.shape[1] ** 0.5)


def G(p, z, level, alpha=None):
  x = dense(norm(z), p['b4_dense'], 2**0.5 / 4).reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
  x = norm(act(x + p['b4_bias'][:, None, None]))
  x = norm(act(conv(x, p['b4_conv'])))
  for i in range(1, level + 1):
    before = x
    for j, resized in enumerate((up, lambda x: x)):
      x = norm(act(conv(resized(x), p[f'b{4 << i}_conv{j}'])))
  below = lambda: up(conv(before, p[f'b{2 << level}_torgb'], 1))
  return lerp(below, conv(x, p[f'b{4 << level}_torgb'], 1), alpha)


def stddev(x, group=4):
  y = x.reshape(group, -1, *x.shape[1:])
  y = (y.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(group)
  return torch.cat([x, y[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


def D(p, image, level, alpha=None):
  x = act(conv(image, p[f'b{4 << level}_fromrgb']))
  for i in range(level, 0, -1):
    x = act(conv(x, p[f'b{4 << i}_conv0']))
    x = F.avg_pool2d(act(conv(x, p[f'b{4 << i}_conv1'])), 2)
    if i == level:
      below = lambda: act(conv(F.avg_pool2d(image, 2), p[f'b{2 << level}_fromrgb']))
      x = lerp(below, x, alpha)
  x = act(conv(stddev(x), p['b4_conv'])).permute(0, 2, 3, 1).flatten(1)
  x = act(dense(x, p['b4_dense'], 2**0.5) + p['b4_dense']['bias'])
  return (dense(x, p['b4_out'], 1.0) + p['b4_out']['bias'])[:, 0]


def leaves(params):
  return jax.tree.map(lambda x: torch.tensor(np.asarray(x), requires_grad=True), params)


def noisy(params):
  """Biases are 0 at the start."""
  return jax.tree.map(lambda x: x + 0.3 * RNG.normal(size=x.shape), params)


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def test_networks_at_a_fade():
  kinds = dict(dtype='float64', param_dtype='float64')
  nets = progressive.build(resolution=16, channels=3, width=5, channel_base=48, **kinds)
  for net, twin, whole, x in (
    ('G', G, np.zeros((2, 6)), RNG.normal(size=(4, 6))),
    ('D', D, np.zeros((2, 16, 16, 3)), RNG.normal(size=(4, 8, 8, 3))),
  ):
    start = lambda x, net=net: nets[net].init(jax.random.key(0), x, train=False)
    shapes = jax.eval_shape(start, whole)['params']
    params = jax.tree.map(lambda x: RNG.normal(size=x.shape), shapes)
    run = lambda p, x, net=net: nets[net].apply({'params': p}, x, train=True, level=1, alpha=0.3)
    ours = jax.jit(run)(params, x)
    given = nchw(x) if net == 'D' else torch.tensor(x)
    theirs = twin(leaves(params), given, 1, 0.3)
    theirs = nhwc(theirs) if net == 'G' else theirs.detach().numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('together', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_updates_of_a_fade(together):
  """Two steps at alpha 0 and 1/2: the losses, every weight of both networks, Adam's second moments."""
  config = progressive_emoji.get_config()
  config.steps, config.batch_size, config.data.flip, config.data.resolution = 9, 4, False, 8
  config.networks.update(width=4, channel_base=32, dtype='float64', param_dtype='float64')
  own = dict(z_dim=6, steady_images=4, fade_images=8, gp_target=3.0, drift=0.1, rates=(1, 1.5))
  config.method.update(together=together, **own)
  pixels = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (4, 8, 8, 3))
  mesh = sharding.make_mesh(jax.devices()[:1])
  with jax.set_mesh(mesh):
    run = experiment.build(config)
    span = run.spans[1]
    assert (span.start, span.stop, span.fields['image'].shape) == (1, 3, (8, 8, 3))
    state, *_ = run_state.start(run, mesh)
    params = noisy(jax.device_get(state.params))
    state = state.replace(step=jnp.int32(1), params=params)
    state = sharding.replicate(state, mesh)
    theirs = {net: leaves(params[net]) for net in 'GD'}
    opt = {
      net: torch.optim.Adam(jax.tree.leaves(theirs[net]), lr=1.5e-3, betas=(0.0, 0.99))
      for net in 'GD'
    }

    def take(net, loss):
      """The gradients of a loss, for `opt[net].step()`."""
      for leaf in jax.tree.leaves(theirs[net]):
        leaf.grad = torch.zeros_like(leaf)
      loss.backward(inputs=jax.tree.leaves(theirs[net]))

    latent = lambda key: torch.tensor(np.asarray(latents.normal(key, 4, 6)), dtype=torch.float64)
    update, batch = run.update(span), (sharding.place_batch({'image': pixels}, mesh),)
    for step, alpha in (1, 0.0), (2, 0.5):
      state, metrics = update(state, batch, {}, phases=active(span.stage, step))
      keys = [
        jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(run.key, step), n), 0)
        for n in (0, 1)
      ]
      of_D, of_G = keys[::-1] if together else keys
      own, between = jax.random.split(of_D)
      fakes = lambda key, alpha=alpha: G(theirs['G'], latent(key), 1, alpha)
      judge = lambda x, alpha=alpha: D(theirs['D'], x, 1, alpha)
      real = nchw(pixels / 127.5 - 1)
      real = (1 - alpha) * up(F.avg_pool2d(real, 2)) + alpha * real
      if together:
        loss = -judge(fakes(of_G)).mean()
        np.testing.assert_allclose(metrics['loss_G'], loss.item(), rtol=1e-6)
        take('G', loss)
      fake = fakes(of_G if together else own).detach()
      share = torch.tensor(np.asarray(jax.random.uniform(between, (4, 1, 1, 1), jnp.float32)))
      mixed = (share * real + (1 - share) * fake).requires_grad_()
      (slopes,) = torch.autograd.grad(judge(mixed).sum(), mixed, create_graph=True)
      lengths = slopes.square().sum((1, 2, 3)).sqrt()
      terms = {
        'loss_real': -judge(real).mean(),
        'loss_fake': judge(fake).mean(),
        'loss_gradient_penalty': 10 / 3**2 * (lengths - 3).square().mean(),
        'loss_drift': 0.1 * judge(real).square().mean(),
      }
      for name, value in terms.items():
        np.testing.assert_allclose(metrics[name], value.item(), rtol=1e-6, err_msg=name)
      take('D', sum(terms.values()))
      opt['D'].step()
      if not together:
        take('G', -judge(fakes(of_G)).mean())
      opt['G'].step()
      for net in 'GD':
        moment = lambda p, net=net: opt[net].state[p]['exp_avg_sq'].numpy()
        value = lambda p: p.detach().numpy()
        for ours, read in (state.params[net], value), (state.opt[net][0].nu[net], moment):
          pairs = jax.tree_util.tree_leaves_with_path(ours)
          for (path, a), b in zip(pairs, jax.tree.leaves(jax.tree.map(read, theirs[net]))):
            how = dict(rtol=1e-5, atol=1e-7 * np.abs(b).max() + 1e-12)
            name = f'{step} {net} {jax.tree_util.keystr(path)}'
            np.testing.assert_allclose(a, b, **how, err_msg=name)


def blur(x):
  line = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4
  kernel = torch.outer(line, line).expand(x.shape[1], 1, 3, 3)
  return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def test_stylegan_at_a_fade():
  """G with its constant noise, and D; for both the fused forms are as the separate steps."""
  kinds = dict(dtype='float64', param_dtype='float64', w_dim=5, mapping_layers=2)
  nets = stylegan.build(resolution=8, channels=3, width=4, channel_base=24, **kinds)
  normal = lambda tree: jax.tree.map(lambda x: RNG.normal(size=x.shape), tree)
  inputs = {'G': RNG.normal(size=(4, 6)), 'D': RNG.normal(size=(4, 8, 8, 3))}
  found, given = {}, {}
  for net, x in inputs.items():
    start = lambda x, net=net: nets[net].init(jax.random.key(0), x, train=False)
    given[net] = normal(jax.eval_shape(start, x))
    run = lambda v, x, net=net: nets[net].apply(v, x, train=False, alpha=0.3)
    found[net] = jax.jit(run)(given[net], x)

  g = leaves(given['G']['params'])
  noise = leaves(given['G']['noise']['synthesis'])
  w = norm(torch.tensor(inputs['G']))
  for i in range(2):
    p = g['mapping'][f'fc{i}']
    w = act(dense(w, p, 2**0.5 * 0.01) + 0.01 * p['bias'])
  p = g['synthesis']

  def styled(x, name):
    own = p[name]
    x = x + own['noise_strength'][:, None, None] * noise[name]['constant']
    x = act(x + own['bias'][:, None, None])
    x = F.instance_norm(x, eps=1e-8)
    scale, shift = (dense(w, own['affine'], 1) + own['affine']['bias'])[..., None, None].chunk(2, 1)
    return x * (scale + 1) + shift

  plain = lambda x, q: conv(x, {'bias': None, **q})
  x = styled(p['const'].permute(2, 0, 1).expand(4, -1, -1, -1), 'b4_style0')
  low = styled(plain(x, p['b4_conv1']), 'b4_style1')
  x = styled(blur(plain(up(low), p['b8_conv0'])), 'b8_style0')
  x = styled(plain(x, p['b8_conv1']), 'b8_style1')
  image = lerp(lambda: up(conv(low, p['b4_torgb'], 1)), conv(x, p['b8_torgb'], 1), 0.3)
  np.testing.assert_allclose(found['G'], nhwc(image), rtol=1e-8, atol=1e-9)

  p, image = leaves(given['D']['params']), nchw(inputs['D'])
  x = act(conv(act(conv(image, p['b8_fromrgb'])), p['b8_conv0']))
  x = act(F.avg_pool2d(conv(blur(x), p['b8_conv1']), 2))
  x = lerp(lambda: act(conv(F.avg_pool2d(image, 2), p['b4_fromrgb'])), x, 0.3)
  x = act(conv(stddev(x), p['b4_conv'])).permute(0, 2, 3, 1).flatten(1)
  x = act(dense(x, p['b4_dense'], 2**0.5) + p['b4_dense']['bias'])
  logits = (dense(x, p['b4_out'], 1.0) + p['b4_out']['bias'])[:, 0]
  np.testing.assert_allclose(found['D'], logits.detach().numpy(), rtol=1e-8, atol=1e-9)
