"""Networks of what is no picture against PyTorch twins with the same weights, in float64.

Outputs of G and D, and a whole step of the real update beside torch.optim.Adam: losses, parameters, Adam's moments,
statistics of batch norm. The twins have layers of our names, and are written as the authors' code reads.
"""

import zlib

import jax
import numpy as np
import pytest
from test_biggan_torch import close
from test_updates_torch import dropped

from configs import (
  gan3d_folder,
  molgan_smiles,
  musegan_folder,
  specgan_notes,
  wavegan_notes,
  wgan_gp_text,
)
from ganjax import experiment, media, run_state
from ganjax.devices import sharding
from ganjax.networks import wavegan
from ganjax.sampling import latents
from ganjax.update import active

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
BATCH, SHIFT = 4, -2
# The configuration, what its data and its networks have here instead.
CASES = {
  'WaveGAN': (
    wavegan_notes,
    {'length': 512, 'count': 72},
    {'width': 3, 'width_D': 2, 'post_taps': 6},
  ),
  'SpecGAN': (specgan_notes, {'length': 256, 'count': 72}, {'width': 3, 'width_D': 2}),
  '3D-GAN': (
    gan3d_folder,
    {'resolution': 16, 'count': 20},
    {'width': 2, 'width_D': 3, 'num_classes': 5},
  ),
  'MuseGAN': (
    musegan_folder,
    {'bars': 2, 'steps': 6, 'pitches': 36, 'voices': 2},
    {'width': 1, 'width_D': 1},
  ),
  'MolGAN': (molgan_smiles, {'atoms': 4, 'elements': 2}, {'width': 6, 'width_D': 4}),
  'characters': (wgan_gp_text, {'length': 6}, {'width': 4}),
}


def make_config(name):
  module, data, networks = CASES[name]
  config = module.get_config()
  config.steps, config.batch_size = 10, BATCH
  config.data.update(data)
  config.networks.update(networks, dtype='float64', param_dtype='float64')
  if name == 'MolGAN':  # the game alone; its reward is in tests/methods/test_molgan.py
    config.networks.value = False
    config.method = dict(name='gan', loss='wasserstein', penalties=dict(gradient_penalty=10.0))
    del config.optim.V
  config.method.update(z_dim=7, n_critic=1)
  config.ema.half_life_images = 0
  return config


class WaveG(nn.Module):
  """16 x 3 * 4 samples by channels, times 4, 4 and 2."""

  def __init__(self):
    super().__init__()
    self.Dense_0, self.ClassEmbed_0 = nn.Linear(7, 16 * 12), nn.Embedding(12, 16 * 12)
    self.ConvTranspose_0 = nn.ConvTranspose1d(12, 6, 25, 4)
    self.ConvTranspose_1 = nn.ConvTranspose1d(6, 3, 25, 4)
    self.ConvTranspose_2 = nn.ConvTranspose1d(3, 1, 25, 2)
    self.Conv_0 = nn.Conv1d(1, 1, 6, bias=False)

  def forward(self, z, label):
    x = self.Dense_0(torch.erf(z / 2**0.5)) + self.ClassEmbed_0(label)
    x = x.view(-1, 16, 12).transpose(1, 2)
    ups = self.ConvTranspose_0, self.ConvTranspose_1, self.ConvTranspose_2
    for up, stride in zip(ups, (4, 4, 2)):
      # SAME leaves out the taps that reach beyond: 21 or 23 of them, one more after than before.
      before = (25 - stride) // 2
      x = up(F.relu(x))[..., before:][..., : stride * x.shape[-1]]
    return self.Conv_0(F.pad(torch.tanh(x), (2, 3)))


class WaveD(nn.Module):
  def __init__(self):
    super().__init__()
    self.Conv_0 = nn.Conv1d(1, 2, 25, 4)
    self.Conv_1 = nn.Conv1d(2, 4, 25, 4)
    self.Conv_2 = nn.Conv1d(4, 8, 25, 2)
    self.Dense_0, self.ClassEmbed_0 = nn.Linear(16 * 8, 1), nn.Embedding(12, 16 * 8)

  def forward(self, x, label):
    for conv, pads in zip((self.Conv_0, self.Conv_1, self.Conv_2), ((10, 11), (10, 11), (11, 12))):
      if conv is not self.Conv_0:
        x = F.pad(x, (0, -SHIFT), mode='reflect')[..., -SHIFT:]
      x = F.leaky_relu(conv(F.pad(x, pads)), 0.2)
    x = x.transpose(1, 2).flatten(1)
    return self.Dense_0(x)[:, 0] + (self.ClassEmbed_0(label) * x).sum(1)


