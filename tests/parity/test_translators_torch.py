"""Imported RRDBNets, ResNets and U-Nets: their pictures against PyTorch twins whose files they are read from.

RRDBNet and the U-Net are written with their authors' names. ResNets are those of `test_translation_torch.py`, whose
layers stand in the same order, under the names of theirs.
"""

import re

import jax
import numpy as np
import pytest
from PIL import Image
from test_translation_torch import CutG, channels_first, channels_last

from benchmarks.torch_nets import resnet
from ganjax import experiment
from ganjax.sampling import sample
from ganjax.weights import import_weights, translators

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
RNG = np.random.default_rng(0)


class DenseBlock(nn.Module):
  def __init__(self, width, growth):
    super().__init__()
    for i in range(5):
      conv = nn.Conv2d(width + i * growth, growth if i < 4 else width, 3, 1, 1)
      setattr(self, f'conv{i + 1}', conv)

  def forward(self, x):
    seen = [x]
    for i in range(4):
      seen.append(F.leaky_relu(getattr(self, f'conv{i + 1}')(torch.cat(seen, 1)), 0.2))
    return x + 0.2 * self.conv5(torch.cat(seen, 1))


class RRDB(nn.Module):
  def __init__(self, width, growth):
    super().__init__()
    self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(width, growth) for _ in range(3))

  def forward(self, x):
    return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
  def __init__(self, scale, width, growth, blocks):
    super().__init__()
    self.factor = 4 // scale
    self.conv_first = nn.Conv2d(3 * self.factor**2, width, 3, 1, 1)
    self.body = nn.Sequential(*[RRDB(width, growth) for _ in range(blocks)])
    for name in ('body', 'up1', 'up2', 'hr'):
      setattr(self, f'conv_{name}', nn.Conv2d(width, width, 3, 1, 1))
    self.conv_last = nn.Conv2d(width, 3, 3, 1, 1)

  def forward(self, x):
    """Pictures in [0, 1]."""
    act = lambda x: F.leaky_relu(x, 0.2)
    x = self.conv_first(F.pixel_unshuffle(x, self.factor) if self.factor > 1 else x)
    x = x + self.conv_body(self.body(x))
    for up in (self.conv_up1, self.conv_up2):
      x = act(up(F.interpolate(x, scale_factor=2, mode='nearest')))
    return self.conv_last(act(self.conv_hr(x)))


class Compact(nn.Module):
  """SRVGGNetCompact."""

  def __init__(self, scale, width, layers):
    super().__init__()
    self.scale = scale
    body, last = [], 3
    for _ in range(layers + 1):
      body += [nn.Conv2d(last, width, 3, 1, 1), nn.PReLU(width)]
      last = width
    self.body = nn.ModuleList([*body, nn.Conv2d(width, 3 * scale**2, 3, 1, 1)])

  def forward(self, x):
    y = x
    for layer in self.body:
      y = layer(y)
    return F.pixel_shuffle(y, self.scale) + F.interpolate(x, scale_factor=self.scale)


NAMES = {
  'body': ('RRDB_trunk', 'model.1.sub'),
  'conv_first': ('conv_first', 'model.0'),
  'conv_body': ('trunk_conv', 'model.1.sub.2'),
  'conv_up1': ('upconv1', 'model.3'),
  'conv_up2': ('upconv2', 'model.6'),
  'conv_hr': ('HRconv', 'model.8'),
  'conv_last': ('conv_last', 'model.10'),
}


def older(tensors, release):
  """By the names of xinntao/ESRGAN, 0, or of its first release, 1."""
  found = {}
  for name, x in tensors.items():
    top, rest = name.split('.', 1)
    rest = rest.replace('rdb', 'RDB')
    if top == 'body' and release:
      rest = re.sub(r'\.(weight|bias)$', r'.0.\1', rest)
    found[f'{NAMES[top][release]}.{rest}'] = x
  return found


