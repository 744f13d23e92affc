"""networks/stylegan3.py against a PyTorch twin with the same weights, in float64: filters, layers, whole pictures.

The twin is written as the paper and its code read: normalised kernels of each sample in a convolution of groups, zeros
put between pixels, paddings as the numbers that they come to, two-dimensional filters where they are round.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers import filtered
from ganjax.networks import stylegan3
from ganjax.sampling import latents

torch = pytest.importorskip('torch')

F = torch.nn.functional
RNG = np.random.default_rng(0)
nchw = lambda x: torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))
nhwc = lambda x: x.detach().permute(0, 2, 3, 1).numpy()


def kaiser(taps, width, rate):
  """The window of Kaiser's formulas, with the Bessel function of torch."""
  a = 2.285 * (taps - 1) * np.pi * (width / (rate / 2)) + 7.95
  beta = 0.0 if a <= 21 else 0.5842 * (a - 21) ** 0.4 + 0.07886 * (a - 21)
  beta = 0.1102 * (a - 8.7) if a > 50 else beta
  x = torch.linspace(-1, 1, taps, dtype=torch.float64)
  bessel = lambda x: torch.special.i0(torch.as_tensor(x, dtype=torch.float64))
  return bessel(beta * (1 - x**2).clamp(min=0).sqrt()) / bessel(beta)


def design(taps, cutoff, width, rate, radial=False):
  """A filter of two axes."""
  x = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / rate
  window = kaiser(taps, width, rate)
  if radial:
    r = torch.hypot(x[:, None], x[None])
    f = torch.special.bessel_j1(2 * cutoff * np.pi * r) / (np.pi * r) * torch.outer(window, window)
  else:
    line = torch.sinc(2 * cutoff * x) * window
    f = torch.outer(line, line)
  return f / f.sum()


def upfirdn(x, f, up=1, down=1, pad=(0, 0), gain=1):
  b, c, h, w = x.shape
  z = x.new_zeros(b, c, h * up, w * up)
  z[..., ::up, ::up] = x
  kernel = (gain * f.flip(0, 1)).expand(c, 1, -1, -1)
  return F.conv2d(F.pad(z, (*pad, *pad)), kernel, groups=c)[..., ::down, ::down]


# (before, after), of the kernel's size and what the layer does: goes on, doubles the rate, leaves the margin.
PADDINGS = {
  (3, 'same'): (9, 8), (3, 'double'): (-6, -9), (3, 'crop'): (-11, -12),
  (1, 'same'): (11, 10), (1, 'double'): (-2, -5), (1, 'crop'): (-9, -10),
}  # fmt: skip