class SpecG(nn.Module):
  """4x4 of 6 channels, doubled twice; ganjax has the layers in `painter`."""

  def __init__(self):
    super().__init__()
    self.Dense_0, self.ClassEmbed_0 = nn.Linear(7, 16 * 6), nn.Embedding(12, 16 * 6)
    self.ConvTranspose_0 = nn.ConvTranspose2d(6, 3, 5, 2)
    self.ConvTranspose_1 = nn.ConvTranspose2d(3, 1, 5, 2)

  def forward(self, z, label):
    x = self.Dense_0(torch.erf(z / 2**0.5)) + self.ClassEmbed_0(label)
    x = x.view(-1, 4, 4, 6).movedim(-1, 1)
    for up in (self.ConvTranspose_0, self.ConvTranspose_1):
      side = 2 * x.shape[-1]
      x = up(F.relu(x))[..., 1 : side + 1, 1 : side + 1]
    return torch.tanh(x)


class SpecD(nn.Module):
  def __init__(self):
    super().__init__()
    self.Conv_0, self.Conv_1 = nn.Conv2d(1, 2, 5, 2), nn.Conv2d(2, 4, 5, 2)
    self.Dense_0, self.ClassEmbed_0 = nn.Linear(16 * 4, 1), nn.Embedding(12, 16 * 4)

  def forward(self, x, label):
    for conv in (self.Conv_0, self.Conv_1):
      x = F.leaky_relu(conv(F.pad(x, (1, 2, 1, 2))), 0.2)
    x = x.movedim(1, -1).flatten(1)
    return self.Dense_0(x)[:, 0] + (self.ClassEmbed_0(label) * x).sum(1)


class Spectra:
  """What SpecGAN's D sees of sounds [B, 1, T], by torch.stft; moments of a first batch."""

  def __init__(self, sounds):
    window = torch.hann_window(32, dtype=torch.float64)
    padded = F.pad(sounds[:, 0], (0, 16))
    spectra = torch.stft(padded, 32, 16, 32, window, center=False, return_complex=True)
    level = torch.log(spectra.abs() + 1e-6)[:, :-1].transpose(1, 2)
    self.mean, self.var = level.mean((0, 1)), level.var((0, 1), correction=0)
    self.pictures = ((level - self.mean) / (3 * self.var.sqrt())).clamp(-1, 1)[:, None]


class SolidG(nn.Module):
  def __init__(self):
    super().__init__()
    self.Dense_0, self.ClassEmbed_0 = nn.Linear(7, 64 * 4, bias=False), nn.Embedding(5, 64 * 4)
    self.BatchNorm_0 = nn.BatchNorm3d(4)
    self.ConvTranspose_0, self.BatchNorm_1 = nn.ConvTranspose3d(4, 2, 4, 2, 1), nn.BatchNorm3d(2)
    self.ConvTranspose_1 = nn.ConvTranspose3d(2, 1, 4, 2, 1)

  def forward(self, z, label):
    x = self.Dense_0(torch.erf(z / 2**0.5)) + self.ClassEmbed_0(label)
    x = x.view(-1, 4, 4, 4, 4).movedim(-1, 1)
    x = self.ConvTranspose_0(F.relu(self.BatchNorm_0(x)))
    x = torch.sigmoid(self.ConvTranspose_1(F.relu(self.BatchNorm_1(x))) - 2.5)
    return 2 * x - 1


class SolidD(nn.Module):
  def __init__(self):
    super().__init__()
    self.Conv_0, self.Conv_1 = nn.Conv3d(1, 3, 4, 2, 1), nn.Conv3d(3, 6, 4, 2, 1)
    self.BatchNorm_0, self.Dense_0 = nn.BatchNorm3d(6), nn.Linear(64 * 6, 1)
    self.ClassEmbed_0 = nn.Embedding(5, 64 * 6)

  def forward(self, x, label):
    x = F.leaky_relu(self.Conv_0((x + 1) / 2), 0.2)
    x = F.leaky_relu(self.BatchNorm_0(self.Conv_1(x)), 0.2)
    x = x.movedim(1, -1).flatten(1)
    return self.Dense_0(x)[:, 0] + (self.ClassEmbed_0(label) * x).sum(1)