class Level(nn.Module):
  """A level of the U-Net around those below it."""

  def __init__(self, outside, inside, below, norm, outermost=False):
    super().__init__()
    make = nn.BatchNorm2d if norm == 'batch' else nn.InstanceNorm2d
    biased, twice = norm == 'instance', 2 if below else 1
    down = nn.Conv2d(3 if outermost else outside, inside, 4, 2, 1, bias=biased)
    up = nn.ConvTranspose2d(twice * inside, outside, 4, 2, 1, bias=biased or outermost)
    if outermost:
      layers = [down, below, nn.ReLU(), up, nn.Tanh()]
    elif below:
      layers = [nn.LeakyReLU(0.2), down, make(inside), below, nn.ReLU(), up, make(outside)]
    else:
      layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, make(outside)]
    self.model, self.outermost = nn.Sequential(*layers), outermost

  def forward(self, x):
    return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UNet(nn.Module):
  def __init__(self, downs, width, norm):
    super().__init__()
    widths = [width * min(2**i, 8) for i in range(downs)]
    level = None
    for outside, inside in list(zip(widths, widths[1:]))[::-1]:
      level = Level(outside, inside, level, norm)
    self.model = Level(3, width, level, norm, outermost=True)

  def forward(self, x):
    return self.model(x)


def of_resnet(net):
  """Names of pytorch-CycleGAN-and-pix2pix."""
  return {f'model.{k.replace("body", "conv_block")}': x for k, x in net.state_dict().items()}


def of_cut(net):
  """CUT's names, with its filters."""
  layers = [*net.encoder, *net.decoder]
  tensors = of_resnet(nn.Sequential(*layers))
  for i, layer in enumerate(layers):
    if (kind := type(layer).__name__) in ('Blur', 'Double'):
      taps = torch.tensor([1.0, 2.0, 1.0] if kind == 'Blur' else [1.0, 3.0, 3.0, 1.0])
      own = taps[:, None] * taps / (16 if kind == 'Blur' else 64) * (1 if kind == 'Blur' else 4)
      before = next(
        x for x in layers[i - 1 :: -1] if isinstance(x, nn.Conv2d) or hasattr(x, 'body')
      )
      features = before.body[1].out_channels if hasattr(before, 'body') else before.out_channels
      tensors[f'model.{i}.filt'] = own.repeat(features, 1, 1, 1)
  return tensors


plain = lambda net: net.state_dict()
slow = lambda *case: pytest.param(*case, marks=pytest.mark.slow)
# Name -> (format, twin, its file, sides of a picture, what its networks are).
CASES = {
  'x4': (
    'basicsr',
    lambda: RRDBNet(4, 4, 3, 2),
    lambda net: {'params_ema': net.state_dict(), 'params': {}},
    (5, 6),
    dict(scale=4, width=4, growth=3, blocks=2),
  ),
  'x2': (
    'basicsr',
    lambda: RRDBNet(2, 4, 2, 1),
    lambda net: {'params': net.state_dict()},
    (6, 4),
    dict(scale=2, width=4, growth=2, blocks=1),
  ),
  'compact': (
    'basicsr',
    lambda: Compact(2, 4, 2),
    lambda net: {'params': net.state_dict()},
    (5, 6),
    dict(scale=2, width=4, layers=2),
  ),
  'resnet': ('cyclegan', lambda: resnet(3, 6), of_resnet, (16, 20), dict(width=3, blocks=6)),
  'cut': ('cyclegan', lambda: CutG(3, 4), of_cut, (16, 20), dict(width=3, blocks=4)),
  'unet batch': (
    'cyclegan',
    lambda: UNet(6, 2, 'batch'),
    plain,
    (64, 64),
    dict(width=2, downs=6, norm='batch', dropout_levels=(1,)),
  ),
  'unet instance': (
    'cyclegan',
    lambda: UNet(5, 2, 'instance'),
    plain,
    (32, 32),
    dict(width=2, downs=5, norm='instance', dropout_levels=()),
  ),
}


