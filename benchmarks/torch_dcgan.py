"""The PyTorch twin of ganjax's DCGAN training step: `benchmarks/dcgan_step.py` runs it as a process of its own.

Networks, losses, optimizers and initial weights are those of the ganjax side; images come as uint8 NHWC and are scaled
and mirrored in the step, latents are drawn in it. Commands come on stdin and answers go to stdout, a line of JSON each.
"""

import ctypes
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Generator(nn.Module):
  """z [B, Z] -> images [B, 3, resolution, resolution], as ganjax.networks.dcgan.Generator."""

  def __init__(self, resolution, z_dim, width):
    super().__init__()
    self.base = resolution // 16
    self.linear = nn.Linear(z_dim, self.base**2 * 8 * width)
    layers = [nn.BatchNorm2d(8 * width), nn.ReLU()]
    for factor in (4, 2, 1):
      up = nn.ConvTranspose2d(2 * factor * width, factor * width, 4, stride=2, padding=1)
      layers += [up, nn.BatchNorm2d(factor * width), nn.ReLU()]
    layers += [nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1), nn.Tanh()]
    self.layers = nn.Sequential(*layers)

  def forward(self, z):
    x = self.linear(z).view(len(z), self.base, self.base, -1).permute(0, 3, 1, 2)
    return self.layers(x)


class Discriminator(nn.Module):
  """Images [B, 3, resolution, resolution] -> logits [B], as ganjax.networks.dcgan.Discriminator."""

  def __init__(self, resolution, width):
    super().__init__()
    layers, channels = [], 3
    for i in range(4):
      layers.append(nn.Conv2d(channels, width * 2**i, 5, stride=2, padding=2))
      if i:
        layers.append(nn.BatchNorm2d(width * 2**i))
      layers.append(nn.LeakyReLU(0.2))
      channels = width * 2**i
    self.layers = nn.Sequential(*layers)
    self.linear = nn.Linear((resolution // 16) ** 2 * channels, 1)

  def forward(self, x):
    return self.linear(self.layers(x).permute(0, 2, 3, 1).flatten(1))[:, 0]


def copy_weights(net, arrays):
  """Fills a network from ganjax's arrays, which come in the order of its own parameters."""
  parameters = list(net.parameters())
  if sum(p.numel() for p in parameters) != sum(a.size for a in arrays):
    raise SystemExit('the twin has another number of parameters')
  with torch.no_grad():
    for parameter, a in zip(parameters, arrays):
      # Convolutions of both kinds are (2, 3, 1, 0) of torch's, linear layers its transpose.
      axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[a.ndim]
      parameter.copy_(torch.from_numpy(a.transpose(axes)))


class Twin:
  """Both networks with their optimizers, in one memory format."""

  def __init__(self, spec, weights, memory_format):
    self.batch, self.z_dim = spec['batch'], spec['z_dim']
    self.format = memory_format
    self.G = Generator(spec['resolution'], spec['z_dim'], spec['width'])
    self.D = Discriminator(spec['resolution'], spec['width'] // 2)
    for name, net in ('G', self.G), ('D', self.D):
      copy_weights(net, [weights[f'{name}{i}'] for i in range(len(list(net.parameters())))])
      net.to(memory_format=memory_format)
    adam = lambda net, o: torch.optim.Adam(
      net.parameters(), o['lr'], (o['b1'], o['b2']), o['eps'], fused=True
    )
    self.opt_G, self.opt_D = adam(self.G, spec['optim']['G']), adam(self.D, spec['optim']['D'])
    self.pixels = torch.from_numpy(weights['pixels'])

  def images(self, mirror):
    """The batch as floats in [-1, 1], each picture mirrored with probability 1/2."""
    x = self.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    if mirror:
      x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    return x.contiguous(memory_format=self.format)

  def losses_D(self, images, z):
    """Non-saturating: (of real images, of fakes)."""
    with torch.no_grad():
      fakes = self.G(z)
    return F.softplus(-self.D(images)).mean(), F.softplus(self.D(fakes)).mean()

  def loss_G(self, z):
    return F.softplus(-self.D(self.G(z))).mean()

  def step(self):
    """One update of D on real images and fakes, one of G on new fakes."""
    draw = lambda: torch.randn(self.batch, self.z_dim)
    self.opt_D.zero_grad()
    sum(self.losses_D(self.images(mirror=True), draw())).backward()
    self.opt_D.step()
    self.D.requires_grad_(False)
    self.opt_G.zero_grad()
    self.loss_G(draw()).backward()
    self.opt_G.step()
    self.D.requires_grad_(True)

  def check(self, z):
    """What the networks and losses give for given latents: fakes NHWC as a flat list, and three losses."""
    z = torch.from_numpy(z)
    real, fake = self.losses_D(self.images(mirror=False), z)
    with torch.no_grad():
      fakes = self.G(z).permute(0, 2, 3, 1).flatten().tolist()
      return fakes, [float(x) for x in (real, fake, self.loss_G(z))]


def tune(threads):
  """Sets torch up for this machine."""
  torch.set_num_threads(threads)
  # Keeps freed memory instead of fetching it from the kernel again in each step (M_MMAP_MAX,
  # M_TRIM_THRESHOLD, M_ARENA_MAX): 3 % faster here.
  if hasattr(libc := ctypes.CDLL(None), 'mallopt'):
    for option, value in ((-4, 0), (-1, 2**31 - 1), (-8, 1)):
      libc.mallopt(option, value)
  torch.manual_seed(0)


def serve(twins, *inputs):
  """Answers commands until stdin ends: 'check' by what a twin gives for the inputs, 'step' by seconds of steps."""
  for line in sys.stdin:
    command, layout, count = json.loads(line)
    twin = twins[layout]
    if command == 'check':
      answer = twin.check(*inputs)
    else:
      answer = []
      for _ in range(count):
        start = time.perf_counter()
        twin.step()
        answer.append(time.perf_counter() - start)
    print(json.dumps(answer), flush=True)


def main(path):
  with np.load(path) as file:
    weights = dict(file)
  spec = json.loads(str(weights['spec']))
  tune(spec['threads'])
  twins = {
    'contiguous': Twin(spec, weights, torch.contiguous_format),
    'channels_last': Twin(spec, weights, torch.channels_last),
  }
  serve(twins, weights['z'])


if __name__ == '__main__':
  main(sys.argv[1])
