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


# StyleGAN2, with styles that scale maps rather than kernels, as its code trains.


def bound(x, gain=1.0):
  return (F.leaky_relu(x, 0.2) * (2**0.5 * gain)).clamp(-256, 256)


def unit(x):
  return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def fir(x, down=1, pad=1):
  """[1, 3, 3, 1] along both sides, every `down`-th pixel."""
  return F.conv2d(x, _line(x), stride=down, padding=pad, groups=x.shape[1])


def fir_up(x):
  """Twice the size, with zeros between pixels, by the same filter."""
  return F.conv_transpose2d(x, 4 * _line(x), stride=2, padding=1, groups=x.shape[1])


def _line(x):
  line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
  return torch.outer(line, line).expand(x.shape[1], 1, 4, 4)


class EqualLinear(nn.Module):
  def __init__(self, inputs, outputs, rate=1.0, bias=0.0):
    super().__init__()
    self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
    self.bias = nn.Parameter(torch.full((outputs,), bias))
    self.gain, self.rate = rate / inputs**0.5, rate

  def forward(self, x):
    return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class EqualConv(nn.Module):
  def __init__(self, inputs, outputs, kernel, bias=True, **how):
    super().__init__()
    self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
    self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
    self.gain, self.how = 1 / (inputs * kernel**2) ** 0.5, how

  def forward(self, x):
    return F.conv2d(x, self.weight * self.gain, self.bias, **self.how)


class Styled(nn.Module):
  def __init__(self, inputs, outputs, w_dim, up):
    super().__init__()
    self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
    self.bias, self.strength = nn.Parameter(torch.zeros(outputs)), nn.Parameter(torch.zeros(()))
    self.affine, self.up = EqualLinear(w_dim, inputs, bias=1.0), up

  def forward(self, x, w):
    style = self.affine(w)
    norm = (style.square() @ self.weight.square().sum((2, 3)).T + 1e-8).rsqrt()
    x = x * style[:, :, None, None]
    if self.up:
      x = 4 * fir(F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2))
    else:
      x = F.conv2d(x, self.weight, padding=1)
    x = x * norm[:, :, None, None] + self.strength * torch.randn(len(x), 1, *x.shape[2:])
    return bound(x + self.bias[:, None, None])


class ToRGB(nn.Module):
  def __init__(self, inputs, w_dim):
    super().__init__()
    self.conv, self.affine = EqualConv(inputs, 3, 1), EqualLinear(w_dim, inputs, bias=1.0)

  def forward(self, x, w):
    return self.conv(x * self.affine(w)[:, :, None, None]).clamp(-256, 256)


class StyleG(nn.Module):
  def __init__(self, widths, z_dim, w_dim, layers):
    """widths: channels of the maps, from 4x4."""
    super().__init__()
    sizes = [z_dim] + [w_dim] * layers
    self.mapping = nn.ModuleList([EqualLinear(a, b, 0.01) for a, b in zip(sizes, sizes[1:])])
    self.const = nn.Parameter(torch.randn(widths[0], 4, 4))
    first = [Styled(widths[0], widths[0], w_dim, False)]
    pairs = zip(widths, widths[1:])
    rest = [
      Styled(*two, w_dim, up) for a, b in pairs for two, up in (((a, b), True), ((b, b), False))
    ]
    self.convs = nn.ModuleList(first + rest)
    self.images = nn.ModuleList([ToRGB(width, w_dim) for width in widths])

  def map(self, z):
    z = unit(z)
    for layer in self.mapping:
      z = bound(layer(z))
    return z

  def forward(self, w):
    """Styles [B, 2 * stages, W]."""
    x = self.convs[0](self.const.expand(len(w), -1, -1, -1), w[:, 0])
    image = self.images[0](x, w[:, 1])
    for i, to_image in enumerate(self.images[1:], 1):
      x = self.convs[2 * i](self.convs[2 * i - 1](x, w[:, 2 * i - 1]), w[:, 2 * i])
      image = fir_up(image) + to_image(x, w[:, 2 * i + 1])
    return image


class StyleDown(nn.Module):
  def __init__(self, inputs, outputs):
    super().__init__()
    self.conv0, self.skip = (
      EqualConv(inputs, inputs, 3, padding=1),
      EqualConv(inputs, outputs, 1, False),
    )
    self.conv1 = EqualConv(inputs, outputs, 3, stride=2)

  def forward(self, x):
    y = bound(self.conv1(fir(bound(self.conv0(x)), pad=2)), 0.5**0.5)
    return y + self.skip(fir(x, 2)) * 0.5**0.5


class StyleD(nn.Module):
  def __init__(self, widths, group):
    """widths: channels of the maps, from 4x4."""
    super().__init__()
    self.first, self.group = EqualConv(3, widths[-1], 1), group
    downs = [StyleDown(b, a) for a, b in zip(widths, widths[1:])][::-1]
    self.downs, self.last = nn.Sequential(*downs), EqualConv(widths[0] + 1, widths[0], 3, padding=1)
    self.fc, self.out = EqualLinear(16 * widths[0], widths[0]), EqualLinear(widths[0], 1)

  def forward(self, x):
    x = self.downs(bound(self.first(x)))
    y = x.reshape(self.group, -1, *x.shape[1:])
    y = (y - y.mean(0)).square().mean(0).add(1e-8).sqrt().mean((1, 2, 3))
    y = y.repeat(self.group)[:, None, None, None].expand(-1, 1, 4, 4)
    x = bound(self.last(torch.cat([x, y], 1)))
    return self.out(bound(self.fc(x.flatten(1))))[:, 0]


