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

  def forward(self, x, number=0):
    return x + self.weight * self.drawn[number]


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


class CCBN(nn.Module):
  def __init__(self, features, z_dim):
    super().__init__()
    self.gain, self.bias = (sn(nn.Linear(z_dim, features)) for _ in range(2))
    self.register_buffer('stored_mean', torch.zeros(features))
    self.register_buffer('stored_var', torch.ones(features))

  def forward(self, x, y):
    x = F.batch_norm(x, self.stored_mean, self.stored_var, training=self.training)
    return x * (1 + self.gain(y))[:, :, None, None] + self.bias(y)[:, :, None, None]


class UpBlockBigCond(nn.Module):
  def __init__(self, inputs, features, z_dim):
    super().__init__()
    self.conv1, self.conv2 = (conv(n, 2 * features, 3, 1, 1) for n in (inputs, features))
    self.bn1, self.bn2 = (CCBN(2 * features, z_dim) for _ in range(2))
    self.noise = NoiseInjection()

  def forward(self, x, y):
    x = self.conv1(F.interpolate(x, scale_factor=2))
    x = self.conv2(F.glu(self.bn1(self.noise(x, 0), y), 1))
    return F.glu(self.bn2(self.noise(x, 1), y), 1)


class DummyMapping(nn.Module):
  def forward(self, z):
    return z


class FastganSynthesis(nn.Module):
  def __init__(self, z_dim, width, side, form, classes):
    super().__init__()
    c = {n: int(width * factor) for n, factor in FACTORS.items()}
    self.img_resolution, self.init = side, InitLayer(z_dim, c[4])
    sides = [n for n in c if 8 <= n <= max(side, 256)]
    for i, n in enumerate(sides):
      double = {'double': True, 'single': False, 'alternating': i % 2 == 0}[form]
      sizes = c[n // 2], c[n]
      block = UpBlockBigCond(*sizes, z_dim) if classes else up_block(*sizes, double)
      self.add_module(f'feat_{n}', block)
    for n in sides[3:]:
      self.add_module(f'se_{n}', SEBlock(c[n // 16], c[n]))
    self.to_big = conv(c[side], 3, 3, 1, 1, bias=True)
    if classes:
      self.embed = nn.Embedding(1000, z_dim)

  def forward(self, z, label):
    y = [] if label is None else [self.embed(label)]
    maps = {4: self.init(z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt())}
    n = 4
    while n < self.img_resolution:
      n *= 2
      maps[n] = getattr(self, f'feat_{n}')(maps[n // 2], *y)
      if n >= 64:
        maps[n] = getattr(self, f'se_{n}')(maps[n // 16], maps[n])
    return self.to_big(maps[n])


class Generator(nn.Module):
  def __init__(self, z_dim, width, side, form, classes):
    super().__init__()
    self.z_dim, self.c_dim, self.img_resolution = z_dim, classes, side
    self.mapping = DummyMapping()
    self.synthesis = FastganSynthesis(z_dim, width, side, form, classes)

  def forward(self, z, label=None):
    return self.synthesis(self.mapping(z), label)


class ProjectedDiscriminator(nn.Module):
  def __init__(self):
    super().__init__()
    # Modules in two places, as a copy of a feature network may have them.
    self.feature_network = nn.Sequential(act := nn.ReLU6(), act)


for module, *classes in (
  ('pg_modules.blocks', GLU, Swish, NoiseInjection, InitLayer, SEBlock, CCBN, UpBlockBigCond),
  ('pg_modules.networks_fastgan', DummyMapping, FastganSynthesis, Generator),
  ('pg_modules.discriminator', ProjectedDiscriminator),
):
  files._module(module, **{one.__name__: one for one in classes})


def draw(G, z):
  """Gives each noise layer the noise of z [B, Z], which ganjax draws by the bits of z."""
  keys, fold = fastgan._keys(z), jax.vmap(jax.random.fold_in, (0, None))
  for name, block in G.synthesis.named_children():
    layers = [one for one in block.children() if isinstance(one, NoiseInjection)]
    for first, layer in enumerate(layers):
      side = int(name.removeprefix('feat_'))
      key = fold(keys, side.bit_length() - 3)
      normal = lambda number, key=key, side=side: jax.vmap(jax.random.normal, (0, None))(
        fold(key, number), (1, side, side)
      )
      layer.drawn = [torch.tensor(np.array(normal(first + i))) for i in (0, 1)]


def trained(z_dim, width, side, form, classes):
  """(a generator that has seen pictures, with the vectors u and v of its weights; an average of other weights)."""
  G = Generator(z_dim, width, side, form, classes)
  with torch.no_grad():
    for p in G.parameters():
      p.copy_(
        torch.tensor(RNG.normal(size=p.shape) * (0.3 if p.ndim < 2 else p[0].numel() ** -0.5))
      )
    for _ in range(3):
      z = RNG.normal(size=(8, z_dim)).astype(np.float32)
      draw(G, z)
      G(torch.tensor(z), torch.arange(8) % classes if classes else None)
    average = copy.deepcopy(G)
    for p in average.parameters():
      p += 0.2 * torch.tensor(RNG.normal(size=p.shape)) * p.abs().mean()
  for module in (*G.modules(), *average.modules()):
    module.__dict__.pop('drawn', None)
  return G.eval(), average.eval()


@pytest.mark.parametrize('form, side, classes', [
  ('double', 128, 0),
  ('single', 256, 0),
  ('alternating', 128, 0),
  ('double', 128, 3),
])  # fmt: skip
def test_pictures(form, side, classes, tmp_path, monkeypatch, capfd):
  G, average = trained(6, 8, side, form, classes)
  path, stream = tmp_path / 'network-snapshot.pkl', io.BytesIO()
  progress = {'cur_nimg': torch.tensor([7]), 'best_fid': 9.5}
  nets = dict(G=G, D=ProjectedDiscriminator(), G_ema=average)
  pickle.dump({**nets, 'training_set_kwargs': {'path': 'x'}, 'progress': progress}, stream, 4)
  path.write_bytes(stream.getvalue())
  run, state = files.bring(path, 'stylegan', monkeypatch)
  assert 'pictures differ' not in capfd.readouterr().out
  assert (run.config.networks.blocks, run.config.networks.width) == (form, 8)
  rows, images = files.pictures(run, state)
  z, label = (rows['z'], torch.tensor(rows['label']).long()) if classes else (rows, None)
  draw(average, z)
  with torch.no_grad():
    wanted = average(torch.tensor(z), label).permute(0, 2, 3, 1).numpy()
  np.testing.assert_allclose(images, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