def make(name, path, saved='zip'):
  """Saves a twin's file; the twin, in evaluation."""
  _, twin, names, _, _ = CASES[name]
  torch.manual_seed(sum(map(ord, name)))
  net = twin()
  with torch.no_grad():
    for norm in net.modules():
      if isinstance(norm, nn.PReLU):
        norm.weight.uniform_(-0.5, 0.5)
      if isinstance(norm, nn.BatchNorm2d):
        for x in (norm.weight, norm.running_var):
          x.uniform_(0.5, 2)
        for x in (norm.bias, norm.running_mean):
          x.normal_()
  torch.save(names(net), path, _use_new_zipfile_serialization=saved == 'zip')
  return net.eval()


@pytest.mark.parametrize('release', [0, 1])
def test_older_names(release, tmp_path):
  torch.manual_seed(0)
  new = RRDBNet(4, 4, 3, 2).state_dict()
  torch.save(older(new, release), tmp_path / 'x.pth')
  found = translators.read(tmp_path / 'x.pth', 'basicsr')
  assert found.networks == dict(scale=4, width=4, growth=3, blocks=2)
  assert found.arrays.keys() == new.keys()
  for name, x in new.items():
    np.testing.assert_array_equal(found.arrays[name], x.numpy())


@pytest.mark.parametrize(
  'name', ['x4', 'resnet', *map(slow, ['x2', 'compact', 'cut', 'unet batch', 'unet instance'])]
)
def test_pictures(name, tmp_path):
  form, _, _, sides, networks = CASES[name]
  path = tmp_path / 'x.pth'
  net = make(name, path, 'legacy' if name == 'resnet' else 'zip')
  found = translators.read(path, form)
  assert found.networks == networks
  config = translators.configure(found, 'x')
  config.networks.update(width_D=1, dtype='float32')
  if form == 'basicsr':
    config.data.resolution = 32
    config.method.degradation = 'bicubic'
  run = experiment.build(config)
  state = jax.eval_shape(run.init, run.key)
  name = found.nets[0]
  ours = translators.take(
    found, name, {'params': state.params[name], 'stats': state.stats[name]}, path
  )
  x = RNG.uniform(-1, 1, (2, *sides, 3)).astype(np.float32)
  more, G = (), run.method.nets[name]
  if found.recipe == 'pix2pix_facades':
    more, G = (jax.random.split(run.key, 2),), G.clone(dropout_levels=())
  call = jax.jit(lambda v, x: G.apply(v, x, *more, train=False))
  made = call({'params': ours['params'], **ours['stats']}, x)
  with torch.no_grad():
    if form == 'basicsr':
      expected = 2 * channels_last(net((channels_first(x) + 1) / 2)) - 1
    else:
      expected = channels_last(net(channels_first(x)))
  assert expected.std() > 0.01
  np.testing.assert_allclose(made, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['x2', 'resnet'])
def test_a_run_of_a_file_makes_pictures_at_once(name, tmp_path, monkeypatch):
  """`ganjax import`, then `ganjax sample --source`: the twin's picture, but for a level of rounding."""
  form, _, _, sides, _ = CASES[name]
  sides = (256, 256) if name == 'resnet' else sides
  net = make(name, tmp_path / 'x.pth')
  picture = RNG.integers(0, 256, (*sides, 3), dtype=np.uint8)
  Image.fromarray(picture).save(tmp_path / 'mine.png')
  run = tmp_path / 'run'
  for command, line in (
    (
      import_weights,
      ['import', f'--format={form}', f'--file={tmp_path}/x.pth', f'--workdir={run}'],
    ),
    (
      sample,
      [
        'sample',
        str(run),
        f'--source={tmp_path}/mine.png',
        '--format=files',
        f'--out={tmp_path}/made',
      ],
    ),
  ):
    monkeypatch.setattr('sys.argv', line)
    command.COMMAND.read(line)
    command.main()
  made = np.asarray(Image.open(tmp_path / 'made' / 'mine.png'), int)
  x = channels_first(picture.astype(np.float32)[None] / 255)
  with torch.no_grad():
    expected = net(x) if form == 'basicsr' else (net(2 * x - 1) + 1) / 2
  expected = channels_last((255 * expected).clamp(0, 255))[0]
  assert made.shape == expected.shape and expected.std() > 1
  assert np.abs(made - expected).max() <= 1
