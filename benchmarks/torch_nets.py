"""Networks in plain PyTorch, of the sizes that their arguments say, after the authors' code.

`benchmarks/torch_twins.py` trains them; those of CycleGAN, PatchGAN and DF-GAN are also the twins of `tests/parity`.
"""

import torch
import torch.nn.functional as F
from torch import nn


def leaky(x):
  return F.leaky_relu(x, 0.2)


# pix2pix and CycleGAN. `norm` is nn.BatchNorm2d or nn.InstanceNorm2d.


class Level(nn.Module):
  """A level of the U-Net and what lies below it, beside its input; the outermost has no picture beside it."""

  def __init__(self, c_in, features, c_out, norm, below=None, outermost=False, dropout=False):
    super().__init__()
    biased, c_up = norm is nn.InstanceNorm2d, features * (2 if below else 1)
    self.down = nn.Conv2d(c_in, features, 4, 2, 1, bias=biased)
    self.down_norm = norm(features) if below and not outermost else None
    self.below, self.outermost = below, outermost
    self.up = nn.ConvTranspose2d(c_up, c_out, 4, 2, 1, bias=biased or outermost)
    self.up_norm = None if outermost else norm(c_out)
    self.dropout = nn.Dropout(0.5) if dropout else None

  def forward(self, x):
    y = self.down(x if self.outermost else leaky(x))
    y = self.down_norm(y) if self.down_norm else y
    y = self.below(y) if self.below else y
    y = self.up(F.relu(y))
    if self.outermost:
      return torch.tanh(y)
    y = self.up_norm(y)
    return torch.cat([x, self.dropout(y) if self.dropout else y], 1)

  def levels(self):
    """From the outermost."""
    return [self, *(self.below.levels() if self.below else [])]


def u_net(width, downs, norm, dropout=()):
  """`dropout`: numbers of levels that have it, from the outermost, 0."""
  widths, block = [width * min(2**i, 8) for i in range(downs)], None
  for i in range(downs - 1, 0, -1):
    block = Level(widths[i - 1], widths[i], widths[i - 1], norm, block, dropout=i in dropout)
  return Level(3, width, 3, norm, block, outermost=True)


def patch_gan(channels, width, layers, norm):
  """Logits of patches; without layers a patch is a pixel."""
  biased = norm is nn.InstanceNorm2d
  if not layers:
    net = [nn.Conv2d(channels, width, 1), nn.LeakyReLU(0.2)]
    net += [nn.Conv2d(width, 2 * width, 1, bias=biased), norm(2 * width)]
    return nn.Sequential(*net, nn.LeakyReLU(0.2), nn.Conv2d(2 * width, 1, 1, bias=biased))
  net, last = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)], width
  for i in range(1, layers + 1):
    features = width * min(2**i, 8)
    net += [nn.Conv2d(last, features, 4, 2 if i < layers else 1, 1, bias=biased)]
    net += [norm(features), nn.LeakyReLU(0.2)]
    last = features
  return nn.Sequential(*net, nn.Conv2d(last, 1, 4, 1, 1))


class Residual(nn.Module):
  def __init__(self, features, norm=nn.InstanceNorm2d):
    super().__init__()
    half = lambda: (nn.ReflectionPad2d(1), nn.Conv2d(features, features, 3), norm(features))
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


class VoxelG(nn.Module):
  def __init__(self, side, width, classes, z_dim):
    super().__init__()
    layers = (side // 4).bit_length() - 1
    self.first = width * 2 ** (layers - 1)
    self.dense = nn.Linear(z_dim, 64 * self.first, bias=False)
    self.embed = nn.Embedding(classes, 64 * self.first)
    self.norm = nn.BatchNorm3d(self.first)
    net, a = [], self.first
    for i in range(1, layers):
      b = self.first // 2**i
      net += [nn.ConvTranspose3d(a, b, 4, 2, 1), nn.BatchNorm3d(b), nn.ReLU()]
      a = b
    self.ups = nn.Sequential(*net, nn.ConvTranspose3d(a, 1, 4, 2, 1))

  def forward(self, z, label):
    x = (self.dense(torch.erf(z / 2**0.5)) + self.embed(label)).view(-1, self.first, 4, 4, 4)
    return torch.sigmoid(self.ups(F.relu(self.norm(x))) - 2.5)


class VoxelD(nn.Module):
  def __init__(self, side, width, classes):
    super().__init__()
    net, a = [], 1
    for i in range((side // 4).bit_length() - 1):
      b = width * 2**i
      net += [nn.Conv3d(a, b, 4, 2, 1), nn.LeakyReLU(0.2)]
      a = b
    self.main = nn.Sequential(*net, nn.Flatten())
    self.dense, self.embed = nn.Linear(64 * a, 1), nn.Embedding(classes, 64 * a)

  def forward(self, x, label):
    x = self.main(x)
    return self.dense(x)[:, 0] + (self.embed(label) * x).sum(1)


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
    self.shortcut = nn.Conv2d(a, b, 1) if a != b else None

  def forward(self, x, c):
    x = F.interpolate(x, scale_factor=2)
    modulate = lambda x, one, two: leaky(two(leaky(one(x, c)), c))
    y = self.c2(modulate(self.c1(modulate(x, *self.affines[:2])), *self.affines[2:]))
    return y + (self.shortcut(x) if self.shortcut else x)


class TextG(nn.Module):
  def __init__(self, widths, z_dim, text):
    super().__init__()
    self.first, self.width = nn.Linear(z_dim, 16 * widths[0]), widths[0]
    self.blocks = nn.ModuleList([Up(a, b, z_dim + text) for a, b in zip(widths, widths[1:])])
    self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

  def forward(self, z, sentence):
    # ganjax has maps of channels last: the layer's outputs are in that order.
    x = self.first(z).view(-1, 4, 4, self.width).permute(0, 3, 1, 2)
    c = torch.cat([z, sentence], 1)
    for block in self.blocks:
      x = block(x, c)
    return torch.tanh(self.last(leaky(x)))


class Down(nn.Module):
  def __init__(self, a, b):
    super().__init__()
    self.r1, self.r2 = nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.Conv2d(b, b, 3, 1, 1, bias=False)
    self.shortcut = nn.Conv2d(a, b, 1) if a != b else None
    self.gain = nn.Parameter(torch.zeros(()))

  def forward(self, x):
    y, x = leaky(self.r2(leaky(self.r1(x)))), F.avg_pool2d(x, 2)
    return (self.shortcut(x) if self.shortcut else x) + self.gain * y


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
