"""The PyTorch twins of ganjax's SNGAN and BigGAN training steps: `benchmarks/gan_steps.py` runs this as a process.

Written for speed as ganjax is: identity paths are resampled before their 1x1 convolutions, which is the same. Initial
weights are these networks' own, saved in the formats that `ganjax.weights.published` reads.
"""

import json
import re
import sys

import numpy as np
import torch
import torch.nn.functional as F
import torch_dcgan
from torch import nn


def spectral(layer):
  nn.init.orthogonal_(layer.weight)
  return nn.utils.spectral_norm(layer, eps=1e-6)


def conv(a, b, size=3, wrap=spectral, bias=True):
  return wrap(nn.Conv2d(a, b, size, padding=size // 2, bias=bias))


def double(x):
  return F.interpolate(x, scale_factor=2)


class Conditional(nn.Module):
  """Batch norm whose gain and bias are linear in a vector."""

  def __init__(self, features, length):
    super().__init__()
    self.norm = nn.BatchNorm2d(features, eps=1e-4, affine=False)
    self.gain, self.bias = (spectral(nn.Linear(length, features, bias=False)) for _ in range(2))

  def forward(self, x, y):
    a, b = self.gain(y)[:, :, None, None], self.bias(y)[:, :, None, None]
    return torch.addcmul(b, self.norm(x), 1 + a)


class Plain(nn.BatchNorm2d):
  def forward(self, x, y):
    return super().forward(x)


class Attention(nn.Module):
  def __init__(self, c):
    super().__init__()
    self.theta, self.phi, self.g = (conv(c, n, 1, bias=False) for n in (c // 8, c // 8, c // 2))
    self.o = conv(c // 2, c, 1, bias=False)
    self.gamma = nn.Parameter(torch.tensor(0.5))

  def forward(self, x, y=None):
    rows = lambda x: x.flatten(2)
    phi, g = (rows(F.max_pool2d(m(x), 2)) for m in (self.phi, self.g))
    weights = F.softmax(rows(self.theta(x)).transpose(1, 2) @ phi, -1)
    found = (g @ weights.transpose(1, 2)).reshape(len(x), -1, *x.shape[2:])
    return x + self.gamma * self.o(found)


class Up(nn.Module):
  def __init__(self, a, b, wrap, norm):
    super().__init__()
    self.bn1, self.bn2 = norm(a), norm(b)
    self.conv1, self.conv2 = conv(a, b, wrap=wrap), conv(b, b, wrap=wrap)
    self.conv_sc = conv(a, b, 1, wrap)

  def forward(self, x, y):
    h = self.conv1(double(F.relu(self.bn1(x, y))))
    return self.conv2(F.relu(self.bn2(h, y))) + double(self.conv_sc(x))


class Generator(nn.Module):
  def __init__(self, spec):
    super().__init__()
    c, z = spec['channels_G'], spec['z_dim']
    self.big, self.c = spec['format'] == 'biggan_pytorch', c
    wrap, norm = (lambda layer: layer), Plain
    if self.big:
      self.chunk = z // 4
      self.shared = nn.Embedding(spec['num_classes'], spec['shared_dim'])
      wrap, norm = spectral, lambda n: Conditional(n, spec['shared_dim'] + self.chunk)
    self.linear = wrap(nn.Linear(self.chunk if self.big else z, 16 * c))
    blocks = [[Up(c, c, wrap, norm)] for _ in range(3)]
    if self.big:
      blocks[1].append(Attention(c))
    self.blocks = nn.ModuleList(map(nn.ModuleList, blocks))
    norm = nn.BatchNorm2d(c, eps=1e-4 if self.big else 1e-5)
    self.output_layer = nn.Sequential(norm, nn.ReLU(), conv(c, 3, wrap=wrap))

  def forward(self, z, label):
    conditions = [None] * 3
    if self.big:
      z, *parts = z.split(self.chunk, 1)
      conditions = [torch.cat([self.shared(label), part], 1) for part in parts]
    x = self.linear(z).view(len(z), self.c, 4, 4)
    if self.output_layer[2].weight.is_contiguous(memory_format=torch.channels_last):
      x = x.contiguous(memory_format=torch.channels_last)
    for block, condition in zip(self.blocks, conditions):
      for layer in block:
        x = layer(x, condition)
    return torch.tanh(self.output_layer(x))


class Down(nn.Module):
  def __init__(self, a, b, down, first):
    super().__init__()
    self.first, self.pool = first, (lambda x: F.avg_pool2d(x, 2)) if down else lambda x: x
    self.conv1, self.conv2 = conv(a, b), conv(b, b)
    self.conv_sc = conv(a, b, 1) if down or a != b else None

  def forward(self, x, y=None):
    h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
    return self.pool(h) + (self.conv_sc(self.pool(x)) if self.conv_sc else x)


class Discriminator(nn.Module):
  def __init__(self, spec):
    super().__init__()
    c, big = spec['channels_D'], spec['format'] == 'biggan_pytorch'
    blocks = [[Down(c if i else 3, c, i < 2, i == 0)] for i in range(4)]
    if big:
      blocks[0].append(Attention(c))
    self.blocks = nn.ModuleList(map(nn.ModuleList, blocks))
    self.linear = spectral(nn.Linear(c, 1))
    self.embed = spectral(nn.Embedding(spec['num_classes'], c)) if big else None

  def forward(self, x, label):
    for block in self.blocks:
      for layer in block:
        x = layer(x)
    x = F.relu(x).sum((2, 3))
    y = self.linear(x)[:, 0]
    return y if self.embed is None else y + (self.embed(label) * x).sum(1)


# What the parts of these names are called in a file.
RENAMED = {
  'mimicry': [
    (r'blocks\.(\d)\.0\.', None),
    (r'conv(_sc|\d)\.', r'c\1.'),
    (r'bn(\d)\.', r'b\1.'),
    (r'output_layer\.0', 'b5'),
    (r'output_layer\.2', 'c5'),
  ],
  'biggan_pytorch': [
    (r'weight_orig', 'weight'),
    (r'weight_u', 'u0'),
    (r'(norm\.)?running_', 'stored_'),
    (r'output_layer\.0\.weight', 'output_layer.0.gain'),
  ],
}


def save(net, name, form, path):
  found = {}
  for key, x in net.state_dict().items():
    if key.endswith('num_batches_tracked'):
      continue
    for pattern, new in RENAMED[form]:
      new = new or (lambda m: f'block{int(m[1]) + (2 if name == "G" else 1)}.')
      key = re.sub(pattern, new, key)
    if form == 'mimicry':
      key = re.sub(r'^linear', 'l1' if name == 'G' else 'l5', key)
    found[key] = x
  torch.save(found, path)


class Twin:
  """Both networks with their optimizers, in one memory format."""

  def __init__(self, spec, pixels, labels, memory_format):
    self.spec, self.format = spec, memory_format
    self.pixels, self.labels = torch.from_numpy(pixels), torch.from_numpy(labels).long()
    torch.manual_seed(0)
    self.G, self.D = Generator(spec), Discriminator(spec)
    if memory_format == torch.contiguous_format:
      for name, net in ('G', self.G), ('D', self.D):
        save(net, name, spec['format'], f'{spec["folder"]}/{name}.pth')
    for net in (self.G, self.D):
      net.to(memory_format=memory_format)
    adam = lambda net, o: torch.optim.Adam(
      net.parameters(), o['lr'], (o['b1'], o['b2']), o['eps'], fused=True
    )
    self.opt_G, self.opt_D = adam(self.G, spec['optim']['G']), adam(self.D, spec['optim']['D'])

  def images(self, mirror):
    """The batch as floats in [-1, 1], each picture mirrored with probability 1/2."""
    x = self.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    if mirror:
      x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    return x.contiguous(memory_format=self.format)

  def losses_D(self, images, z):
    """Hinge: (of real images, of fakes)."""
    with torch.no_grad():
      fakes = self.G(z, self.labels)
    real, fake = self.D(images, self.labels), self.D(fakes, self.labels)
    return F.relu(1 - real).mean(), F.relu(1 + fake).mean()

  def step(self):
    """n_critic updates of D, one of G."""
    draw = lambda: torch.randn(len(self.pixels), self.spec['z_dim'])
    for _ in range(self.spec['n_critic']):
      self.opt_D.zero_grad()
      sum(self.losses_D(self.images(self.spec['flip']), draw())).backward()
      self.opt_D.step()
    self.D.requires_grad_(False)
    self.opt_G.zero_grad()
    (-self.D(self.G(draw(), self.labels), self.labels)).mean().backward()
    self.opt_G.step()
    self.D.requires_grad_(True)

  def check(self, z):
    """Fakes NHWC as a flat list, and the losses of real and fake, from the initial statistics."""
    kept = [(x, x.clone()) for net in (self.G, self.D) for x in net.buffers()]
    z = torch.from_numpy(z)
    with torch.no_grad():
      found = [float(x) for x in self.losses_D(self.images(mirror=False), z)]
      fakes = self.G(z, self.labels)
      for x, old in kept:
        x.copy_(old)
    # G's second call has its spectral norm's u moved on; pictures of the first are in the loss.
    return fakes.permute(0, 2, 3, 1).flatten().tolist(), found


def main(path):
  with np.load(path) as file:
    found = dict(file)
  spec = json.loads(str(found['spec']))
  torch_dcgan.tune(spec['threads'])
  formats = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
  torch_dcgan.serve(
    {name: Twin(spec, found['pixels'], found['labels'], f) for name, f in formats.items()},
    found['z'],
  )


if __name__ == '__main__':
  main(sys.argv[1])
