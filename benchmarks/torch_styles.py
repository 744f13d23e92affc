"""PyTorch twins of StyleGAN2's and FastGAN's networks, in plain operators, for `torch_twins.py`."""

import torch
import torch.nn.functional as F
from torch import nn

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
