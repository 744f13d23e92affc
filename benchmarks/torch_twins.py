"""PyTorch twins of training steps, in plain operators: `benchmarks/twins.py` runs this as a process of its own.

A twin has the layers of the configuration's networks at its sizes, and makes the updates of one step with
torch.optim.Adam. As the authors' codes do, it makes fakes once for D and G where they share them.
"""

import json
import sys

import torch
import torch.nn.functional as F
import torch_dcgan
import torch_nets
import torch_styles
from torch import nn


def bce(logits, real):
  return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))


def numbers(net):
  return sum(p.numel() for p in net.parameters())


class Step:
  """Networks `nets`, one Adam for each entry of `opts`; `step` makes a training step."""

  def __init__(self, spec, nets, opts, layout):
    self.nets = {name: net.to(memory_format=layout) for name, net in nets.items()}
    self.spec, self.layout, self.opt = spec, layout, {}
    for name, members in opts.items():
      how = spec['optim'][name]
      parameters = [p for member in members for p in self.nets[member].parameters()]
      betas, decay = (how['b1'], how['b2']), how.get('weight_decay', 0.0)
      self.opt[name] = torch.optim.Adam(parameters, 1e-4, betas, weight_decay=decay)

  def check(self):
    return {name: numbers(net) for name, net in self.nets.items()}

  def image(self, *shape):
    x = torch.rand(shape) * 2 - 1
    return x.to(memory_format=self.layout) if x.ndim == 4 else x

  def update(self, opt, loss):
    self.opt[opt].zero_grad()
    loss.backward()
    self.opt[opt].step()


class Pix2pix(Step):
  def __init__(self, spec, layout):
    w = spec['networks']
    nets = {
      'G': torch_nets.u_net(w['width'], w['downs'], nn.BatchNorm2d, dropout=(4, 5, 6)),
      'D': torch_nets.patch_gan(6, w['width_D'], w['layers_D'], nn.BatchNorm2d),
    }
    super().__init__(spec, nets, {'G': 'G', 'D': 'D'}, layout)
    shape = spec['batch'], 3, spec['resolution'], spec['resolution']
    self.source, self.target = self.image(*shape), self.image(*shape)

  def step(self):
    G, D = self.nets['G'], self.nets['D']
    fakes, judge = G(self.source), lambda x: D(torch.cat([self.source, x], 1))
    self.update('D', (bce(judge(self.target), 1.0) + bce(judge(fakes.detach()), 0.0)) / 2)
    D.requires_grad_(False)
    self.update('G', bce(judge(fakes), 1.0) + 100 * (fakes - self.target).abs().mean())
    D.requires_grad_(True)


class CycleGAN(Step):
  """Without the pools, which cost nothing."""

  def __init__(self, spec, layout):
    w = spec['networks']
    nets = {name: torch_nets.resnet(w['width'], w['blocks']) for name in ('G_AB', 'G_BA')}
    judge = lambda: torch_nets.patch_gan(3, w['width_D'], w['layers_D'], nn.InstanceNorm2d)
    nets |= {name: judge() for name in ('D_A', 'D_B')}
    super().__init__(spec, nets, {'G': ('G_AB', 'G_BA'), 'D': ('D_A', 'D_B')}, layout)
    shape = spec['batch'], 3, spec['resolution'], spec['resolution']
    self.A, self.B = self.image(*shape), self.image(*shape)

  def step(self):
    G_AB, G_BA, D_A, D_B = (self.nets[name] for name in ('G_AB', 'G_BA', 'D_A', 'D_B'))
    distance = lambda x, y: (x - y).abs().mean()
    for D in (D_A, D_B):
      D.requires_grad_(False)
    fake_B, fake_A = G_AB(self.A), G_BA(self.B)
    loss = ((D_B(fake_B) - 1) ** 2).mean() + ((D_A(fake_A) - 1) ** 2).mean()
    loss = loss + 10 * (distance(G_BA(fake_B), self.A) + distance(G_AB(fake_A), self.B))
    loss = loss + 5 * (distance(G_BA(self.A), self.A) + distance(G_AB(self.B), self.B))
    self.update('G', loss)
    loss = 0
    for D, real, fake in ((D_A, self.A, fake_A.detach()), (D_B, self.B, fake_B.detach())):
      D.requires_grad_(True)
      loss = loss + (((D(real) - 1) ** 2).mean() + (D(fake) ** 2).mean()) / 2
    self.update('D', loss)