class MuseG(nn.Module):
  """Two bars of 24 steps, 3 octaves and 2 voices, each with layers of its own; ganjax has them in one.

  Convolutions have an axis of bars, as the authors' have.
  """

  def __init__(self):
    super().__init__()
    shared = [(7, 32, (2, 1, 1)), (32, 16, (1, 4, 1)), (16, 8, (1, 3, 3), (1, 3, 2))]
    voice = [(8, 2, (1, 1, 12)), (2, 1, (1, 2, 1)), (8, 2, (1, 2, 1)), (2, 1, (1, 1, 12))]
    voice += [(2, 1, (1, 1, 1))]
    up = lambda a, b, kernel, *stride: nn.ConvTranspose3d(a, b, kernel, *stride or (kernel,))
    add = lambda layers: nn.ModuleList(
      [nn.ModuleList([up(*x), nn.BatchNorm3d(x[1])]) for x in layers]
    )
    self.shared, self.voices = add(shared), nn.ModuleList([add(voice), add(voice)])

  def forward(self, z, label):
    norm = lambda layer, x: layer[1](layer[0](x))

    def run(x, *layers):
      for layer in layers:
        x = F.relu(norm(layer, x))
      return x

    x, out = run(z[:, :, None, None, None], *self.shared), []
    for a, b, c, d, merge in self.voices:
      out.append(norm(merge, torch.cat([run(x, a, b), run(x, c, d)], 1)))
    return torch.tanh(torch.cat(out, 1)).flatten(2, 3)


class MuseD(nn.Module):
  def __init__(self):
    super().__init__()
    voice = [(2, 1, (1, 1, 12)), (1, 2, (1, 2, 1)), (2, 1, (1, 2, 1)), (1, 2, (1, 1, 12))]
    voice += [(4, 4, (1, 1, 1))]
    shared = [(8, 8, (1, 3, 3), (1, 3, 2)), (8, 16, (1, 4, 1))]
    shared += [(2, 2, (1, 1, 12)), (2, 4, (1, 4, 1))]
    shared += [(2, 1, (1, 2, 1)), (1, 2, (1, 3, 1)), (2, 4, (1, 4, 1)), (24, 32, (2, 1, 1), 1)]
    down = lambda a, b, kernel, *stride: nn.Conv3d(a, b, kernel, *stride or (kernel,))
    add = lambda layers: nn.ModuleList([nn.ModuleList([down(*x)]) for x in layers])
    self.shared, self.voices = add(shared), nn.ModuleList([add(voice), add(voice)])
    self.Dense_0 = nn.Linear(32, 1)

  def forward(self, x, label):
    x, out = x.view(-1, 2, 2, 24, 36), []

    def run(x, *layers):
      for (layer,) in layers:
        x = F.leaky_relu(layer(x), 0.2)
      return x

    for a, b, c, d, merge in self.voices:
      out.append(run(torch.cat([run(x, a, b), run(x, c, d)], 1), merge))
    first, second, *chroma_and_change, pairs = self.shared
    shared = run(torch.cat(out, 1), first, second)
    chroma = run(x.view(-1, 2, 2, 4, 6, 3, 12).sum((4, 5)), *chroma_and_change[:2])
    before = F.pad(x, (0, 0, 1, 0))[:, :, :, :-1]
    change = run((x - before).sum(4, keepdim=True), *chroma_and_change[2:])
    x = run(torch.cat([shared, chroma, change], 1), pairs)
    # Of the patches of a roll, of which there is one here, the logit is the mean.
    return self.Dense_0(x.flatten(2).transpose(1, 2))[..., 0].mean(1)


