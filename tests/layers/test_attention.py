"""SAGAN's self-attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.layers.attention import SelfAttention
from ganjax.layers.spectral import SpectralNorm

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 6, 16)).astype(np.float32)


def attend(x, params):
  """By loops over samples, pixels and windows."""
  w = {name: np.asarray(params[name]['kernel'])[0, 0] for name in ('query', 'key', 'value', 'out')}
  out = np.empty_like(x)
  for n, image in enumerate(x):
    keys, values = [], []
    for i in range(0, image.shape[0], 2):
      for j in range(0, image.shape[1], 2):
        window = [image[i + a, j + b] for a in (0, 1) for b in (0, 1)]
        keys.append(np.max([pixel @ w['key'] for pixel in window], 0))
        values.append(np.max([pixel @ w['value'] for pixel in window], 0))
    for i in range(image.shape[0]):
      for j in range(image.shape[1]):
        scores = np.exp([image[i, j] @ w['query'] @ key for key in keys])
        found = sum(s * v for s, v in zip(scores / scores.sum(), values))
        out[n, i, j] = image[i, j] + params['gamma'] * (found @ w['out'])
  return out


def test_is_the_loop_and_starts_as_the_identity():
  net = SelfAttention(kernel_init=jax.nn.initializers.normal(0.5))
  v = net.init(jax.random.key(0), X)
  shapes = {name: w.get('kernel').shape for name, w in v['params'].items() if name != 'gamma'}
  assert shapes == {
    'query': (1, 1, 16, 2),
    'key': (1, 1, 16, 2),
    'value': (1, 1, 16, 8),
    'out': (1, 1, 8, 16),
  }
  np.testing.assert_array_equal(net.apply(v, X), X)
  params = {**v['params'], 'gamma': jnp.float32(0.7)}
  y = net.apply({'params': params}, X)
  np.testing.assert_allclose(y, attend(X, params), rtol=1e-4, atol=1e-5)
  assert np.abs(y - X).max() > 0.1


def test_gamma_learns_from_the_start():
  net = SelfAttention()
  v = net.init(jax.random.key(0), X)
  grads = jax.grad(lambda params: (net.apply({'params': params}, X) ** 3).sum())(v['params'])
  assert abs(grads['gamma']) > 1e-3


def test_wraps_every_convolution():
  net = SelfAttention(wrap=SpectralNorm)
  v = net.init(jax.random.key(0), X)
  assert len(jax.tree.leaves(v['spectral_norm'])) == 4
  assert v['params'].keys() == SelfAttention().init(jax.random.key(0), X)['params'].keys()


def test_bfloat16():
  params = {**SelfAttention().init(jax.random.key(0), X)['params'], 'gamma': jnp.float32(1)}
  y = SelfAttention(dtype='bfloat16').apply({'params': params}, jnp.asarray(X, jnp.bfloat16))
  assert y.dtype == jnp.bfloat16
  wanted = SelfAttention().apply({'params': params}, X)
  np.testing.assert_allclose(np.asarray(y, np.float32), wanted, atol=0.1)


@pytest.mark.parametrize('shape, line', [((1, 4, 4, 12), 'multiples of 8'), ((1, 5, 4, 8), 'even')])
def test_refuses(shape, line):
  with pytest.raises(UserError, match=line):
    SelfAttention().init(jax.random.key(0), jnp.zeros(shape))
