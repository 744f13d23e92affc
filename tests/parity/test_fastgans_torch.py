"""Imported FastGANs of projected-gan: pictures against PyTorch modules, whose pickle they come from."""

import copy
import io
import pickle

import jax
import numpy as np
import pytest

from ganjax.networks import fastgan

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.slow  # a whole import, each
import published_styles as files  # noqa: E402 (needs torch)

nn, sn = torch.nn, torch.nn.utils.spectral_norm
F = nn.functional
RNG = np.random.default_rng(0)
FACTORS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 1 / 2, 512: 1 / 4}
conv = lambda *sizes, bias=False: sn(nn.Conv2d(*sizes, bias=bias))


class GLU(nn.Module):
  def forward(self, x):
    return F.glu(x, 1)


class Swish(nn.Module):
  def forward(self, x):
    return F.silu(x)


class NoiseInjection(nn.Module):
  def __init__(self):
    super().__init__()
    self.weight = nn.Parameter(torch.zeros(1))

  def forward(self, x):
    return x + self.weight * self.drawn


class InitLayer(nn.Module):
  def __init__(self, z_dim, features):
    super().__init__()
    first = sn(nn.ConvTranspose2d(z_dim, 2 * features, 4, bias=False))
    self.init = nn.Sequential(first, nn.BatchNorm2d(2 * features), GLU())

  def forward(self, z):
    return self.init(z[:, :, None, None])


class SEBlock(nn.Module):
  def __init__(self, small, features):
    super().__init__()
    layers = conv(small, features, 4), Swish(), conv(features, features, 1), nn.Sigmoid()
    self.main = nn.Sequential(nn.AdaptiveAvgPool2d(4), *layers)

  def forward(self, small, large):
    return large * self.main(small)


def up_block(inputs, features, double):
  def part(inputs):
    noise = [NoiseInjection()] if double else []
    return conv(inputs, 2 * features, 3, 1, 1), *noise, nn.BatchNorm2d(2 * features), GLU()

  return nn.Sequential(
    nn.Upsample(scale_factor=2), *part(inputs), *(part(features) if double else ())
  )


class DummyMapping(nn.Module):
  def forward(self, z):
    return z


class FastganSynthesis(nn.Module):
  def __init__(self, z_dim, width, side, form):
    super().__init__()
    c = {n: int(width * factor) for n, factor in FACTORS.items()}
    self.img_resolution, self.init = side, InitLayer(z_dim, c[4])
    sides = [n for n in c if 8 <= n <= max(side, 256)]
    for i, n in enumerate(sides):
      double = {'double': True, 'single': False, 'alternating': i % 2 == 0}[form]
      self.add_module(f'feat_{n}', up_block(c[n // 2], c[n], double))
    for n in sides[3:]:
      self.add_module(f'se_{n}', SEBlock(c[n // 16], c[n]))
    self.to_big = conv(c[side], 3, 3, 1, 1, bias=True)

  def forward(self, z):
    maps = {4: self.init(z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt())}
    n = 4
    while n < self.img_resolution:
      n *= 2
      maps[n] = getattr(self, f'feat_{n}')(maps[n // 2])
      if n >= 64:
        maps[n] = getattr(self, f'se_{n}')(maps[n // 16], maps[n])
    return self.to_big(maps[n])


class Generator(nn.Module):
  def __init__(self, z_dim, width, side, form):
    super().__init__()
    self.z_dim, self.c_dim, self.w_dim, self.img_resolution, self.img_channels = (
      z_dim,
      0,
      0,
      side,
      3,
    )
    self.mapping, self.synthesis = DummyMapping(), FastganSynthesis(z_dim, width, side, form)

  def forward(self, z):
    return self.synthesis(self.mapping(z))


class ProjectedDiscriminator(nn.Module):
  def __init__(self):
    super().__init__()
    # Modules in two places, as a copy of a feature network may have them.
    self.feature_network = nn.Sequential(act := nn.ReLU6(), act)


for module, *classes in (
  ('pg_modules.blocks', GLU, Swish, NoiseInjection, InitLayer, SEBlock),
  ('pg_modules.networks_fastgan', DummyMapping, FastganSynthesis, Generator),
  ('pg_modules.discriminator', ProjectedDiscriminator),
):
  files._module(module, **{one.__name__: one for one in classes})


def draw(G, z):
  """Gives each noise layer the noise of z [B, Z], which ganjax draws by the bits of z."""
  keys, fold = fastgan._keys(z), jax.vmap(jax.random.fold_in, (0, None))
  for name, block in G.synthesis.named_children():
    layers = [one for one in block.children() if isinstance(one, NoiseInjection)]
    for number, layer in enumerate(layers):
      side = int(name.removeprefix('feat_'))
      key = fold(fold(keys, side.bit_length() - 3), number)
      x = jax.vmap(jax.random.normal, (0, None))(key, (1, side, side))
      layer.drawn = torch.tensor(np.array(x))


def trained(z_dim, width, side, form):
  """(a generator that has seen pictures, with the vectors u and v of its weights; an average of other weights)."""
  G = Generator(z_dim, width, side, form)
  with torch.no_grad():
    for p in G.parameters():
      p.copy_(
        torch.tensor(RNG.normal(size=p.shape) * (0.3 if p.ndim < 2 else p[0].numel() ** -0.5))
      )
    for _ in range(3):
      z = RNG.normal(size=(8, z_dim)).astype(np.float32)
      draw(G, z)
      G(torch.tensor(z))
    average = copy.deepcopy(G)
    for p in average.parameters():
      p += 0.2 * torch.tensor(RNG.normal(size=p.shape)) * p.abs().mean()
  for module in (*G.modules(), *average.modules()):
    module.__dict__.pop('drawn', None)
  return G.eval(), average.eval()


@pytest.mark.parametrize('form, side', [('double', 128), ('single', 256), ('alternating', 128)])
def test_pictures(form, side, tmp_path, monkeypatch, capfd):
  G, average = trained(6, 8, side, form)
  path, stream = tmp_path / 'network-snapshot.pkl', io.BytesIO()
  progress = {'cur_nimg': torch.tensor([7]), 'best_fid': 9.5}
  nets = dict(G=G, D=ProjectedDiscriminator(), G_ema=average)
  pickle.dump({**nets, 'training_set_kwargs': {'path': 'x'}, 'progress': progress}, stream, 4)
  path.write_bytes(stream.getvalue())
  run, state = files.bring(path, 'stylegan', monkeypatch)
  assert 'pictures differ' not in capfd.readouterr().out
  assert (run.config.networks.blocks, run.config.networks.width) == (form, 8)
  z, images = files.pictures(run, state)
  draw(average, z)
  with torch.no_grad():
    wanted = average(torch.tensor(z)).permute(0, 2, 3, 1).numpy()
  np.testing.assert_allclose(images, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
