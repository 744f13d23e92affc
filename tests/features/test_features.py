"""Loading a feature network by name: what every network has, and what a new one needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, features
from ganjax.devices import backend, sharding
from ganjax.features.layers import Conv

TINY = """
import flax.linen as nn
import jax.numpy as jnp
from ganjax.features import layers, weights

FILE = weights.File('tiny-00000000.pth', '00000000')
SIZE, RESIZE, SCALE = 16, 'pil_bilinear', (128.0, 1 / 128)

class Network(nn.Module):
  dtype: object = jnp.float32

  @nn.compact
  def __call__(self, x):
    x = layers.Conv(8, (3, 3), 2, layers.pads((3, 3)), name='conv')(x.astype(self.dtype))
    x = layers.InvertedResidual(8, 5, 1, 2, True, name='block')(x)
    return {'features': layers.mean(x), 'pixels': x}

def convert(tensors):
  names = lambda path: (path.replace('/', '.'), None)
  return layers.convert(Network(), SIZE, tensors, names, eps=0)
"""
LAYERS = {
  'conv': (8, 3, 3, 3),
  'block.expand': (16, 8, 1, 1),
  'block.depthwise': (16, 1, 5, 5),
  'block.project': (8, 16, 1, 1),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


@pytest.fixture
def path(tmp_path, monkeypatch):
  """A new network, which is one file among the others, and its weights."""
  folder = tmp_path / 'features'
  folder.mkdir()
  (folder / 'tiny.py').write_text(TINY)
  monkeypatch.setattr(features, '__path__', [*features.__path__, str(folder)])
  rng = np.random.default_rng(1)
  tensors = {f'{n}.weight': rng.normal(0, 0.3, s).astype(np.float32) for n, s in LAYERS.items()}
  tensors |= {f'{n}.bias': rng.normal(size=s[0]).astype(np.float32) for n, s in LAYERS.items()}
  np.savez(tmp_path / 'tiny.npz', **tensors)
  return tmp_path / 'tiny.npz'


def test_a_network_is_one_file(path):
  assert {'efficientnet_lite0', 'inception', 'mobilenet_v2', 'tiny'} <= set(features.names())
  assert not {'weights', 'resize', 'layers'} & set(features.names())
  assert features.names('clip') == ['i3d'] and 'tiny' in features.names('image')
  extractor = features.load('tiny', path)
  found = jax.jit(extractor.apply)(extractor.variables, IMAGES)
  assert found['features'].shape == (3, 8) and found['features'].dtype == jnp.float32
  assert extractor.info == {
    'network': 'tiny',
    'weights_file': 'tiny.npz',
    'weights_sha256': extractor.info['weights_sha256'],
    'weights_verified': False,
    'resize': 'pil_bilinear',
    'scale': [128.0, 1 / 128],
    'size': 16,
    'dtype': 'float32',
  }


def test_grey_images_are_three_equal_channels_and_floats_pixel_values(path):
  extractor = features.load('tiny', path)
  grey = IMAGES[..., :1]
  want = extractor.apply(extractor.variables, np.repeat(grey, 3, 3))['features']
  found = extractor.apply(extractor.variables, grey.astype(np.float32))['features']
  np.testing.assert_allclose(found, want, rtol=1e-6)


def test_a_network_of_images_sees_the_frames_of_clips(path):
  extractor = features.load('tiny', path)
  found = extractor.apply(extractor.variables, np.stack([IMAGES, IMAGES[::-1]]))
  want = extractor.apply(extractor.variables, IMAGES)
  for name in 'features', 'pixels':
    assert found[name].shape == (2, *want[name].shape)
    np.testing.assert_allclose(found[name][0], want[name], rtol=1e-5)
    np.testing.assert_allclose(found[name][1], want[name][::-1], rtol=1e-5)


def test_scale_resize_and_dtype_can_be_chosen(path):
  def run(images, **kwargs):
    extractor = features.load('tiny', path, **kwargs)
    return np.asarray(extractor.apply(extractor.variables, images)['features']), extractor.info

  want, _ = run(IMAGES)
  other, info = run(IMAGES, scale=((0.0, 128.0, 128.0), 1 / 128))
  shifted = IMAGES.astype(np.float32) + np.float32([128, 0, 0])
  np.testing.assert_allclose(other, run(shifted)[0], rtol=1e-5)
  assert info['scale'] == [[0.0, 128.0, 128.0], 1 / 128]
  coarse, info = run(IMAGES[:, ::2, ::2], resize='tf1_bilinear')
  wanted, _ = run(np.asarray(features.resizing.resize(IMAGES[:, ::2, ::2], 16, 'tf1_bilinear')))
  np.testing.assert_allclose(coarse, wanted, rtol=1e-5)
  assert info['resize'] == 'tf1_bilinear'
  half, info = run(IMAGES, dtype='bfloat16')
  assert info['dtype'] == 'bfloat16' and half.dtype == np.float32
  assert 1e-5 < np.abs(half - want).max() < 0.02 * np.abs(want).max()


def test_depthwise_by_our_form_is_the_convolution_of_xla():
  conv = Conv(6, (5, 3), 2, ((1, 2), (0, 1)), depthwise=True)
  rng = np.random.default_rng(2)
  x = rng.normal(size=(2, 11, 9, 6)).astype(np.float32)
  shapes = jax.eval_shape(conv.init, jax.random.key(0), x)['params']
  w = rng.normal(size=shapes['kernel'].shape).astype(np.float32)
  np.testing.assert_allclose(conv._ours(x, w), conv._native(x, w), atol=1e-4)


def test_options_for_compilation_keep_convolutions_from_ynnpack_and_are_left_where_unknown():
  options = backend.forward_compilation()
  network = jax.jit(Conv(32, (3, 3), pads=((1, 1), (1, 1))).apply, compiler_options=options)
  x = jnp.ones((2, 16, 16, 32))
  variables = {'params': {'kernel': jnp.ones((3, 3, 32, 32)), 'bias': jnp.ones(32)}}
  assert options and '__ynn_fusion' not in network.lower(variables, x).compile().as_text()
  assert backend._are_known(**options) and not backend._are_known(xla_cpu_no_such_option=True)
  with jax.sharding.use_abstract_mesh(sharding.abstract_mesh(2, 'gpu')):
    assert backend.forward_compilation() == {}


def test_what_cannot_be_is_refused(path):
  for args, kwargs, message in (
    (('inceptoin',), {}, 'inceptoin.*efficientnet_lite0, i3d, inception, .*mobilenet_v2'),
    (('tiny', path), {'resize': 'lanczos'}, 'lanczos.*tf1_bilinear'),
    (('tiny', path), {'dtype': 'float16'}, 'float16.*bfloat16'),
    (('mobilenet_v2', path), {}, 'features.1.conv.0.0.weight'),
  ):
    with pytest.raises(UserError, match=message):
      features.load(*args, **kwargs)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', ['efficientnet_lite0', 'vgg19'])
def test_networks_that_methods_look_through_see_scaled_pixel_values(name, channels):
  """Each by its own offset and factor; a grey picture is three equal channels."""
  pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, channels)).astype(np.float32)
  offset, factor = features.module(name).SCALE
  wanted = (np.broadcast_to(pixels, (2, 4, 5, 3)) - offset) * factor
  np.testing.assert_allclose(features.see(name, jnp.asarray(pixels / 127.5 - 1)), wanted, atol=2e-5)
