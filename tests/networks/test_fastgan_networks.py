"""FastGAN's and Projected GAN's networks: published sizes, sides, noise, refusals.

tests/parity/test_projected_torch.py holds outputs and gradients to PyTorch's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.features import efficientnet_lite0
from ganjax.networks import projected
from ganjax.update import count

Z = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


def tiny(**kwargs):
  return projected.build(**{**dict(resolution=16, channels=3, width=2, width_D=2), **kwargs})


def shapes(net, *args):
  return jax.eval_shape(
    lambda *args: net.init_with_output(jax.random.key(0), *args, train=False), *args
  )


def maps(side):
  """What the frozen network makes of a picture of 2 x `side` by `side`."""
  taps = enumerate(efficientnet_lite0.TAPS.values(), 2)
  return [jnp.zeros((1, 2 * side >> i, side >> i, channels)) for i, channels in taps]


@pytest.mark.parametrize('blocks, number', [('double', 105_684_175), ('single', 79_354_307)])
def test_sizes_of_the_published_generators(blocks, number):
  net = projected.build(resolution=256, channels=3, blocks=blocks)['G']
  assert count(shapes(net, jnp.zeros((1, 256)))[1]['params']) == number


@pytest.mark.parametrize('separable, number', [(False, 10_331_328), (True, 696_512)])
def test_sizes_of_the_published_discriminators(separable, number):
  net = projected.build(resolution=256, channels=3, separable=separable)['D']
  logits, variables = shapes(net, maps(256))
  assert logits.shape == (1, 4 * 13 * 5)
  assert count(variables['params']) == number
  mixing = variables['mixing']['Mix_0']
  assert count({k: v for k, v in mixing.items() if k.startswith('channels')}) == 200_128


@pytest.mark.parametrize('side, logits', [(128, 1), (224, 16), (256, 25)])
def test_logits_of_square_pictures(side, logits):
  square = [x[:, : x.shape[2]] for x in maps(side)]
  assert shapes(tiny()['D'], square)[0].shape == (1, 4 * logits)


@pytest.mark.parametrize(
  'resolution, start, images',
  [
    (8, (4, 4), (8, 8)),
    (64, (4, 4), (64, 64)),
    ((48, 80), (6, 10), (48, 80)),
    ((1024, 512), (8, 4), (1024, 512)),
  ],
)
def test_sides(resolution, start, images):
  net = tiny(resolution=resolution, channels=1, width=8)['G']
  found, variables = shapes(net, Z)
  assert found.shape == (4, *images, 1)
  assert variables['params']['ConvTranspose_0']['kernel'].shape[:2] == start


def test_noise_is_fresh_for_each_latent_and_the_same_for_the_same():
  net = tiny(blocks='double')['G']
  run = jax.jit(lambda v, z: net.apply(v, z, train=False))
  variables = jax.jit(lambda: net.init(jax.random.key(0), Z, train=False))()
  noisy = jax.tree.map(lambda x: x, variables)
  for block in 'UpBlock_0', 'UpBlock_1':
    for name in 'noise_0', 'noise_1':
      assert not noisy['params'][block][name].any()
      noisy['params'][block][name] += 1.0
  plain, found = run(variables, Z), run(noisy, Z)
  assert (np.abs(plain - found) > 1e-3).any((1, 2, 3)).all()
  np.testing.assert_array_equal(found, run(noisy, Z))
  # Of its own row alone; and of all that is added to z no more than its direction is seen elsewhere.
  np.testing.assert_allclose(found[::-1], run(noisy, Z[::-1]), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(plain, run(variables, 3 * Z), rtol=1e-3, atol=1e-4)
  assert (np.abs(found - run(noisy, 3 * Z)) > 1e-3).any((1, 2, 3)).all()


@pytest.mark.parametrize(
  'bad, line',
  [
    (dict(resolution=7), 'data.resolution=7 must be a multiple of 2'),
    (dict(resolution=(64, 70)), 'must be a multiple of 16'),
    (dict(resolution=2048), 'below 2048'),
    (dict(blocks='duble'), 'did you mean double'),
    (dict(width=0), 'networks.width=0'),
    (dict(width_D=0), 'networks.width_D=0'),
    (dict(num_classes=-1), 'networks.num_classes=-1'),
    (dict(channels=4), '1 or 3 channels, not 4'),
  ],
)
def test_build_refuses_in_one_line(bad, line):
  with pytest.raises(UserError, match=line.replace('(', r'\(')) as error:
    tiny(**bad)
  assert '\n' not in str(error.value)
