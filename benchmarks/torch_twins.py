"""PyTorch twins of training steps, in plain operators: `benchmarks/twins.py` runs this as a process of its own.

A twin has the layers of the configuration's networks at its sizes, and makes the updates of one step with
torch.optim.Adam. As the authors' codes do, it makes fakes once for D and G where they share them.
"""

import json
import sys

import torch
import torch.nn.functional as F
import torch_dcgan
from torch import nn


def leaky(x):
  return F.leaky_relu(x, 0.2)


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


# pix2pix and CycleGAN.


class Level(nn.Module):
  """A level of the U-Net and what lies below it."""

  def __init__(self, c_in, features, c_out, below, outermost, dropout):
    super().__init__()
    self.down = nn.Conv2d(c_in, features, 4, 2, 1, bias=False)
    self.down_norm = nn.BatchNorm2d(features) if below and not outermost else nn.Identity()
    self.below, self.outermost = below, outermost
    self.up = nn.ConvTranspose2d(features * (2 if below else 1), c_out, 4, 2, 1, bias=outermost)
    self.up_norm = nn.Identity() if outermost else nn.BatchNorm2d(c_out)
    self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

  def forward(self, x):
    y = self.down_norm(self.down(x if self.outermost else leaky(x)))
    y = self.below(y) if self.below else y
    y = self.up(F.relu(y))
    return torch.tanh(y) if self.outermost else torch.cat([x, self.dropout(self.up_norm(y))], 1)


def u_net(width, downs):
  widths = [width * min(2**i, 8) for i in range(downs)]
  block = None
  for i in range(downs - 1, 0, -1):
    block = Level(widths[i - 1], widths[i], widths[i - 1], block, False, 4 <= i < 7)
  return Level(3, width, 3, block, True, False)


def patch_gan(channels, width, layers, norm):
  biased = norm is nn.InstanceNorm2d
  net, last = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)], width
  for i in range(1, layers + 1):
    features = width * min(2**i, 8)
    net += [nn.Conv2d(last, features, 4, 2 if i < layers else 1, 1, bias=biased)]
    net += [norm(features), nn.LeakyReLU(0.2)]
    last = features
  return nn.Sequential(*net, nn.Conv2d(last, 1, 4, 1, 1))