class Pixels(Step):
  def __init__(self, spec, layout):
    w = spec['networks']
    nets = {'G': torch_nets.RRDBNet(w['width'], w['growth'], w['blocks'])}
    super().__init__(spec, nets, {'pixels': 'G'}, layout)
    side = spec['resolution']
    self.low = self.image(spec['batch'], 3, side // 4, side // 4)
    self.high = self.image(spec['batch'], 3, side, side)

  def step(self):
    self.update('pixels', (self.nets['G'](self.low) - self.high).abs().mean())


class WaveGAN(Step):
  def __init__(self, spec, layout):
    w, self.n = spec['networks'], spec['batch']
    length, classes = spec['length'], w['num_classes']
    nets = {
      'G': torch_nets.WaveG(length, w['width'], classes, spec['z_dim']),
      'D': torch_nets.WaveD(length, w['width_D'], classes),
    }
    super().__init__(spec, nets, {'G': 'G', 'D': 'D'}, torch.preserve_format)
    self.sounds, self.label = self.image(self.n, 1, length), torch.arange(self.n) % classes

  def step(self):
    G, D = self.nets['G'], self.nets['D']
    draw = lambda: G(torch.randn(self.n, self.spec['z_dim']), self.label)
    for _ in range(self.spec['n_critic']):
      with torch.no_grad():
        fakes = draw()
      share = torch.rand(self.n, 1, 1)
      between = (share * self.sounds + (1 - share) * fakes).requires_grad_()
      (slope,) = torch.autograd.grad(D(between, self.label).sum(), between, create_graph=True)
      penalty = 10 * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
      score = D(fakes, self.label).mean() - D(self.sounds, self.label).mean()
      self.update('D', score + penalty)
    D.requires_grad_(False)
    self.update('G', -D(draw(), self.label).mean())
    D.requires_grad_(True)


class Solids(Step):
  def __init__(self, spec, layout):
    w, side, self.n = spec['networks'], spec['resolution'], spec['batch']
    classes = w['num_classes']
    nets = {
      'G': torch_nets.VoxelG(side, w['width'], classes, spec['z_dim']),
      'D': torch_nets.VoxelD(side, w['width_D'], classes),
    }
    super().__init__(spec, nets, {'G': 'G', 'D': 'D'}, torch.preserve_format)
    self.solids = torch.rand(self.n, 1, side, side, side).round()
    self.label = torch.arange(self.n) % classes

  def step(self):
    G, D = self.nets['G'], self.nets['D']
    draw = lambda: G(torch.randn(self.n, self.spec['z_dim']), self.label)
    judge = lambda solids: D(solids, self.label)
    with torch.no_grad():
      fakes = draw()
    loss, logits = 0, []
    for solids in self.solids, fakes:
      solids = solids.clone().requires_grad_()
      logits.append(judge(solids))
      (slope,) = torch.autograd.grad(logits[-1].sum(), solids, create_graph=True)
      loss = loss + 50 / 8 * slope.square().flatten(1).sum(1).mean()  # ours are in [-1, 1]
    self.update('D', loss + F.softplus(logits[1] - logits[0]).mean())
    D.requires_grad_(False)
    with torch.no_grad():
      real = judge(self.solids)
    self.update('G', F.softplus(real - judge(draw())).mean())
    D.requires_grad_(True)


class MoCoGAN(Step):
  def __init__(self, spec, layout):
    w, side, self.n = spec['networks'], spec['resolution'], spec['batch']
    layers, halves = (side // 4).bit_length() - 1, dict(stride=2, padding=1)
    nets = {
      'G': torch_nets.MotionG(side, w['width'], spec['z_dim'], spec['motion_dim']),
      'D_frames': torch_nets.mirror(nn.Conv2d, nn.BatchNorm2d, w['width_D'], 3, halves, **halves),
      'D_clips': torch_nets.mirror(
        nn.Conv3d, nn.BatchNorm3d, w['width_D'], layers, {}, stride=(1, 2, 2), padding=(0, 1, 1)
      ),
    }
    super().__init__(spec, nets, spec['members'], torch.preserve_format)
    # Of the two biases that torch gives a gate, all but one's sum alone matters.
    self.spare = 2 * spec['motion_dim']
    self.clips = self.image(self.n, spec['frames'], 3, side, side)

  def check(self):
    found = super().check()
    return {**found, 'G': found['G'] - self.spare}

  def judge(self, clips):
    pick = torch.randint(0, clips.shape[1], (self.spec['frames_per_clip'],))
    frames = clips[:, pick].flatten(0, 1)
    return self.nets['D_frames'](frames), self.nets['D_clips'](clips.transpose(1, 2))

  def step(self):
    G, spec = self.nets['G'], self.spec
    draw = lambda: G(
      torch.randn(self.n, spec['z_dim']),
      torch.randn(self.n, spec['frames'] + 1, spec['motion_dim']),
    )
    judges = self.nets['D_frames'], self.nets['D_clips']
    with torch.no_grad():
      fakes = draw()
    pairs = zip(self.judge(self.clips), self.judge(fakes))
    self.update('D', sum(bce(real, 1.0) + bce(fake, 0.0) for real, fake in pairs))
    for D in judges:
      D.requires_grad_(False)
    self.update('G', sum(bce(fake, 1.0) for fake in self.judge(draw())))
    for D in judges:
      D.requires_grad_(True)


class DFGAN(Step):
  def __init__(self, spec, layout):
    w, side, self.n = spec['networks'], spec['resolution'], spec['batch']
    up, text = (side // 4).bit_length() - 1, spec['text']
    down = [w['width_D'] * min(2**i, 8) for i in range(up + 1)]
    widths = [w['width'] * min(2**i, 8) for i in range(up + 1)][::-1]
    nets = {'G': torch_nets.TextG(widths, spec['z_dim'], text), 'D': torch_nets.TextD(down, text)}
    super().__init__(spec, nets, {'G': 'G', 'D': 'D'}, layout)
    self.images, self.text = self.image(self.n, 3, side, side), torch.randn(self.n, text)

  def step(self):
    G, D, text = self.nets['G'], self.nets['D'], self.text
    draw = lambda: G(torch.randn(self.n, self.spec['z_dim']), text)
    images, given = self.images.clone().requires_grad_(), text.clone().requires_grad_()
    features = D.look(images)
    real = D.judge(features, given)
    wrong = D.judge(features.roll(1, 0), given)
    with torch.no_grad():
      fakes = draw()
    fake = D.judge(D.look(fakes), text)
    loss = F.relu(1 - real).mean() + (F.relu(1 + fake) + F.relu(1 + wrong)).mean() / 2
    slopes = torch.autograd.grad(real.sum(), (images, given), create_graph=True)
    squares = sum(slope.flatten(1).square().sum(1) for slope in slopes)
    self.update('D', loss + 2 * (squares**3).mean())
    D.requires_grad_(False)
    self.update('G', -D.judge(D.look(draw()), text).mean())
    D.requires_grad_(True)


class StyleGAN2(Step):
  """Of the phases that are named: the lazy regularizers are updates of their own."""

  def __init__(self, spec, layout):
    w, self.n = spec['networks'], spec['batch']
    sides = [2**i for i in range(2, spec['resolution'].bit_length())]
    widths = [min(w['channel_base'] // side, w['width']) for side in sides]
    nets = {
      'G': torch_styles.StyleG(widths, spec['z_dim'], w['w_dim'], w['mapping_layers']),
      'D': torch_styles.StyleD(widths, w['mbstd_group']),
    }
    super().__init__(spec, nets, {'G': 'G', 'D': 'D'}, layout)
    self.images = self.image(self.n, 3, sides[-1], sides[-1])
    self.layers, self.mean = 2 * len(sides), 0.0

  def styles(self, n):
    """Of two latents, from a random layer on of the second."""
    w, other = self.nets['G'].map(torch.randn(2 * n, self.spec['z_dim'])).chunk(2)
    start = torch.randint(1, self.layers, (n, 1))
    own = torch.arange(self.layers) < torch.where(torch.rand(n, 1) < 0.9, start, self.layers)
    return torch.where(own[..., None], w[:, None], other[:, None])

  def step(self):
    G, D, phases = self.nets['G'], self.nets['D'], self.spec['phases']
    D.requires_grad_(False)
    self.update('G', F.softplus(-D(G(self.styles(self.n)))).mean())
    if 'G_path' in phases:
      w = self.styles(self.n // 2)
      images = G(w)
      noise = torch.randn_like(images) / images[0, 0].numel() ** 0.5
      (slopes,) = torch.autograd.grad((images * noise).sum(), w, create_graph=True)
      lengths = slopes.square().sum(2).mean(1).sqrt()
      mean = self.mean + 0.01 * (lengths.mean() - self.mean)
      self.mean = mean.item()
      self.update('G', 2 * (lengths - mean).square().mean())
    D.requires_grad_(True)
    with torch.no_grad():
      fakes = G(self.styles(self.n))
    self.update('D', F.softplus(-D(self.images)).mean() + F.softplus(D(fakes)).mean())
    if 'D_r1' in phases:
      images = self.images.clone().requires_grad_()
      (slopes,) = torch.autograd.grad(D(images).sum(), images, create_graph=True)
      self.update('D', slopes.square().sum((1, 2, 3)).mean() / 2)


class FastGAN(Step):
  def __init__(self, spec, layout):
    w, self.n = spec['networks'], spec['batch']
    nets = {
      'G': torch_styles.FastG(w['width'], spec['z_dim']),
      'D': torch_styles.FastD(w['width_D']),
    }
    super().__init__(spec, nets, {'G': 'G', 'D': 'D'}, layout)
    self.images = self.image(self.n, 3, 64, 64)

  def step(self):
    G, D, images = self.nets['G'], self.nets['D'], self.images
    draw = lambda: G(torch.randn(self.n, self.spec['z_dim']))
    with torch.no_grad():
      fakes = draw()
    part = int(torch.randint(4, ()))
    real, decoded = D((images, F.interpolate(images, 32)), part)
    fake = D(fakes)
    margin = lambda: torch.rand_like(real) * 0.2 + 0.8
    loss = F.relu(margin() - real).mean() + F.relu(margin() + fake).mean()
    wanted = images, images, F.interpolate(torch_styles.quarter(images, part), 64)
    loss = loss + 8 * sum((a - b).abs().mean() for a, b in zip(decoded, wanted))
    self.update('D', loss)
    D.requires_grad_(False)
    self.update('G', -D(draw()).mean())
    D.requires_grad_(True)


TWINS = {
  'pix2pix': Pix2pix,
  'cyclegan': CycleGAN,
  'rrdb': Pixels,
  'wavegan': WaveGAN,
  'gan3d': Solids,
  'mocogan': MoCoGAN,
  'dfgan': DFGAN,
  'stylegan2': StyleGAN2,
  'stylegan2_lazy': StyleGAN2,
  'fastgan': FastGAN,
}


def main(path):
  with open(path) as file:
    spec = json.load(file)
  torch_dcgan.tune(spec['threads'])
  formats = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
  torch_dcgan.serve({name: TWINS[spec['case']](spec, form) for name, form in formats.items()})


if __name__ == '__main__':
  main(sys.argv[1])