def muse_ours(net, read, stats):
  """`ours` of a MuseGAN, whose layers of voices are stacked, and kernels have one axis, or two, of three."""
  voices = [*zip(*net.voices)]  # each layer, of each voice
  shared = [(layer,) for layer in net.shared]
  if isinstance(net, MuseG):
    layers, odd, up = [*shared, *voices], {2: 'ConvTranspose_0'}, True
  else:
    layers, odd, up = [*voices, *shared], {5: 'Conv_0', 12: 'Conv_1'}, False
  names = iter(f'Blocks_{i}' for i in range(len(layers)))
  found = {}
  for i, of_voices in enumerate(layers):
    parts = {odd.get(i) or next(names): [layer[0] for layer in of_voices]}
    if up:
      parts[f'BatchNorm_{i}'] = [layer[1] for layer in of_voices]
    for name, modules in parts.items():
      fields = {}
      for module in modules:
        for field, x in module.named_buffers() if stats else module.named_parameters():
          if field == 'num_batches_tracked':
            continue
          x, field = read(x), FIELDS.get(field, field)
          if name.startswith('BatchNorm') and field == 'kernel':
            field = 'scale'
          if field == 'kernel':
            # [bars, steps, pitches, ...]: bars go, or else what is not there beside bars.
            x = x.transpose(2, 3, 4, *((0, 1) if up and 'Blocks' in name else (1, 0)))
            x = x[0] if len(x) == 1 else x[:, :, 0] if up else x[:, 0, 0]
          fields.setdefault(field, []).append(x)
      if fields:
        join = lambda f, x, name=name: (
          np.stack(x) if f == 'kernel' and 'Blocks' in name else np.concatenate(x)
        )
        found[name] = {f: join(f, x) for f, x in fields.items()}
  if not up and not stats:
    found['Dense_0'] = {'kernel': read(net.Dense_0.weight).T, 'bias': read(net.Dense_0.bias)}
  return found


class MolG(nn.Module):
  """Four atoms of two elements, or none."""

  def __init__(self):
    super().__init__()
    sizes = [(7, 6), (6, 12), (12, 24), (24, 4 * 4 * 4), (24, 4 * 3)]
    for i, (a, b) in enumerate(sizes):
      setattr(self, f'Dense_{i}', nn.Linear(a, b))

  def forward(self, z, label):
    for dense in self.Dense_0, self.Dense_1, self.Dense_2:
      z = torch.tanh(dense(z))
    bonds = self.Dense_3(z).view(-1, 4, 4, 4)  # from, to, kind
    bonds = torch.softmax((bonds + bonds.transpose(1, 2)) / 2, -1)
    kinds = torch.softmax(self.Dense_4(z).view(-1, 4, 3), -1)
    return torch.cat([kinds, bonds.flatten(2)], -1).movedim(-1, 1)


class MolD(nn.Module):
  def __init__(self):
    super().__init__()
    sizes = [(3, 3 * 4), (3, 4), (7, 3 * 2), (7, 2), (5, 4), (5, 4), (4, 4), (4, 2), (2, 1)]
    for i, (a, b) in enumerate(sizes):
      setattr(self, f'Dense_{i}', nn.Linear(a, b))

  def forward(self, x, label):
    x = x.movedim(1, -1)
    kinds, bonds = x[..., :3], x[..., 3:].reshape(-1, 4, 4, 4)
    seen = kinds
    for sent, own in (self.Dense_0, self.Dense_1), (self.Dense_2, self.Dense_3):
      hidden = own(seen)
      for kind, part in enumerate(sent(seen).chunk(3, -1), 1):
        hidden = hidden + bonds[..., kind] @ part
      seen = torch.cat([torch.tanh(hidden), kinds], -1)
    graph = torch.tanh((torch.sigmoid(self.Dense_4(seen)) * torch.tanh(self.Dense_5(seen))).sum(1))
    graph = torch.tanh(self.Dense_7(torch.tanh(self.Dense_6(graph))))
    return self.Dense_8(graph)[:, 0]


def add_blocks(net, first):
  for i in range(first, first + 10):
    setattr(net, f'Conv_{i}', nn.Conv1d(4, 4, 5, padding=2))


def run_blocks(net, x, first):
  for i in range(first, first + 10, 2):
    y = getattr(net, f'Conv_{i}')(F.relu(x))
    x = x + 0.3 * getattr(net, f'Conv_{i + 1}')(F.relu(y))
  return x


class LineG(nn.Module):
  def __init__(self):
    super().__init__()
    self.Dense_0, self.Conv_10 = nn.Linear(7, 6 * 4), nn.Conv1d(4, 96, 1)
    add_blocks(self, 0)

  def forward(self, z, label):
    x = run_blocks(self, self.Dense_0(z).view(-1, 6, 4).transpose(1, 2), 0)
    return torch.softmax(self.Conv_10(x), 1)


