"""Spectral normalization: sigma, when u moves, gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.spectral import SpectralNorm

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 4, 3)).astype(np.float32)
LAYERS = {
  'conv': (Conv(5, 3, padding=1, use_bias=False), X, (3, 0, 1, 2)),
  'transposed': (ConvTranspose(5, 4, stride=2, padding=1, use_bias=False), X, (2, 0, 1, 3)),
  'dense': (nn.Dense(5, use_bias=False), X, (1, 0)),
  'embed': (ClassEmbed(10, 4), np.arange(10), (0, 1)),
}


def matrix(variables, axes):
  (w,) = variables['params']['layer'].values()
  w = np.transpose(w, axes)
  return w.reshape(len(w), -1)


@pytest.mark.parametrize('name', LAYERS)
def test_sigma_is_the_largest_singular_value(name):
  layer, x, axes = LAYERS[name]
  net = SpectralNorm(layer, n_steps=300)
  v = net.init(jax.random.key(0), x)
  plain = layer.apply({'params': v['params']['layer']}, x)
  sigma = np.linalg.svd(matrix(v, axes), compute_uv=False)[0]
  np.testing.assert_allclose(net.apply(v, x), plain / sigma, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', LAYERS)
def test_one_iteration_is_algorithm_1(name):
  layer, x, axes = LAYERS[name]
  net = SpectralNorm(layer)
  v = net.init(jax.random.key(0), x)
  w, u = matrix(v, axes), np.asarray(v['spectral_norm']['u'])
  np.testing.assert_allclose(np.linalg.norm(u), 1, rtol=1e-6)
  right = w.T @ u / np.linalg.norm(w.T @ u)
  left = w @ right / np.linalg.norm(w @ right)
  y, new = net.apply(v, x, mutable=['spectral_norm'])
  np.testing.assert_allclose(new['spectral_norm']['u'], left, rtol=1e-5, atol=1e-6)
  plain = layer.apply({'params': v['params']['layer']}, x)
  np.testing.assert_allclose(y, plain / (left @ w @ right), rtol=1e-4, atol=1e-6)


def test_iterations_add_up_over_calls_and_the_length_of_u_is_no_matter():
  layer, x, _ = LAYERS['conv']
  v = SpectralNorm(layer).init(jax.random.key(0), x)
  many = SpectralNorm(layer, n_steps=3).apply(v, x)
  shorter = {**v, 'spectral_norm': {'u': v['spectral_norm']['u'] * 0.3}}  # as an average's
  for _ in range(3):
    y, new = SpectralNorm(layer).apply(shorter, x, mutable=['spectral_norm'])
    shorter = {**v, **new}
  np.testing.assert_allclose(y, many, rtol=1e-4, atol=1e-6)


class Block(nn.Module):
  """A residual block and a linear layer, with or without spectral normalization."""

  spectral: bool

  @nn.compact
  def __call__(self, x):
    wrap = SpectralNorm if self.spectral else lambda layer: layer
    h = wrap(Conv(6, 3, padding=1))(nn.relu(x))
    h = wrap(Conv(6, 3, padding=1))(nn.relu(h)) + wrap(Conv(6, 1))(x)
    return wrap(nn.Dense(1))(h.mean((1, 2)))[:, 0]


def test_a_network_keeps_its_parameters_and_equals_one_with_divided_weights():
  net = Block(True)
  v = net.init(jax.random.key(0), X)
  assert jax.tree.map(jnp.shape, v['params']) == jax.tree.map(
    jnp.shape, Block(False).init(jax.random.key(0), X)['params']
  )
  call = jax.jit(lambda v: net.apply(v, X, mutable=['spectral_norm'])[1])
  for _ in range(200):
    v |= call(v)

  def divided(params):
    def leaf(w):
      return w / jnp.linalg.norm(w.reshape(-1, w.shape[-1]), 2) if w.ndim > 1 else w

    return jax.tree.map(leaf, params)

  def penalty(run, x):  # through first derivatives in x, so gradients of it are second ones
    grads = jax.grad(lambda x: run(x).sum())(x)
    return (run(x) ** 2).sum() + (grads**2).sum()

  ours = jax.jit(jax.grad(lambda p: penalty(lambda x: net.apply({**v, 'params': p}, x), X)))
  theirs = jax.jit(
    jax.grad(lambda p: penalty(lambda x: Block(False).apply({'params': divided(p)}, x), X))
  )
  a, b = ours(v['params']), theirs(v['params'])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), a, b)


@pytest.mark.parametrize('name', LAYERS)
def test_gradients_hold_u_and_v_before_they_have_converged(name):
  """After one iteration from a random u, v still depends much on W: its gradient must not go through it."""
  layer, x, axes = LAYERS[name]
  net = SpectralNorm(layer)
  v = net.init(jax.random.key(0), x)
  w, u = matrix(v, axes), np.asarray(v['spectral_norm']['u'])
  right = w.T @ u / np.linalg.norm(w.T @ u)
  left = w @ right / np.linalg.norm(w @ right)
  plain = layer.apply({'params': v['params']['layer']}, x)
  target = RNG.normal(size=plain.shape)

  def held(params):
    (weights,) = params.values()
    rows = jnp.transpose(weights, axes).reshape(w.shape)
    return jnp.sum(layer.apply({'params': params}, x) / (left @ rows @ right) * target)

  run = lambda params: jnp.sum(net.apply({**v, 'params': {'layer': params}}, x) * target)
  a, b = jax.grad(run)(v['params']['layer']), jax.grad(held)(v['params']['layer'])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), a, b)


def test_u_moves_only_where_it_may():
  net = Block(True)
  v = net.init(jax.random.key(0), X)
  assert set(v) == {'params', 'spectral_norm'}
  y = net.apply(v, X)  # nothing is mutable: no new collection comes back
  assert y.shape == (2,)
  _, other = net.apply(v, X, mutable=['batch_stats'])
  assert 'spectral_norm' not in other
  _, new = net.apply(v, X, mutable=['spectral_norm'])
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), v['spectral_norm'], new['spectral_norm'])
  # The last layer has one output: u is a number, 1 or -1, and can only keep it.
  assert [name for name in moved if not moved[name]['u']] == ['SpectralNorm_3']


def test_bfloat16_and_float64_layers():
  for dtype, found in (('bfloat16', jnp.float32), ('float64', jnp.float64)):
    with jax.enable_x64(dtype == 'float64'):
      net = SpectralNorm(nn.Dense(3, dtype=dtype, param_dtype=dtype))
      v = net.init(jax.random.key(0), X)
      assert v['spectral_norm']['u'].dtype == found
      assert net.apply(v, X).dtype == dtype
