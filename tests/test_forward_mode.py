"""Discriminators in forward mode: derivatives in a direction, Hessians times a vector, as reverse mode has them."""

import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow

from ganjax import networks

BIG = dict(resolution=32, num_classes=3, width=4, width_D=4, shared_dim=4)
SIZES = {
  'biggan': BIG,
  'biggan_deep': BIG,
  'cnn': dict(resolution=16, width=4, spectral=True),
  'dcgan': dict(resolution=32, width=4),
  'mlp': dict(resolution=8, width=20),
  'r3gan': dict(resolution=8, width=8, blocks=1, cardinality=2),
  'resnet': dict(resolution=32, width=4, width_D=4, bilinear=True),
  'stylegan2': dict(resolution=8, width=4, num_classes=3, mapping_layers_D=1),
}


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def case(name):
  """A scalar of (parameters, pictures) of a discriminator, a point, a direction."""
  size = dict(channels=3, dtype='float64', param_dtype='float64', **SIZES[name])
  net = importlib.import_module(f'ganjax.networks.{name}').build(**size)['D']
  label = np.array([0, 1]) if 'num_classes' in size else None
  x = jnp.zeros((2, size['resolution'], size['resolution'], 3))
  draws = np.random.default_rng(0)
  normal = lambda tree: jax.tree.map(lambda a: jnp.asarray(draws.normal(size=a.shape)), tree)
  shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, label, train=True), x)
  variables = jax.tree.map(lambda a: 0.3 * a, normal(shapes))
  stats = {kind: tree for kind, tree in variables.items() if kind != 'params'}

  def function(params, x):
    variables = {'params': params, **stats}
    out = net.apply(variables, x, label, train=True, mutable=[*stats])[0]
    return jnp.sum(jnp.sin(out + jnp.arange(out.size).reshape(out.shape)))

  point = variables['params'], normal(x)
  return function, point, normal(point)


def dot(a, b):
  return sum(map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b)))


# Of the same layers as those above; their discriminators take pairs, texts, features, maps of several sizes, a fade, or
# what is no picture.
OTHERS = {'cut', 'cyclegan', 'fastgan', 'pix2pix', 'projected', 'progressive', 'stylegan'}
OTHERS |= {
  'srresnet',
  'rrdb',
  'real_esrgan',
  'srvgg',
  'stylegan3',
  'wavegan',
  'specgan',
  'gan3d',
  'characters',
}
OTHERS |= {'musegan', 'molgan'}
OTHERS |= {'adain', 'attngan', 'can', 'dvdgan', 'gangogh', 'dfgan', 'gan_cls', 'mocogan'}
OTHERS |= {'vid2vid'}


def test_no_network_is_missing():
  found = {module.name for module in pkgutil.iter_modules(networks.__path__)}
  assert found == SIZES.keys() | OTHERS


def slopes(f, point, v):
  """The derivative in a direction: forward, and by the gradient."""
  return jax.jvp(f, point, v)[1], dot(jax.grad(f, (0, 1))(*point), v)


LARGE = 'biggan', 'biggan_deep', 'cnn', 'dcgan', 'resnet'  # whose Hessians take long to compile


@pytest.mark.parametrize('name', slow.but(LARGE, 'dcgan', 'resnet'))
def test_a_derivative_in_a_direction_is_that_of_the_gradient(name):
  f, point, v = case(name)
  forward, reverse = jax.jit(lambda *args: slopes(f, *args))(point, v)
  np.testing.assert_allclose(forward, reverse, rtol=1e-10)
  assert abs(forward) > 1e-6


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LARGE]


@pytest.mark.parametrize('name', [*(name for name in SIZES if name not in LARGE), *SLOW])
def test_hessian_times_vector_forward_over_reverse(name):
  f, point, v = case(name)
  gradient = jax.grad(f, (0, 1))

  @jax.jit
  def both(point, v):
    along = lambda *point: dot(gradient(*point), v)
    second = jax.jvp(gradient, point, v)[1], jax.grad(along, (0, 1))(*point)
    return slopes(f, point, v), second

  first, (forward, reverse) = both(point, v)
  np.testing.assert_allclose(*first, rtol=1e-10)
  scale = float(dot(reverse, reverse)) ** 0.5
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10 * scale), forward, reverse
  )
  assert abs(first[0]) > 1e-6 and scale > 1e-6
