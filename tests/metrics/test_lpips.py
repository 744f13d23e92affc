"""LPIPS against the package `lpips`, and what a distance must be.

lpips.npz holds `{net}_float64` [3]: distances of `pairs()` by lpips 0.1.4, `LPIPS(net=..., pnet_rand=True).double()`
(torchvision 0.29.1), with the weights that `seeded()` gives put in by load_state_dict.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.metrics import lpips

GOLDEN = np.load(Path(__file__).parent / 'lpips.npz')
SIZES = {'alex': 64, 'vgg16': 32}


def seeded(net):
  """Random weights of trunk and lin, in torch's layout; float32."""
  rng = np.random.default_rng(0)
  trunk, lin, channels = {}, {}, 3
  for layer in lpips.NETS[net].layers:
    shape = layer.features, channels, layer.kernel, layer.kernel
    w = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    trunk[f'features.{layer.index}.weight'] = w
    trunk[f'features.{layer.index}.bias'] = 0.1 * rng.standard_normal(shape[0], np.float32)
    channels = layer.features
    if layer.tap:
      lin[f'lin{len(lin)}.model.1.weight'] = rng.random((1, channels, 1, 1), np.float32)
  return trunk, lin


def pairs(size):
  """Two batches [3, size, size, 3]: noise against noise, against itself disturbed, against a flat picture."""
  rng = np.random.default_rng(1)
  a = rng.uniform(-1, 1, (3, size, size, 3)).astype(np.float32)
  b = rng.uniform(-1, 1, a.shape).astype(np.float32)
  b[1] = np.clip(a[1] + 0.05 * b[1], -1, 1)
  b[2] = 0.25
  return a, b


@pytest.mark.parametrize('net', ['alex', 'vgg16'])
def test_equals_the_package(net):
  variables = lpips.convert(*seeded(net), net)
  a, b = pairs(SIZES[net])
  found = jax.jit(lpips.distance, static_argnames='net')(variables, a, b, net=net)
  assert found.shape == (3,) and found.dtype == jnp.float32
  np.testing.assert_allclose(found, GOLDEN[f'{net}_float64'], rtol=2e-5)


def test_equals_the_package_in_double_precision():
  """So the agreement is one of definitions, not of tolerances."""
  with jax.enable_x64(True):
    wide = lambda x: jax.tree.map(lambda y: np.asarray(y, np.float64), x)
    trunk, lin = seeded('alex')
    a, b = pairs(64)
    found = lpips.distance(wide(lpips.convert(trunk, lin, 'alex')), wide(a), wide(b), 'alex')
  np.testing.assert_allclose(found, GOLDEN['alex_float64'], rtol=1e-6)


def test_a_distance(tmp_path):
  """Through files; zero of equal images, symmetric, not of the batch, growing with the disturbance."""
  trunk, lin = seeded('alex')
  np.savez(tmp_path / 'trunk.npz', **trunk)
  np.savez(tmp_path / 'lin.npz', **lin)
  variables, info = lpips.load('alex', tmp_path / 'trunk.npz', tmp_path / 'lin.npz')
  assert info['network'] == 'lpips_alex' and info['version'] == '0.1'
  assert info['trunk_file'] == 'trunk.npz' and not info['lin_verified']
  a, b = pairs(64)
  distance = jax.jit(lambda a, b: lpips.distance(variables, a, b, 'alex'))
  ab = distance(a, b)
  np.testing.assert_array_equal(distance(a, a), 0)
  np.testing.assert_allclose(ab, distance(b, a), rtol=1e-5)
  np.testing.assert_allclose(ab[::-1], distance(a[::-1], b[::-1]), rtol=1e-5)
  assert 0 < ab[1] < ab[0]


def test_bad_input():
  variables = lpips.convert(*seeded('alex'), 'alex')
  image = np.zeros((2, 64, 64, 3), np.float32)
  for a, b in ((image, image[:1]), (image[..., :1], image[..., :1]), (image[0], image[0])):
    with pytest.raises(UserError, match='one shape'):
      lpips.distance(variables, a, b)
  small = np.zeros((1, 16, 16, 3), np.float32)
  with pytest.raises(UserError, match='too small'):
    lpips.distance(variables, small, small)
  with pytest.raises(UserError, match="net 'vgg'"):
    lpips.load('vgg')
  trunk, lin = seeded('alex')
  with pytest.raises(UserError, match='features.0.weight'):
    lpips.convert(trunk, lin, 'vgg16')
  with pytest.raises(UserError, match="no tensor 'lin4"):
    lpips.convert(trunk, {k: v for k, v in lin.items() if 'lin4' not in k}, 'alex')


def test_missing_weights_are_one_clear_line(monkeypatch, tmp_path):
  monkeypatch.setenv('GANJAX_CACHE_DIR', str(tmp_path))
  monkeypatch.setenv('TORCH_HOME', str(tmp_path))

  def refuse(url, timeout):
    raise OSError('no network')

  monkeypatch.setattr('urllib.request.urlopen', refuse)
  with pytest.raises(UserError, match='download.pytorch.org/models/vgg16-397923af.pth failed'):
    lpips.load('vgg16')
