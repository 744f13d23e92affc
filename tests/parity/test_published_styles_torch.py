"""Imported StyleGAN2 and StyleGAN3: pictures and logits against PyTorch on the same published numbers; export back.

The networks are written from the published codes' descriptions, as functions of a state dictionary.
"""

import jax
import numpy as np
import pytest

from ganjax import run_state
from ganjax.devices import sharding
from ganjax.networks import stylegan3
from ganjax.weights import stylegans

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.slow  # a whole import, each
import published_styles as files  # noqa: E402 (needs torch)

F = torch.nn.functional
RNG = np.random.default_rng(0)
nchw = lambda x: torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))
close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


class Net:
  """A state dictionary of stylegan2-ada-pytorch or stylegan3."""

  def __init__(self, arrays, clamp):
    self.w = {name: torch.tensor(x) for name, x in arrays.items()}
    self.clamp = clamp or float('inf')

  def dense(self, name, x, m=1.0):
    w = self.w[f'{name}.weight']
    return F.linear(x, w * (m / w.shape[1] ** 0.5), self.w[f'{name}.bias'] * m)

  def act(self, x, gain=1.0):
    limit = self.clamp * gain
    return (F.leaky_relu(x, 0.2) * 2**0.5 * gain).clamp(-limit, limit)

  def map(self, z, label):
    norm = lambda x: x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    parts = [] if z is None else [norm(z)]
    if 'mapping.embed.weight' in self.w:
      parts.append(norm(self.dense('mapping.embed', label)))
    x, i = torch.cat(parts, 1), 0
    while f'mapping.fc{i}.weight' in self.w:
      x, i = F.leaky_relu(self.dense(f'mapping.fc{i}', x, 0.01), 0.2) * 2**0.5, i + 1
    return x

  def modulated(self, layer, x, w, up=False, demodulate=True):
    weight, style = self.w[f'{layer}.weight'], self.dense(f'{layer}.affine', w)
    (b, c, *size), k = x.shape, weight.shape[-1]
    style = style if demodulate else style / c**0.5
    own = weight[None] * style[:, None, :, None, None]
    if demodulate:
      own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, b * c, *size)
    if not up:
      return F.conv2d(x, own.flatten(0, 1), padding=k // 2, groups=b).unflatten(1, (b, -1))[0]
    x = F.conv_transpose2d(x, own.transpose(1, 2).flatten(0, 1), stride=2, groups=b)
    return self.fir(x.unflatten(1, (b, -1))[0], (1, 1), 4)

  def fir(self, x, pad, gain, up=1):
    z = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    z[..., ::up, ::up] = x
    kernel = torch.tensor(files.FILTER * gain).to(x).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(z, (*pad, *pad)), kernel, groups=x.shape[1])

  def G(self, w):
    x, image, side = self.w['synthesis.b4.const'].expand(len(w), -1, -1, -1), None, 4
    while f'synthesis.b{side}.conv1.weight' in self.w:
      block = f'synthesis.b{side}'
      for layer in (f'{block}.conv0', f'{block}.conv1')[side == 4 :]:
        x = self.modulated(layer, x, w, up=layer.endswith('0'))
        x = x + self.w[f'{layer}.noise_const'] * self.w[f'{layer}.noise_strength']
        x = self.act(x + self.w[f'{layer}.bias'][:, None, None])
      rgb = self.modulated(f'{block}.torgb', x, w, demodulate=False)
      rgb = (rgb + self.w[f'{block}.torgb.bias'][:, None, None]).clamp(-self.clamp, self.clamp)
      image = rgb if image is None else self.fir(image, (2, 1), 4, up=2) + rgb
      side *= 2
    return image

  def conv(self, name, x, **how):
    w = self.w[f'{name}.weight']
    return F.conv2d(x, w / w[0].numel() ** 0.5, self.w.get(f'{name}.bias'), **how)

  def D(self, x, label):
    side = x.shape[-1]
    x = self.act(self.conv(f'b{side}.fromrgb', x))
    while side > 4:
      y = self.act(self.conv(f'b{side}.conv0', x, padding=1))
      y = self.act(self.conv(f'b{side}.conv1', self.fir(y, (2, 2), 1), stride=2), 0.5**0.5)
      skip = self.conv(f'b{side}.skip', self.fir(x, (1, 1), 1)[..., ::2, ::2])
      x, side = y + skip * 0.5**0.5, side // 2
    y = x.reshape(4, -1, *x.shape[1:])
    y = (y - y.mean(0)).square().mean(0).add(1e-8).sqrt().mean((1, 2, 3)).repeat(4)
    x = torch.cat([x, y[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    x = self.act(self.conv('b4.conv', x, padding=1))
    x = F.leaky_relu(self.dense('b4.fc', x.flatten(1)), 0.2) * 2**0.5
    x = self.dense('b4.out', x)
    if label is None:
      return x[:, 0]
    return (x * self.map(None, label)).sum(1) / x.shape[1] ** 0.5


@pytest.mark.parametrize('case', ['ada', 'of classes', 'rosinality'])
def test_stylegan2(case, tmp_path, monkeypatch):
  classes, clamp = (3, 1.5) if case == 'of classes' else (0, 256.0)
  sizes = dict(sides=[4, 8, 16], widths=[6, 6, 4], w_dim=5, layers=2, z_dim=5, classes=classes)
  sizes = sizes | (dict(w_dim=512, z_dim=512) if case == 'rosinality' else {})
  G, D = files.stylegan2(RNG, **sizes)
  other, _ = files.stylegan2(RNG, **sizes)
  path = tmp_path / 'x.pkl'
  if case == 'rosinality':
    torch.save(files.rosinality(G, D), path)
    run, state = files.bring(path, case, monkeypatch)
    clamp = 0
    # A file of a training has no mean style: it is that of 10,000 z.
    mean = np.asarray(state.stats['G']['styles']['w_avg'])
    w = Net(G, 0).map(torch.randn(20_000, 512), None).numpy()
    np.testing.assert_allclose((mean - w.mean(0)) / w.std(0), 0, atol=0.06)
    G['mapping.w_avg'] = mean
  else:
    settings = dict(conv_clamp=clamp, img_resolution=16)
    networks = dict(G=files.network(other, **settings), G_ema=files.network(G, **settings))
    networks['D'] = files.network(D, epilogue_kwargs=files.EasyDict(mbstd_group_size=4))
    path.write_bytes(files.pickled(**networks))
    run, state = files.bring(path, 'stylegan', monkeypatch)
    assert run.config.networks.mapping_layers == 2 and run.config.networks.clamp == clamp
    raw = run_state.read_generator(
      run, tmp_path / 'x', sharding.make_mesh(jax.devices()[:1]), step=0, weights='raw'
    )[0]
    found = raw.params['G']['synthesis']['const'][..., 0]
    np.testing.assert_array_equal(found, other['synthesis.b4.const'][0])
  rows, images = files.pictures(run, state, noise='constant', truncation=0.7)
  label = torch.eye(3)[np.asarray(rows['label'])] if classes else None
  net = Net(G, clamp)
  w = net.map(torch.tensor(np.asarray(rows['z'])), label)
  mean = net.w['mapping.w_avg']
  wanted = net.G(mean + 0.7 * (w - mean))
  close(images, wanted.permute(0, 2, 3, 1))
  of_D = {'params': state.params['D'], **state.stats['D']}
  real = RNG.uniform(-1, 1, (8, 16, 16, 3)).astype(np.float32)
  label = np.arange(8) % 3 if classes else None
  judge = jax.jit(lambda x: run.method.nets['D'].apply(of_D, x, label, train=False))
  label = torch.eye(3)[label] if classes else None
  close(judge(real), Net(D, clamp).D(nchw(real), label))
  # And back: every array of the file, and nothing else.
  state = jax.device_get(state)
  nets = {'G': G, 'D': D}
  for net, arrays in nets.items():
    ours = {'params': state.params[net], 'stats': state.stats[net]}
    back = stylegans.to_published(ours, net)
    assert back.keys() == arrays.keys()
    for name, x in arrays.items():
      np.testing.assert_array_equal(back[name], x)


def arrays_of_stylegan3(bands, kernel, radial, w_dim, layers):
  draw = lambda *shape: RNG.normal(size=shape).astype(np.float32)
  found = {'mapping.w_avg': draw(w_dim)}
  for i in range(layers):
    found[f'mapping.fc{i}.weight'], found[f'mapping.fc{i}.bias'] = draw(w_dim, w_dim), draw(w_dim)
  first, at = bands[0], 'synthesis.input'
  found |= {
    f'{at}.weight': draw(first.features, first.features),
    f'{at}.phases': draw(first.features),
  }
  found |= {f'{at}.freqs': draw(first.features, 2), f'{at}.transform': np.eye(3, dtype=np.float32)}
  found |= {f'{at}.affine.weight': draw(4, w_dim), f'{at}.affine.bias': draw(4)}
  for i, band in enumerate(bands):
    before, last = bands[max(i - 1, 0)], i == len(bands) - 1
    layer, k = f'synthesis.L{i}_{band.size}_{band.features}', 1 if last else kernel
    found |= {
      f'{layer}.weight': draw(band.features, before.features, k, k),
      f'{layer}.bias': draw(band.features),
    }
    found |= {
      f'{layer}.affine.weight': draw(before.features, w_dim),
      f'{layer}.affine.bias': draw(before.features),
    }
    found[f'{layer}.magnitude_ema'] = np.float32(RNG.uniform(0.5, 2))
    if not last:
      *_, up, down = stylegan3.between(before, band, radial and i < len(bands) - 3)
      found |= {f'{layer}.up_filter': np.float32(up), f'{layer}.down_filter': np.float32(down)}
  return found


@pytest.mark.parametrize('rotates', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_stylegan3(rotates, tmp_path, monkeypatch):
  """Against ganjax's own network, which `test_stylegan3_torch.py` holds against a twin: names, axes and settings."""
  sizes = dict(channel_base=200, channel_max=8)
  bands = stylegan3.bands(32, 3, 8, 200, 4)
  arrays = arrays_of_stylegan3(bands, 1 if rotates else 3, rotates, 6, 2)
  _, D = files.stylegan2(RNG, [4, 8, 16, 32], [6, 6, 6, 4], 6, 2, 6)
  path = tmp_path / 'x.pkl'
  G = files.network(arrays, img_resolution=32, mapping_kwargs=files.EasyDict(num_layers=2), **sizes)
  path.write_bytes(files.pickled(G_ema=G, G=G, D=files.network(D)))
  run, state = files.bring(path, 'stylegan', monkeypatch)
  own = run.config.networks
  assert (own.layers, own.rotates, own.clamp, own.width_D, own.channel_base_D) == (
    4,
    rotates,
    256.0,
    6,
    128,
  )
  _, images = files.pictures(run, state, rotate=10.0)
  assert np.isfinite(images).all() and images.shape == (4, 32, 32, 3) and images.std() > 0.01
  # What each array is for, by the twin's formulas of one layer and of the input.
  state = jax.device_get(state)
  params, stats = state.params['G']['synthesis'], state.stats['G']
  layer = f'synthesis.L1_{bands[1].size}_{bands[1].features}'
  np.testing.assert_array_equal(
    params['L1']['conv']['kernel'], arrays[f'{layer}.weight'].transpose(2, 3, 1, 0)
  )
  np.testing.assert_array_equal(
    stats['magnitude']['synthesis']['L1']['mean'], arrays[f'{layer}.magnitude_ema']
  )
  np.testing.assert_array_equal(
    params['input']['mix']['kernel'], arrays['synthesis.input.weight'].T
  )
  np.testing.assert_array_equal(
    params['input']['affine_kernel'], arrays['synthesis.input.affine.weight'].T
  )
  np.testing.assert_array_equal(
    stats['fourier']['synthesis']['input']['freqs'], arrays['synthesis.input.freqs']
  )
  layout = run.method.nets['G'].layout
  back = stylegans.to_published({'params': state.params['G'], 'stats': stats}, 'G', layout)
  assert back.keys() == arrays.keys()
  for name, x in arrays.items():
    np.testing.assert_allclose(back[name], x, atol=1e-7)