# FastGAN, of 32 to 256 pixels.


def normed(*sizes, **how):
  return nn.utils.spectral_norm(nn.Conv2d(*sizes, bias=False, **how))


def gated(inputs, outputs, double):
  """Twice as large, then one or two convolutions."""
  parts = [nn.Upsample(scale_factor=2)]
  for _ in range(1 + double):
    parts += [normed(inputs, 2 * outputs, 3, padding=1), *([Noise()] if double else [])]
    parts += [nn.BatchNorm2d(2 * outputs), nn.GLU(1)]
    inputs = outputs
  return nn.Sequential(*parts)


class Noise(nn.Module):
  def __init__(self):
    super().__init__()
    self.strength = nn.Parameter(torch.zeros(()))

  def forward(self, x):
    return x + self.strength * torch.randn(len(x), 1, *x.shape[2:])


def excite(small, large):
  """From the channels of a small map to factors of those of a large one."""
  pool, convs = nn.AdaptiveAvgPool2d(4), (normed(small, large, 4), normed(large, large, 1))
  return nn.Sequential(pool, convs[0], nn.SiLU(), convs[1], nn.Sigmoid())


class FastG(nn.Module):
  """z [B, Z] -> (images of 64 pixels, of 32)."""

  def __init__(self, width, z_dim):
    super().__init__()
    widths = [16 * width, 8 * width, 4 * width, 2 * width, 2 * width]
    first = nn.utils.spectral_norm(nn.ConvTranspose2d(z_dim, 2 * widths[0], 4, bias=False))
    self.first = nn.Sequential(first, nn.BatchNorm2d(2 * widths[0]), nn.GLU(1))
    pairs = enumerate(zip(widths, widths[1:]))
    self.ups = nn.ModuleList([gated(a, b, i % 2 == 0) for i, (a, b) in pairs])
    self.excite = excite(widths[0], widths[-1])
    self.images = nn.ModuleList([normed(widths[-1], 3, 3, padding=1), normed(widths[-2], 3, 1)])

  def forward(self, z):
    maps = [self.first(unit(z)[:, :, None, None])]
    for up in self.ups:
      maps.append(up(maps[-1]))
    return self.images[0](maps[-1] * self.excite(maps[0])), self.images[1](maps[-2])


def halved(inputs, outputs):
  return nn.Sequential(
    normed(inputs, outputs, 4, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)
  )


class DeepDown(nn.Module):
  def __init__(self, inputs, outputs):
    super().__init__()
    end = lambda: (nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))
    self.main = nn.Sequential(
      halved(inputs, outputs), normed(outputs, outputs, 3, padding=1), *end()
    )
    self.beside = nn.Sequential(nn.AvgPool2d(2), normed(inputs, outputs, 1), *end())

  def forward(self, x):
    return (self.main(x) + self.beside(x)) / 2


def decoder(inputs):
  """A map, reduced to 8x8 -> a picture of 64 pixels."""
  ups = [gated(a, b, False) for a, b in ((inputs, 128), (128, 64), (64, 64))]
  return nn.Sequential(nn.AdaptiveAvgPool2d(8), *ups, normed(64, 3, 3, padding=1), nn.Tanh())


class FastD(nn.Module):
  """(Images of 64 pixels, of 32) -> logits; with `part` also what is decoded from their maps and a quarter's."""

  def __init__(self, width):
    super().__init__()
    widths = [width, 2 * width, 4 * width, 8 * width]
    self.first = nn.Sequential(normed(3, width, 3, padding=1), nn.LeakyReLU(0.2))
    self.downs = nn.ModuleList([DeepDown(a, b) for a, b in zip(widths, widths[1:])])
    self.excite = excite(widths[0], widths[-1])
    last = normed(8 * width, 16 * width, 1), nn.BatchNorm2d(16 * width), nn.LeakyReLU(0.2)
    self.last = nn.Sequential(*last, normed(16 * width, 1, 4))
    first = normed(3, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)
    self.small = nn.Sequential(*first, halved(2 * width, 4 * width))
    self.judge = normed(4 * width, 1, 4)
    self.decoders = nn.ModuleList([decoder(n) for n in (8 * width, 4 * width, 4 * width)])

  def forward(self, images, part=None):
    maps = [self.first(images[0])]
    for down in self.downs:
      maps.append(down(maps[-1]))
    maps[-1] = maps[-1] * self.excite(maps[0])
    small = self.small(images[1])
    logits = torch.cat([self.last(maps[-1]).flatten(1), self.judge(small).flatten(1)], 1)
    if part is None:
      return logits
    seen = maps[-1], small, quarter(maps[-2], part)
    return logits, [decode(x) for decode, x in zip(self.decoders, seen)]


def quarter(x, part):
  h, w = x.shape[2] // 2, x.shape[3] // 2
  return x[:, :, part // 2 * h : part // 2 * h + h, part % 2 * w : part % 2 * w + w]