class LineD(nn.Module):
  def __init__(self):
    super().__init__()
    self.Conv_0, self.Dense_0 = nn.Conv1d(96, 4, 1), nn.Linear(6 * 4, 1)
    add_blocks(self, 1)

  def forward(self, x, label):
    x = run_blocks(self, self.Conv_0(x), 1)
    return self.Dense_0(x.transpose(1, 2).flatten(1))[:, 0]


TWINS = {
  'WaveGAN': (WaveG, WaveD),
  'SpecGAN': (SpecG, SpecD),
  '3D-GAN': (SolidG, SolidD),
  'MuseGAN': (MuseG, MuseD),
  'MolGAN': (MolG, MolD),
  'characters': (LineG, LineD),
}
FIELDS = {'weight': 'kernel', 'running_mean': 'mean', 'running_var': 'var'}


def ours(net, read=lambda x: x.detach().numpy().copy(), stats=False):
  """What `read` gives of a twin's parameters, or its statistics, as ganjax has them."""
  if isinstance(net, (MuseG, MuseD)):
    return muse_ours(net, read, stats)
  found = {}
  for name, x in net.named_buffers() if stats else net.named_parameters():
    layer, _, field = name.partition('.')
    if field == 'num_batches_tracked':
      continue
    x = read(x)
    field = FIELDS.get(field, field)
    if layer.startswith('BatchNorm') and field == 'kernel':
      field = 'scale'
    elif layer.startswith('ClassEmbed'):
      field = 'embedding'
    elif field == 'kernel':
      x = x.transpose(*range(2, x.ndim), 1, 0)
    found.setdefault(layer, {})[field] = x
  return found


def last(x):
  """Channels last, as ganjax has samples."""
  return x.detach().movedim(1, -1).numpy()


def penalty(D, real, fake, label, key, dtype):
  """lambda of 10 is outside."""
  key = jax.random.fold_in(key, zlib.crc32(b'gradient_penalty'))
  share = torch.tensor(
    np.asarray(jax.random.uniform(key, (BATCH,) + (1,) * (real.ndim - 1), dtype))
  )
  points = (share * real + (1 - share) * fake).requires_grad_()
  (slopes,) = torch.autograd.grad(D(points, label).sum(), points, create_graph=True)
  return (((slopes**2).flatten(1).sum(1).sqrt() - 1) ** 2).mean()


class Twin:
  def __init__(self, name, config):
    self.nets = dict(zip('GD', (net().double().train() for net in TWINS[name])))
    self.wasserstein, self.config = config.method.loss == 'wasserstein', config
    self.dtype = (
      'float64' if name in ('SpecGAN', 'MuseGAN') else 'float32'
    )  # of what D sees of the data
    self.opt = {}
    for n, net in self.nets.items():
      o = config.optim[n]
      rate = o.lr.start if hasattr(o.lr, 'start') else o.lr
      self.opt[n] = torch.optim.Adam(net.parameters(), lr=rate, betas=(o.b1, o.b2), eps=o.eps)

  def take(self, n, loss):
    self.opt[n].zero_grad()
    loss.backward()
    self.opt[n].step()

  def step(self, key, real, label):
    """One step -> its metrics."""
    G, D = self.nets.values()
    z = lambda key: torch.tensor(np.asarray(latents.normal(key, BATCH, 7)))
    key_at = lambda phase: jax.random.fold_in(jax.random.fold_in(key, phase), 0)
    # Statistics of G in the update of D, and of D in that of G, are dropped.
    with dropped(G), torch.no_grad():
      fake = G(z(key_at(0)), label)
    on_real, on_fake = D(real, label), D(fake, label)
    if self.wasserstein:
      terms = {'loss_real': -on_real.mean(), 'loss_fake': on_fake.mean()}
      terms['loss_gradient_penalty'] = 10 * penalty(D, real, fake, label, key_at(0), self.dtype)
    else:
      terms = {'loss_real': F.softplus(-on_real).mean(), 'loss_fake': F.softplus(on_fake).mean()}
    right = ((on_real > 0).double().mean() + (on_fake < 0).double().mean()) / 2
    if right <= self.config.method.get('most_right_D', 1):
      self.take('D', sum(terms.values()))
    with dropped(D):
      logits = D(G(z(key_at(1)), label), label)
    loss = -logits.mean() if self.wasserstein else F.softplus(-logits).mean()
    self.take('G', loss)
    return {k: x.item() for k, x in terms.items()} | {'loss_G': loss.item()}