class Twin:
  """G with the variables of ours."""

  def __init__(self, net, variables):
    tensor = lambda x: torch.tensor(np.asarray(x))
    self.net = net
    self.params, self.stats = (
      jax.tree.map(tensor, variables[kind]['synthesis'] if kind == 'params' else variables)
      for kind in ('params', 'stats')
    )

  def input(self, w, user):
    p, own = self.params['input'], self.stats['fourier']['synthesis']['input']
    band = self.net.bands[0]
    t = w @ p['affine_kernel'] / w.shape[1] ** 0.5 + p['affine_bias']
    t = t / t[:, :2].norm(dim=1, keepdim=True)
    turn, move = (torch.eye(3, dtype=w.dtype).repeat(len(w), 1, 1) for _ in range(2))
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1] = t[:, 0], -t[:, 1], t[:, 1], t[:, 0]
    move[:, 0, 2], move[:, 1, 2] = -t[:, 2], -t[:, 3]
    place = turn @ move @ user
    phases = own['phases'] + (own['freqs'] @ place[:, :2, 2:]).squeeze(2)
    freqs = own['freqs'] @ place[:, :2, :2]
    fade = 1 - (freqs.norm(dim=2) - band.cutoff) / (band.rate / 2 - band.cutoff)
    theta = torch.eye(2, 3, dtype=w.dtype) * 0.5 * band.size / band.rate
    grid = F.affine_grid(theta[None], [1, 1, band.size, band.size], align_corners=False)
    x = (grid[:, :, :, None] @ freqs.permute(0, 2, 1)[:, None, None]).squeeze(3)
    x = (2 * np.pi * (x + phases[:, None, None])).sin() * fade.clamp(0, 1)[:, None, None]
    return (x @ p['mix']['kernel'] / band.features**0.5).permute(0, 3, 1, 2)

  def layer(self, x, w, i):
    net, p = self.net, self.params[f'L{i}']
    before, after = net.bands[max(i - 1, 0)], net.bands[i]
    last = i == len(net.bands) - 1
    kernel = p['conv']['kernel'].permute(3, 2, 0, 1)
    affine = p['conv']['affine']
    style = w @ affine['kernel'] / w.shape[1] ** 0.5 + affine['bias']
    if last:
      own = kernel[None] * (style / kernel[0].numel() ** 0.5)[:, None, :, None, None]
    else:
      kernel = kernel * kernel.square().mean((1, 2, 3), keepdim=True).rsqrt()
      style = style * style.square().mean().rsqrt()
      own = kernel[None] * style[:, None, :, None, None]
      own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    own = own * self.stats['magnitude']['synthesis'][f'L{i}']['mean'].rsqrt()
    (b, c, *size), k = x.shape, kernel.shape[-1]
    x = F.conv2d(x.reshape(1, b * c, *size), own.flatten(0, 1), padding=k - 1, groups=b)
    x = x.reshape(b, -1, *x.shape[2:]) + p['bias'][:, None, None]
    if last:
      return x.clamp(-net.clamp, net.clamp)
    doubles = after.rate > before.rate
    case = 'double' if doubles else ('same' if before.size == after.size else 'crop')
    rate = 2 * after.rate
    up, down = (4, 2) if doubles else (2, 2)
    first = design(6 * up, before.cutoff, 2 * before.width, rate)
    radial = net.radial and i < len(net.bands) - 3
    second = design(6 * down, after.cutoff, 2 * after.width, rate, radial)
    x = upfirdn(x, first, up=up, pad=PADDINGS[k, case], gain=up**2)
    x = (F.leaky_relu(x, 0.2) * 2**0.5).clamp(-net.clamp, net.clamp)
    return upfirdn(x, second, down=down)

  def G(self, w, user):
    x = self.input(w[:, 0], user)
    for i in range(len(self.net.bands)):
      x = self.layer(x, w[:, i + 1], i)
    return x * 0.25


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def test_filters_are_those_of_the_formulas():
  for band in stylegan3.bands(1024, 3, 512, 32768, 14)[:-1]:
    for taps, radial in (12, False), (24, False), (12, True):
      how = taps, band.cutoff, 2 * band.width, 4 * band.rate, radial
      ours = filtered.lowpass(*how)
      ours = ours if radial else np.outer(ours, ours)
      np.testing.assert_allclose(ours, design(*how), rtol=1e-6, atol=1e-8)
  whole = filtered.lowpass(12, 8.0, 16.0, 64.0, True)
  rows, columns = filtered.separate(whole)
  assert len(rows) <= 6
  np.testing.assert_allclose(rows.T @ columns, whole, atol=1e-9)


@pytest.mark.parametrize('rotates', [pytest.param(False, marks=pytest.mark.slow), True])
def test_pictures_of_styles_and_transforms(rotates):
  """Every kind of layer, clamped: 32 pixels, maps of 36 and 52 with their margins."""
  nets = stylegan3.build(
    resolution=32, channels=3, width=6, channel_base=90, w_dim=5, layers=5, rotates=rotates, clamp=1.5,
    width_D=4, dtype='float64', param_dtype='float64',
  )  # fmt: skip
  G = nets['G']
  assert [band.size for band in G.bands] == [36, 36, 52, 52, 32, 32]
  w = RNG.normal(size=(2, 7, 5))
  user = np.stack([latents.transform(0.0, 0.0, 0.0), latents.transform(0.2, -0.1, 30.0)])
  shapes = jax.eval_shape(lambda: G.init(jax.random.key(0), w[:, 0], train=False))
  variables = jax.tree.map(lambda x: RNG.normal(size=x.shape), shapes)
  variables['magnitude'] = jax.tree.map(lambda x: np.array(0.7), variables['magnitude'])
  call = lambda variables, w, user: G.apply(
    variables, w, train=True, transform=user, method='synthesize', mutable=['magnitude']
  )
  image, moved = jax.jit(call)(variables, w, user)
  twin = Twin(G, {**variables, **moved})
  user = torch.tensor(np.asarray(user, np.float64))
  wanted = twin.G(torch.tensor(w), user)
  np.testing.assert_allclose(image, nhwc(wanted), rtol=1e-5, atol=1e-6 * np.abs(image).max())
  assert jnp.std(image) > 0.1
  # The waves' magnitude moves its average by the images' share of a half-life of 20,000.
  mean = twin.input(torch.tensor(w[:, 0]), user).square().mean().item()
  found = moved['magnitude']['synthesis']['L0']['mean']
  np.testing.assert_allclose(found, mean + 0.5 ** (2 / 20_000) * (0.7 - mean), rtol=1e-6)
