"""Networks: layers by hand, parameter counts by formula, what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.networks import cnn, mlp
from ganjax.update import count


def shapes(net, x):
  """(parameter count, output) of a network as shapes."""
  variables = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), x)
  out = jax.eval_shape(lambda v, x: net.apply(v, x, train=False), variables, x)
  return count(variables['params']), out


def convs(*layers):
  """Weights and biases of layers (kernel, channels in, channels out)."""
  return sum(k * k * i * o + o for k, i, o in layers)


@pytest.mark.parametrize('size, channels', [(28, 1), (32, 3)])
def test_mlp_has_the_papers_sizes_at_any_picture(size, channels):
  nets, pixels = mlp.build(resolution=size, channels=channels), size * size * channels
  G, image = shapes(nets['G'], jnp.zeros((2, 100)))
  assert image.shape == (2, size, size, channels)
  assert 101 * 1200 + 1201 * 1200 + 1201 * pixels == G
  D, logits = shapes(nets['D'], image)
  assert logits.shape == (2,)
  assert (pixels + 1) * 1200 + 241 * 1200 + 241 == D  # 240 units of 5 pieces


def test_a_maxout_unit_is_the_largest_of_its_pieces():
  D = mlp.build(resolution=2, channels=1, width=10)['D']
  x = np.random.default_rng(0).normal(size=(3, 2, 2, 1)).astype(np.float32)
  variables = D.init(jax.random.key(0), x, train=False)
  layers = [variables['params'][f'Dense_{i}'] for i in range(3)]
  assert max(np.abs(layer['kernel']).max() for layer in layers) <= 0.005
  h = x.reshape(3, 4)
  for layer in layers[:2]:
    h = h @ np.asarray(layer['kernel']) + np.asarray(layer['bias'])
    h = np.stack([h[:, :5].max(1), h[:, 5:].max(1)], 1)
  expected = h @ np.asarray(layers[2]['kernel'])[:, 0] + np.asarray(layers[2]['bias'])
  np.testing.assert_allclose(D.apply(variables, x, train=False), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('size, base', [(32, 4), (48, 6)])
def test_cnn_has_the_published_layers(size, base):
  nets, w = cnn.build(resolution=size, channels=3), 64
  G, image = shapes(nets['G'], jnp.zeros((2, 100)))
  assert image.shape == (2, size, size, 3)
  norms = 2 * (512 + 256 + 128 + 64)
  up = convs((4, 512, 256), (4, 256, 128), (4, 128, 64), (3, 64, 3))
  assert 101 * base * base * 512 + up + norms == G
  D, logits = shapes(nets['D'], image)
  assert logits.shape == (2,)
  down = [
    (3, 3, w),
    (4, w, 2 * w),
    (3, 2 * w, 2 * w),
    (4, 2 * w, 4 * w),
    (3, 4 * w, 4 * w),
    (4, 4 * w, 8 * w),
  ]
  assert convs(*down, (3, 8 * w, 8 * w)) + base * base * 512 + 1 == D


def test_the_cnn_treats_images_apart():
  """What a gradient penalty needs: no image has a part in another's logit."""
  D = cnn.build(resolution=16, channels=1, width=2)['D']
  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16, 16, 1)), jnp.float32)
  variables = jax.jit(lambda x: D.init(jax.random.key(0), x, train=False))(x)
  slopes = jax.jit(jax.jacrev(lambda x: D.apply(variables, x, train=True)))(
    x
  )  # [logit, image, ...]
  sizes = np.abs(slopes).sum((2, 3, 4))
  assert (np.diag(sizes) > 0).all() and (sizes[~np.eye(3, dtype=bool)] == 0).all()


@pytest.mark.parametrize('network, arguments, message', [
  (mlp, dict(width=12), r'width=12 must be a multiple of 5'),
  (mlp, dict(width=0), r'width=0'),
  (cnn, dict(resolution=20), r'resolution=20 must be a multiple of 8 from 16'),
  (cnn, dict(resolution=8), r'resolution=8 must'),
  (cnn, dict(width=0), r'width=0'),
])  # fmt: skip
def test_what_networks_refuse(network, arguments, message):
  with pytest.raises(UserError, match=message):
    network.build(**{'resolution': 32, 'channels': 3, **arguments})
