"""Networks that grow, those of StyleGAN too: published sizes, what a fade is at its ends, refusals.

tests/parity/test_progressive_torch.py holds outputs and updates at a fade to PyTorch's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow

from ganjax import UserError
from ganjax.layers.resample import mean_pool, upsample
from ganjax.networks import progressive, stylegan
from ganjax.update import count

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(4, 5)).astype(np.float32)
CIFAR = dict(width=128, channel_base=8192)


@pytest.mark.parametrize(
  'resolution, arguments, z_dim, expected',
  [
    (1024, {}, 512, (23_079_115, 23_087_249)),
    (256, {}, 512, (23_044_309, 23_052_353)),
    (128, dict(channel_base=4096), 512, (13_629_810, 13_636_897)),
    (32, CIFAR, 128, (1_296_908, 1_298_689)),
  ],
)
def test_sizes_are_those_of_the_published_networks(resolution, arguments, z_dim, expected):
  nets = progressive.build(resolution=resolution, channels=3, **arguments)
  given = {'G': (2, z_dim), 'D': (2, resolution, resolution, 3)}
  start = lambda net: nets[net].init(jax.random.key(0), jnp.zeros(given[net]), train=False)
  found = (jax.eval_shape(lambda net=net: start(net)['params']) for net in 'GD')
  assert tuple(map(count, found)) == expected


def test_stylegan_has_its_published_sizes():
  nets = stylegan.build(resolution=1024, channels=3)
  shapes = jax.eval_shape(
    lambda: nets['G'].init(jax.random.key(0), jnp.zeros((2, 512)), train=False)
  )
  assert count(shapes['params']) == 26_219_627 and count(shapes['noise']) == 2_796_192
  image = jnp.zeros((2, 1024, 1024, 3))
  shapes = jax.eval_shape(lambda: nets['D'].init(jax.random.key(0), image, train=False))
  assert count(shapes['params']) == 23_087_249


def drawn(net, x):
  """Variables with biases too, which are 0 at the start: without compiling the draws."""
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x, train=False))
  draw = lambda x: jnp.asarray(np.random.default_rng(1).normal(size=x.shape), jnp.float32)
  return jax.tree.map(draw, shapes)


@pytest.mark.parametrize('network', slow.but([progressive, stylegan], stylegan))
def test_a_fade_begins_with_the_level_below_and_ends_with_the_whole(network):
  level = 1  # of 0, 1, 2
  nets = network.build(resolution=(16, 24), channels=2, width=4, channel_base=32)
  assert [size for size, _ in nets['G'].stages] == [(4, 6), (8, 12), (16, 24)]
  image = jnp.asarray(RNG.normal(size=(4, 4 << level, 6 << level, 2)), jnp.float32)
  for name, x, below in (
    ('G', Z, lambda run: upsample(run(Z, level=level - 1))),
    ('D', image, lambda run: run(mean_pool(image), level=level - 1)),
  ):
    whole = Z if name == 'G' else jnp.zeros((4, 16, 24, 2))
    variables = drawn(nets[name], whole)
    run = jax.jit(
      lambda x, level, alpha=None, name=name, v=variables: nets[name].apply(
        v, x, train=False, level=level, alpha=alpha
      ),
      static_argnames='level',
    )
    at = lambda alpha, run=run, x=x: run(x, level=level, alpha=alpha)
    np.testing.assert_allclose(at(0.0), below(run), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(at(1.0), at(None), rtol=1e-4, atol=1e-4)
    assert np.abs(at(0.0) - at(None)).max() > 0.01
    if name == 'G':
      assert at(None).shape == image.shape
      np.testing.assert_allclose(at(0.25), 0.75 * at(0.0) + 0.25 * at(1.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('arguments, message', [
  (dict(resolution=(32, 33)), r'both sides of 32x33 must be even'),
  (dict(width=0), r'width from 1.*got 0'),
  (dict(channel_base=16), r'channel_base from 32 at 32x32; got 512, 16'),
  (dict(mbstd_group=0), r'mbstd_group from 1; got 0'),
])  # fmt: skip
def test_what_networks_refuse(arguments, message):
  with pytest.raises(UserError, match=message):
    progressive.build(**{'resolution': (32, 32), 'channels': 3, **arguments})
