"""Imported StyleGAN2 of TensorFlow: pictures and logits against its own formulas, by its own names and axes.

The networks are written from the description of NVlabs/stylegan2 and NVlabs/stylegan2-ada: convolutions slide kernels
[k, k, C, F] over a map; where it is doubled, over one with zeros between its pixels.
"""

import jax
import numpy as np
import pytest
import tensorflow_networks

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.slow  # a whole import, each
import published_styles as files  # noqa: E402 (needs torch)

F = torch.nn.functional
RNG = np.random.default_rng(0)
close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def fir(x, before, after, gain):
  """[1, 3, 3, 1] over [B, C, H, W] with so many zeros before and after it on each axis."""
  taps = torch.tensor([1.0, 3, 3, 1]).to(x) / 8
  kernel = (gain * torch.outer(taps, taps)).expand(x.shape[1], 1, 4, 4)
  return F.conv2d(F.pad(x, (before, after) * 2), kernel, groups=x.shape[1])


def spread(x):
  """Zeros between the pixels."""
  z = x.new_zeros(*x.shape[:2], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1)
  z[..., ::2, ::2] = x
  return z


def slide(x, w, how='same'):
  """x [B, C, H, W], w [k, k, C, F]: 'same', 'up' (2H pixels) or 'down' (H/2)."""
  k, own = w.shape[0], w.permute(3, 2, 0, 1)
  if how == 'up':
    p = 3 - k
    return fir(F.conv2d(spread(x), own, padding=k - 1), (p + 1) // 2 + 1, p // 2 + 1, 4)
  if how == 'down':
    return F.conv2d(fir(x, (k + 2) // 2, (k + 1) // 2, 1), own, stride=2)
  return F.conv2d(x, own, padding=k // 2)


double = lambda image: fir(spread(image), 2, 2, 4)
norm = lambda x: x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Net:
  def __init__(self, arrays, clamp=None, lrmul=0.01):
    self.w = {name: torch.tensor(x).double() for name, x in arrays.items()}
    self.clamp, self.lrmul = clamp or float('inf'), lrmul
    self.last = max(int(name.split('/')[-3].split('x')[0]) for name in arrays if 'Conv1' in name)

  def act(self, x):
    return (F.leaky_relu(x, 0.2) * 2**0.5).clamp(-self.clamp, self.clamp)

  def weight(self, name, m=1.0):
    w = self.w[name]
    return w * (m / w[..., 0].numel() ** 0.5)

  def dense(self, name, x, m=1.0):
    return x @ self.weight(f'{name}/weight', m) + self.w[f'{name}/bias'] * m

  def map(self, name, x):
    i = 0
    while f'{name}{i}/weight' in self.w:
      x, i = F.leaky_relu(self.dense(f'{name}{i}', x, self.lrmul), 0.2) * 2**0.5, i + 1
    return x

  def modulated(self, name, x, y, how, demodulate=True):
    rows = []
    style = y @ self.weight(f'{name}/mod_weight') + self.w[f'{name}/mod_bias'] + 1
    for one, s in zip(x, style):
      w = self.weight(f'{name}/weight') * s[:, None]
      if demodulate:
        w = w / (w.square().sum((0, 1, 2)) + 1e-8).sqrt()
      rows.append(slide(one[None], w, how))
    return torch.cat(rows)

  def biased(self, name, x):
    return x + self.w[f'{name}/bias'][:, None, None]

  def G(self, z, label, psi):
    parts = [norm(z)]
    if label is not None:
      parts.append(norm(self.dense('mapping/LabelEmbed', label)))
    y = self.map('mapping/Dense', torch.cat(parts, 1))
    y = self.w['dlatent_avg'] + psi * (y - self.w['dlatent_avg'])
    x, image, number, side = (
      self.w['synthesis/4x4/Const/const'].expand(len(z), -1, -1, -1),
      None,
      0,
      4,
    )
    while side <= self.last:
      block, before = f'synthesis/{side}x{side}', x
      for layer in ('Conv0_up', 'Conv1') if side > 4 else ('Conv',):
        name = f'{block}/{layer}'
        x = self.modulated(name, x, y, 'up' if layer == 'Conv0_up' else 'same')
        x = x + self.w[f'synthesis/noise{number}'] * self.w[f'{name}/noise_strength']
        x, number = self.act(self.biased(name, x)), number + 1
      if f'{block}/Skip/weight' in self.w:
        x = (x + slide(before, self.weight(f'{block}/Skip/weight'), 'up')) / 2**0.5
      image = None if image is None else double(image)
      if f'{block}/ToRGB/weight' in self.w:
        new = self.biased(f'{block}/ToRGB', self.modulated(f'{block}/ToRGB', x, y, 'same', False))
        new = new.clamp(-self.clamp, self.clamp)
        image = new if image is None else image + new
      side *= 2
    return image

  def conv(self, name, x, how='same'):
    return self.act(self.biased(name, slide(x, self.weight(f'{name}/weight'), how)))

  def D(self, image, label, group):
    x, side = 0, self.last
    while side > 4:
      block = f'{side}x{side}'
      if f'{block}/FromRGB/weight' in self.w:
        x = x + self.conv(f'{block}/FromRGB', image)
      y = self.conv(f'{block}/Conv1_down', self.conv(f'{block}/Conv0', x), 'down')
      if f'{block}/Skip/weight' in self.w:
        y = (y + slide(x, self.weight(f'{block}/Skip/weight'), 'down')) / 2**0.5
      x, image, side = y, fir(image, 1, 1, 1)[..., ::2, ::2], side // 2
    if '4x4/FromRGB/weight' in self.w:
      x = x + self.conv('4x4/FromRGB', image)
    y = x.reshape(group, -1, *x.shape[1:])
    y = (y - y.mean(0)).square().mean(0).add(1e-8).sqrt().mean((1, 2, 3)).repeat(group)
    x = torch.cat([x, y[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    x = self.conv('4x4/Conv', x).flatten(1)
    x = self.dense('Output', F.leaky_relu(self.dense('4x4/Dense0', x), 0.2) * 2**0.5)
    if label is None:
      return x[:, 0]
    y = self.map('Mapping', norm(self.dense('LabelEmbed', label)))
    return (x * y).sum(1) / x.shape[1] ** 0.5


@pytest.mark.parametrize('case', [
  dict(G='skip', D='resnet', classes=3, layers_D=2, clamp=1.5, protocol=5),
  dict(G='resnet', D='skip', group=2),
  dict(G='orig', D='orig', rate=0.05),
], ids=lambda case: f'{case["G"]}-{case["D"]}')  # fmt: skip
def test_pictures_and_logits(case, tmp_path, monkeypatch):
  classes, clamp, group = case.get('classes', 0), case.get('clamp'), case.get('group', 4)
  how = {key: case[key] for key in case.keys() & {'G', 'D', 'classes', 'layers_D'}}
  (other, _), (G, D) = (tensorflow_networks.arrays(RNG, (6, 6, 4), **how) for _ in range(2))
  shared = dict(fmap_base=32, fmap_max=6, label_size=classes, resolution=16, conv_clamp=clamp)
  own = {'mapping_lrmul': case['rate']} if 'rate' in case else {}
  network = lambda x, **more: tensorflow_networks.network(x, **shared, **more)
  nets = network(other, **own), network(D, mbstd_group_size=group), network(G, **own)
  path = tmp_path / 'x.pkl'
  path.write_bytes(tensorflow_networks.pickled(nets, case.get('protocol', 4)))
  run, state = files.bring(path, 'stylegan', monkeypatch)
  rows, images = files.pictures(run, state, noise='constant', truncation=0.7)
  one_hot = lambda label: torch.eye(3).double()[np.array(label)] if classes else None
  label = one_hot(rows['label']) if classes else None
  z = torch.tensor(np.array(rows['z'])).double()
  wanted = Net(G, clamp, case.get('rate', 0.01)).G(z, label, 0.7)
  close(images, wanted.permute(0, 2, 3, 1).numpy())
  real, label = RNG.uniform(-1, 1, (8, 16, 16, 3)).astype(np.float32), np.arange(8) % 3
  of_D = {'params': state.params['D'], **state.stats['D']}
  judge = lambda x: run.method.nets['D'].apply(of_D, x, label if classes else None, train=False)
  wanted = Net(D, clamp, 0.1).D(
    torch.tensor(real).double().permute(0, 3, 1, 2), one_hot(label), group
  )
  close(jax.jit(judge)(real), wanted.numpy())