class Pix2pix(Step):
  def __init__(self, spec, layout):
    w = spec['networks']
    nets = {
      'G': u_net(w['width'], w['downs']),
      'D': patch_gan(6, w['width_D'], w['layers_D'], nn.BatchNorm2d),
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


class Residual(nn.Module):
  def __init__(self, features):
    super().__init__()
    half = lambda: (
      nn.ReflectionPad2d(1),
      nn.Conv2d(features, features, 3),
      nn.InstanceNorm2d(features),
    )
    self.body = nn.Sequential(*half(), nn.ReLU(), *half())

  def forward(self, x):
    return x + self.body(x)


def resnet(width, blocks):
  norm = lambda features: (nn.InstanceNorm2d(features), nn.ReLU())
  net = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), *norm(width)]
  for f in (1, 2):
    net += [nn.Conv2d(f * width, 2 * f * width, 3, 2, 1), *norm(2 * f * width)]
  net += [Residual(4 * width) for _ in range(blocks)]
  for f in (4, 2):
    up = nn.ConvTranspose2d(f * width, f * width // 2, 3, 2, 1, output_padding=1)
    net += [up, *norm(f * width // 2)]
  return nn.Sequential(*net, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


class CycleGAN(Step):
  """Without the pools, which cost nothing."""

  def __init__(self, spec, layout):
    w = spec['networks']
    nets = {name: resnet(w['width'], w['blocks']) for name in ('G_AB', 'G_BA')}
    judge = lambda: patch_gan(3, w['width_D'], w['layers_D'], nn.InstanceNorm2d)
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


# ESRGAN's generator by the distance of pixels, its first stage.


class Dense(nn.Module):
  def __init__(self, width, growth):
    super().__init__()
    convs = [nn.Conv2d(width + i * growth, growth, 3, 1, 1) for i in range(4)]
    self.convs = nn.ModuleList([*convs, nn.Conv2d(width + 4 * growth, width, 3, 1, 1)])

  def forward(self, x):
    seen = [x]
    for conv in self.convs[:-1]:
      seen.append(leaky(conv(torch.cat(seen, 1))))
    return self.convs[-1](torch.cat(seen, 1)) * 0.2 + x


class RRDB(nn.Module):
  def __init__(self, width, growth):
    super().__init__()
    self.body = nn.Sequential(*(Dense(width, growth) for _ in range(3)))

  def forward(self, x):
    return self.body(x) * 0.2 + x


class RRDBNet(nn.Module):
  def __init__(self, width, growth, blocks):
    super().__init__()
    self.first = nn.Conv2d(3, width, 3, 1, 1)
    self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
    self.rest = nn.ModuleList([nn.Conv2d(width, c, 3, 1, 1) for c in (width,) * 4 + (3,)])

  def forward(self, x):
    body, up1, up2, hr, last = self.rest
    first = self.first(x)
    y = first + body(self.body(first))
    for up in (up1, up2):
      y = leaky(up(F.interpolate(y, scale_factor=2, mode='nearest')))
    return last(leaky(hr(y)))


class Pixels(Step):
  def __init__(self, spec, layout):
    w = spec['networks']
    nets = {'G': RRDBNet(w['width'], w['growth'], w['blocks'])}
    super().__init__(spec, nets, {'pixels': 'G'}, layout)
    side = spec['resolution']
    self.low = self.image(spec['batch'], 3, side // 4, side // 4)
    self.high = self.image(spec['batch'], 3, side, side)

  def step(self):
    self.update('pixels', (self.nets['G'](self.low) - self.high).abs().mean())


# WaveGAN, 3D-GAN, MoCoGAN.


class WaveG(nn.Module):
  def __init__(self, length, width, classes, z_dim):
    super().__init__()
    self.layers = (length // 16).bit_length() // 2
    self.first = width * 2 ** (self.layers - 1)
    self.dense = nn.Linear(z_dim, 16 * self.first)
    self.embed = nn.Embedding(classes, 16 * self.first)
    widths = [self.first // 2**i for i in range(self.layers)] + [1]
    self.ups = nn.ModuleList([nn.ConvTranspose1d(a, b, 25, 4) for a, b in zip(widths, widths[1:])])

  def forward(self, z, label):
    x = (self.dense(torch.erf(z / 2**0.5)) + self.embed(label)).view(-1, self.first, 16)
    for up in self.ups:
      x = up(F.relu(x))[..., 10 : 10 + 4 * x.shape[-1]]
    return torch.tanh(x)


class WaveD(nn.Module):
  def __init__(self, length, width, classes):
    super().__init__()
    widths = [1] + [width * 2**i for i in range((length // 16).bit_length() // 2)]
    self.convs = nn.ModuleList([nn.Conv1d(a, b, 25, 4) for a, b in zip(widths, widths[1:])])
    self.dense, self.embed = nn.Linear(16 * widths[-1], 1), nn.Embedding(classes, 16 * widths[-1])

  def forward(self, x, label):
    for i, conv in enumerate(self.convs):
      if i:
        shift = int(torch.randint(-2, 3, ()))
        x = F.pad(x, (2, 2), mode='reflect')[..., 2 - shift : x.shape[-1] + 2 - shift]
      x = leaky(conv(F.pad(x, (10, 11))))
    x = x.flatten(1)
    return self.dense(x)[:, 0] + (self.embed(label) * x).sum(1)


class WaveGAN(Step):
  def __init__(self, spec, layout):
    w, self.n = spec['networks'], spec['batch']
    length, classes = spec['length'], w['num_classes']
    nets = {
      'G': WaveG(length, w['width'], classes, spec['z_dim']),
      'D': WaveD(length, w['width_D'], classes),
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


class VoxelG(nn.Module):
  def __init__(self, side, width, z_dim):
    super().__init__()
    layers = (side // 4).bit_length() - 1
    self.first = width * 2 ** (layers - 1)
    self.dense, self.norm = nn.Linear(z_dim, 64 * self.first), nn.BatchNorm3d(self.first)
    net, a = [], self.first
    for i in range(1, layers):
      b = self.first // 2**i
      net += [nn.ConvTranspose3d(a, b, 4, 2, 1), nn.BatchNorm3d(b), nn.ReLU()]
      a = b
    self.ups = nn.Sequential(*net, nn.ConvTranspose3d(a, 1, 4, 2, 1), nn.Sigmoid())

  def forward(self, z):
    x = self.dense((torch.erf(z / 2**0.5) + 1) / 2).view(-1, self.first, 4, 4, 4)
    return self.ups(F.relu(self.norm(x)))


def voxel_D(side, width):
  layers = (side // 4).bit_length() - 1
  net, a = [], 1
  for i in range(layers):
    b = width * 2**i
    norm = [nn.BatchNorm3d(b)] if i else []
    net += [nn.Conv3d(a, b, 4, 2, 1), *norm, nn.LeakyReLU(0.2)]
    a = b
  return nn.Sequential(*net, nn.Flatten(), nn.Linear(64 * a, 1))


class Solids(Step):
  def __init__(self, spec, layout):
    w, side, self.n = spec['networks'], spec['resolution'], spec['batch']
    nets = {'G': VoxelG(side, w['width'], spec['z_dim']), 'D': voxel_D(side, w['width_D'])}
    super().__init__(spec, nets, {'G': 'G', 'D': 'D'}, torch.preserve_format)
    self.solids = torch.rand(self.n, 1, side, side, side).round()

  def step(self):
    G, D = self.nets['G'], self.nets['D']
    draw = lambda: G(torch.randn(self.n, self.spec['z_dim']))
    with torch.no_grad():
      fakes = draw()
    self.update('D', bce(D(self.solids), 1.0) + bce(D(fakes), 0.0))
    D.requires_grad_(False)
    self.update('G', bce(D(draw()), 1.0))
    D.requires_grad_(True)


def mirror(kind, norm, width, layers, last, **first):
  """Convolutions of halved sides and doubled channels, no biases, batch norm in all but the first and last."""
  net, a = [], 3
  for i in range(layers):
    b = width * 2**i
    net += [kind(a, b, 4, bias=False, **first)] + ([norm(b)] if i else []) + [nn.LeakyReLU(0.2)]
    a = b
  return nn.Sequential(*net, kind(a, 1, 4, bias=False, **last))


class MotionG(nn.Module):
  def __init__(self, side, width, z_dim, motion):
    super().__init__()
    doublings = (side // 4).bit_length() - 1
    self.cell, a = nn.GRUCell(motion, motion), width * 2 ** (doublings - 1)
    net = [nn.ConvTranspose2d(z_dim + motion, a, 4, bias=False), nn.BatchNorm2d(a), nn.ReLU()]
    for _ in range(doublings - 1):
      net += [nn.ConvTranspose2d(a, a // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(a // 2), nn.ReLU()]
      a //= 2
    self.main = nn.Sequential(*net, nn.ConvTranspose2d(a, 3, 4, 2, 1, bias=False), nn.Tanh())

  def forward(self, content, noise):
    state, motions = noise[:, 0], []
    for t in range(1, noise.shape[1]):
      state = self.cell(noise[:, t], state)
      motions.append(state)
    motion = torch.stack(motions, 1)
    z = torch.cat([content[:, None].expand(-1, motion.shape[1], -1), motion], 2)
    x = self.main(z.flatten(0, 1)[..., None, None])
    return x.unflatten(0, (len(content), -1))  # [B, T, C, H, W]


class MoCoGAN(Step):
  def __init__(self, spec, layout):
    w, side, self.n = spec['networks'], spec['resolution'], spec['batch']
    layers, halves = (side // 4).bit_length() - 1, dict(stride=2, padding=1)
    nets = {
      'G': MotionG(side, w['width'], spec['z_dim'], spec['motion_dim']),
      'D_frames': mirror(nn.Conv2d, nn.BatchNorm2d, w['width_D'], 3, halves, **halves),
      'D_clips': mirror(
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


# DF-GAN.


class Affine(nn.Module):
  def __init__(self, condition, features):
    super().__init__()
    make = lambda: nn.Sequential(
      nn.Linear(condition, features), nn.ReLU(), nn.Linear(features, features)
    )
    self.gamma, self.beta = make(), make()

  def forward(self, x, c):
    return self.gamma(c)[..., None, None] * x + self.beta(c)[..., None, None]


class Up(nn.Module):
  def __init__(self, a, b, condition):
    super().__init__()
    self.affines = nn.ModuleList([Affine(condition, f) for f in (a, a, b, b)])
    self.c1, self.c2 = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1)
    self.shortcut = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

  def forward(self, x, c):
    x = F.interpolate(x, scale_factor=2)
    modulate = lambda x, one, two: leaky(two(leaky(one(x, c)), c))
    y = self.c2(modulate(self.c1(modulate(x, *self.affines[:2])), *self.affines[2:]))
    return y + self.shortcut(x)


class TextG(nn.Module):
  def __init__(self, widths, z_dim, text):
    super().__init__()
    self.first, self.width = nn.Linear(z_dim, 16 * widths[0]), widths[0]
    self.blocks = nn.ModuleList([Up(a, b, z_dim + text) for a, b in zip(widths, widths[1:])])
    self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

  def forward(self, z, sentence):
    x, c = self.first(z).view(-1, self.width, 4, 4), torch.cat([z, sentence], 1)
    for block in self.blocks:
      x = block(x, c)
    return torch.tanh(self.last(leaky(x)))


class Down(nn.Module):
  def __init__(self, a, b):
    super().__init__()
    self.r1, self.r2 = nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.Conv2d(b, b, 3, 1, 1, bias=False)
    self.shortcut = nn.Conv2d(a, b, 1) if a != b else nn.Identity()
    self.gain = nn.Parameter(torch.zeros(()))

  def forward(self, x):
    return self.shortcut(F.avg_pool2d(x, 2)) + self.gain * leaky(self.r2(leaky(self.r1(x))))


class TextD(nn.Module):
  def __init__(self, widths, text):
    super().__init__()
    self.first = nn.Conv2d(3, widths[0], 3, padding=1)
    self.blocks = nn.Sequential(*(Down(a, b) for a, b in zip(widths, widths[1:])))
    self.joint = nn.Conv2d(widths[-1] + text, 2 * widths[0], 3, padding=1, bias=False)
    self.logit = nn.Conv2d(2 * widths[0], 1, 4, bias=False)

  def look(self, x):
    return self.blocks(self.first(x))

  def judge(self, features, sentence):
    there = sentence[..., None, None].expand(-1, -1, 4, 4)
    return self.logit(leaky(self.joint(torch.cat([features, there], 1))))[:, 0, 0, 0]


class DFGAN(Step):
  def __init__(self, spec, layout):
    w, side, self.n = spec['networks'], spec['resolution'], spec['batch']
    up, text = (side // 4).bit_length() - 1, spec['text']
    down = [w['width_D'] * min(2**i, 8) for i in range(up + 1)]
    widths = [w['width'] * min(2**i, 8) for i in range(up + 1)][::-1]
    nets = {'G': TextG(widths, spec['z_dim'], text), 'D': TextD(down, text)}
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


TWINS = {
  'pix2pix': Pix2pix,
  'cyclegan': CycleGAN,
  'rrdb': Pixels,
  'wavegan': WaveGAN,
  'gan3d': Solids,
  'mocogan': MoCoGAN,
  'dfgan': DFGAN,
}


def main(path):
  with open(path) as file:
    spec = json.load(file)
  torch_dcgan.tune(spec['threads'])
  formats = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
  torch_dcgan.serve({name: TWINS[spec['case']](spec, form) for name, form in formats.items()})


if __name__ == '__main__':
  main(sys.argv[1])
