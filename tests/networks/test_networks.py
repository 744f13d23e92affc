"""Networks: layers by hand, parameter counts by formula, what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.networks import cnn, dcgan, mlp
from ganjax.update import count


def shapes(net, x, label=None):
  """(parameter count, output) of a network as shapes."""
  variables = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, label, train=False), x)
  out = jax.eval_shape(lambda v, x: net.apply(v, x, label, train=False), variables, x)
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


def test_the_conditional_mlp_has_the_papers_sizes():
  """Units of arXiv:1411.1784, section 4.1; a label's layer has no bias beside its table."""
  nets, label = mlp.build(resolution=28, channels=1, num_classes=10), np.zeros(2, int)
  G, image = shapes(nets['G'], jnp.zeros((2, 100)), label)
  assert image.shape == (2, 28, 28, 1)
  assert G == 101 * 200 + 10 * 1000 + 1201 * 1200 + 1201 * 784
  D, logits = shapes(nets['D'], image, label)
  assert logits.shape == (2,)
  assert D == 785 * 240 * 5 + 10 * 50 * 5 + (240 + 50 + 1) * 240 * 4 + 241
  assert nets['G'].num_classes == nets['D'].num_classes == 10


def test_dropout_is_of_training_alone():
  nets, label = (
    mlp.build(resolution=4, channels=1, width=60, num_classes=3, dropout=True),
    np.array([2, 0]),
  )
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
  v = nets['D'].init(jax.random.key(0), x, label, train=False)
  run = lambda seed, net=nets['D'], train=True: net.apply(
    v, x, label, train=train, rngs={'dropout': jax.random.key(seed)}
  )
  assert np.abs(run(0) - run(1)).min() > 0
  plain = mlp.build(resolution=4, channels=1, width=60, num_classes=3)['D']
  np.testing.assert_array_equal(run(0, train=False), plain.apply(v, x, label, train=True))


def test_the_conditional_mlp_by_hand():
  """Label and picture or z meet in the second layer; weights of a class are its label."""
  nets, label = mlp.build(resolution=2, channels=1, width=60, num_classes=3), np.array([2, 0, 1])
  rng = np.random.default_rng(0)
  relu = lambda x: np.maximum(x, 0)
  pieces = lambda k: lambda x: x.reshape(3, -1, k).max(2)
  for net, x, first, second in (
    ('G', rng.normal(size=(3, 4)), relu, relu),
    ('D', rng.normal(size=(3, 2, 2, 1)), pieces(5), pieces(4)),
  ):
    v = nets[net].init(jax.random.key(0), x, label, train=False)
    w = v['params'] = jax.tree.map(lambda w: rng.normal(size=w.shape) / 4, v['params'])
    dense = lambda i, x, w=w: x @ w[f'Dense_{i}']['kernel'] + w[f'Dense_{i}']['bias']
    of_label = first(w['ClassEmbed_0']['embedding'][label])
    y = dense(2, second(dense(1, np.concatenate([first(dense(0, x.reshape(3, 4))), of_label], 1))))
    wanted = np.tanh(y).reshape(3, 2, 2, 1) if net == 'G' else y[:, 0]
    for given in (label, np.eye(3)[label]):
      found = nets[net].apply(v, x, given, train=False)
      np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match='num_classes=3.*no labels'):
      nets[net].apply(v, x, train=False)


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


@pytest.mark.slow
def test_the_cnns_spectral_norm_is_of_every_layer_of_d():
  nets = cnn.build(resolution=16, channels=1, width=2, spectral=True)
  plain = cnn.build(resolution=16, channels=1, width=2)
  x = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
  start = lambda net, x: jax.jit(lambda x: net.init(jax.random.key(0), x, train=False))(x)
  v = start(nets['D'], x)
  assert len(v['spectral_norm']) == 8 == len(v['params'])
  assert 'spectral_norm' not in jax.eval_shape(lambda: start(nets['G'], jnp.zeros((2, 4))))
  # Without biases the logits are linear in each layer's weights, but for LeakyReLU's sign.
  run = jax.jit(lambda v: nets['D'].apply(v, x, train=False))
  for layer in v['params'].values():
    layer['kernel'] *= 3
  scaled = run(v)
  for layer in v['params'].values():
    layer['kernel'] /= 3
  np.testing.assert_allclose(scaled, run(v), rtol=1e-4)
  own = plain['D'].apply({'params': v['params']}, x, train=False)
  assert np.abs(own - run(v)).max() > 0.1 * np.abs(own).max()


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


@pytest.mark.parametrize('network', [cnn, dcgan, mlp])
def test_networks_without_classes_say_so(network):
  nets = network.build(resolution=32, channels=3)
  assert nets['G'].num_classes == nets['D'].num_classes == 0


@pytest.mark.parametrize('network, arguments, message', [
  (mlp, dict(width=12), r'width=12 must be a multiple of 5'),
  (mlp, dict(width=0), r'width=0'),
  (mlp, dict(width=20, num_classes=3), r'with classes networks.width=20 at least 24'),
  (mlp, dict(num_classes=-1), r'num_classes=-1 must be at least 0'),
  (cnn, dict(resolution=20), r'resolution=20 must be a multiple of 8 from 16'),
  (cnn, dict(resolution=8), r'resolution=8 must'),
  (cnn, dict(width=0), r'width=0'),
])  # fmt: skip
def test_what_networks_refuse(network, arguments, message):
  with pytest.raises(UserError, match=message):
    network.build(**{'resolution': 32, 'channels': 3, **arguments})
