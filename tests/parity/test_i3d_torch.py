"""features/i3d.py against a PyTorch twin with the names and shapes of piergiaj/pytorch-i3d, seeded, in float64."""

import jax
import numpy as np
import pytest

from ganjax import UserError, features
from ganjax.devices import backend
from ganjax.features import i3d
from ganjax.weights import torch_file

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional


def same(x, kernel, stride):
  """Zeros around x [B, C, T, H, W] so that each output side is ceil(side / stride); the odd one behind."""
  around = []
  for n, k, s in reversed(list(zip(x.shape[2:], kernel, stride))):
    more = max((-(-n // s) - 1) * s + k - n, 0)
    around += [more // 2, more - more // 2]
  return F.pad(x, around)


class Unit(nn.Module):
  def __init__(self, a, b, side=1, stride=1, last=False):
    super().__init__()
    self.conv3d = nn.Conv3d(a, b, side, stride, bias=last)
    if not last:
      self.bn = nn.BatchNorm3d(b, eps=1e-3)

  def forward(self, x):
    x = self.conv3d(same(x, self.conv3d.kernel_size, self.conv3d.stride))
    return torch.relu(self.bn(x)) if hasattr(self, 'bn') else x


def pool(x, kernel, stride):
  return F.max_pool3d(same(x, kernel, stride), kernel, stride)


class Mixed(nn.Module):
  def __init__(self, a, b0, b1a, b1b, b2a, b2b, b3b):
    super().__init__()
    self.b0, self.b3b = Unit(a, b0), Unit(a, b3b)
    self.b1a, self.b1b = Unit(a, b1a), Unit(b1a, b1b, 3)
    self.b2a, self.b2b = Unit(a, b2a), Unit(b2a, b2b, 3)

  def forward(self, x):
    one, two = self.b1b(self.b1a(x)), self.b2b(self.b2a(x))
    return torch.cat([self.b0(x), one, two, self.b3b(pool(x, (3,) * 3, (1,) * 3))], 1)


class I3D(nn.Module):
  def __init__(self):
    super().__init__()
    self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
    self.Conv3d_2b_1x1, self.Conv3d_2c_3x3 = Unit(64, 64), Unit(64, 192, 3)
    a = 192
    for name, widths in (
      ('3b', (64, 96, 128, 16, 32, 32)),
      ('3c', (128, 128, 192, 32, 96, 64)),
      ('4b', (192, 96, 208, 16, 48, 64)),
      ('4c', (160, 112, 224, 24, 64, 64)),
      ('4d', (128, 128, 256, 24, 64, 64)),
      ('4e', (112, 144, 288, 32, 64, 64)),
      ('4f', (256, 160, 320, 32, 128, 128)),
      ('5b', (256, 160, 320, 32, 128, 128)),
      ('5c', (384, 192, 384, 48, 128, 128)),
    ):
      setattr(self, f'Mixed_{name}', Mixed(a, *widths))
      a = sum(widths[i] for i in (0, 2, 4, 5))
    self.logits = Unit(a, 400, last=True)

  def forward(self, x):
    x = pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
    x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
    x = pool(self.Mixed_3c(self.Mixed_3b(x)), (3, 3, 3), (2, 2, 2))
    for name in 'bcdef':
      x = getattr(self, f'Mixed_4{name}')(x)
    x = self.Mixed_5c(self.Mixed_5b(pool(x, (2, 2, 2), (2, 2, 2))))
    # At 224 pixels these are the windows 2x7x7 of the original.
    return self.logits(F.avg_pool3d(x, (2, *x.shape[3:]), 1)).mean((2, 3, 4))


@pytest.fixture(scope='module')
def network():
  torch.manual_seed(0)
  net = I3D().eval()
  for module in net.modules():
    if isinstance(module, nn.BatchNorm3d):
      for x in (module.weight, module.bias, module.running_mean):
        nn.init.normal_(x, 1.0 if x is module.weight else 0.0, 0.1)
      nn.init.uniform_(module.running_var, 0.5, 1.5)
    elif isinstance(module, nn.Conv3d):
      nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
  return net


def test_logits(network):
  """Of sides at which SAME pads evenly and unevenly, and of 3 frames before the mean over time: the ends weigh half."""
  x = np.random.default_rng(0).uniform(-1, 1, (1, 17, 33, 40, 3))
  with torch.no_grad():
    want = network.double()(torch.tensor(x).permute(0, 4, 1, 2, 3)).numpy()
  with jax.enable_x64(True):
    tensors = {n: x.numpy() for n, x in network.state_dict().items() if 'num' not in n}
    variables = i3d.convert(tensors)
    run = jax.jit(i3d.Network(dtype='float64').apply, compiler_options=backend.quick_compilation())
    found = run(variables, x)['features']
  assert found.shape == (1, 400) and np.abs(want).max() > 0.1
  np.testing.assert_allclose(found, want, atol=1e-9 * np.abs(want).max())


def test_the_file_goes_through_the_restricted_reader(network, tmp_path):
  path = tmp_path / 'rgb_imagenet.pt'
  torch.save(network.float().state_dict(), path)
  assert len(torch_file.read(path.read_bytes(), str(path))) == 57 * 6 + 2
  extractor = features.load('i3d', path)
  assert extractor.info['weights_verified'] is False and extractor.info['network'] == 'i3d'
  assert extractor.info['resize'] == 'tf1_bilinear' and extractor.info['size'] == 224
  clips = np.zeros((2, 8, 16, 16, 1), np.uint8)
  with pytest.raises(UserError, match='I3D takes clips of 9 frames and more, and these have 8'):
    jax.eval_shape(extractor.apply, extractor.variables, clips)
  found = jax.eval_shape(extractor.apply, extractor.variables, np.zeros((2, 9, 16, 16, 1)))
  assert found['features'].shape == (2, 400)
  with pytest.raises(UserError, match='no tensor .logits.conv3d.weight.*another network'):
    i3d.convert({n: x.numpy() for n, x in network.state_dict().items() if 'logits' not in n})