SLOW = 'SpecGAN', 'MuseGAN', 'characters'  # of the same layers as the others, or long to compile


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in CASES]
)
def test_outputs_and_a_whole_step(name, monkeypatch):
  monkeypatch.setattr(wavegan, 'draw_shift', lambda key, most: SHIFT)
  config, rng = make_config(name), np.random.default_rng(0)
  torch.manual_seed(0)
  twin = Twin(name, config)
  # On four devices too a batch has one shift of phase, and one mean and variance.
  mesh = sharding.make_mesh(jax.devices()[: 1 if name in ('MolGAN', 'characters') else 4])
  with jax.enable_x64(True), jax.set_mesh(mesh):
    run = experiment.build(config)
    span, makes = run.spans[0], run.method.makes
    field = span.fields[makes]
    low, high = {'sound': (-(2**15), 2**15), 'line': (32, 127)}.get(field.kind, (0, 2))
    stored = rng.integers(low, high, (BATCH, *field.shape)).astype(field.dtype)
    batch = {makes: stored}
    if 'label' in span.fields:
      batch['label'] = rng.integers(0, max(run.method.num_classes, 1), BATCH).astype(np.int32)
    shapes = jax.eval_shape(run.init, run.key)
    inner = lambda n, tree: {'painter': tree} if (name, n) == ('SpecGAN', 'G') else tree
    params = {n: inner(n, ours(net)) for n, net in twin.nets.items()}
    stats = {n: ours(net, stats=True) for n, net in twin.nets.items()}
    stats = {n: {'batch_stats': x} if x else {} for n, x in stats.items()}
    if name == 'SpecGAN':
      own = {'mean': np.zeros(16), 'var': np.ones(16), 'count': np.zeros(())}
      stats['G'] = {'spectrum': {'spectrum': own}}
    same = lambda tree: jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree)
    assert same((params, stats)) == same((shapes.params, shapes.stats))
    state, *_ = run_state.start(run, mesh)
    state = sharding.replicate(state.replace(params=params, stats=stats), mesh)

    real = torch.tensor(np.asarray(media.find(field.kind).to_float(stored), np.float64))
    real = real.movedim(-1, 1)
    if name == 'SpecGAN':
      spectra = Spectra(real)
      real = spectra.pictures
    label = torch.tensor(batch.get('label', np.zeros(BATCH, int))).long()
    z = rng.normal(size=(BATCH, 7))
    for net in twin.nets.values():
      net.eval()  # running statistics
    given = {'G': (z, torch.tensor(z)), 'D': (last(real), real)}
    for n, (x, theirs) in given.items():
      label_of = (batch['label'],) if run.method.num_classes else ()
      found = run.method.nets[n].apply({'params': params[n], **stats[n]}, x, *label_of, train=False)
      if (name, n) != ('WaveGAN', 'D'):  # whose twin shuffles
        wanted = twin.nets[n](theirs, label)
        np.testing.assert_allclose(found, last(wanted) if n == 'G' else wanted.detach(), rtol=1e-5)
      twin.nets[n].train()

    batches = (sharding.place_batch(batch, mesh),)
    state, metrics = run.update(span)(state, batches, {}, phases=active(span.stage, 0))
    step_key = jax.random.fold_in(run.key, 0)
    for key, value in twin.step(step_key, real, label).items():
      np.testing.assert_allclose(metrics[key], value, rtol=1e-6, err_msg=key)
    for n, net in twin.nets.items():
      close(state.params[n], inner(n, ours(net)), 1e-6)
      moment = lambda what, n=n: lambda p: twin.opt[n].state[p][what].numpy().copy()
      close(state.opt[n][0].mu[n], inner(n, ours(net, moment('exp_avg'))), 1e-6)
      close(state.opt[n][0].nu[n], inner(n, ours(net, moment('exp_avg_sq'))), 1e-6)
      if 'batch_stats' in stats[n]:
        close(state.stats[n]['batch_stats'], ours(net, stats=True), 1e-6)
    if name == 'SpecGAN':
      own = {'mean': spectra.mean.numpy(), 'var': spectra.var.numpy(), 'count': np.array(4.0)}
      close(state.stats['G']['spectrum']['spectrum'], own, 1e-6)
