"""CycleGAN's generators: published counts, the smallest map, what they refuse. Their outputs: tests/parity."""

import jax
import jax.numpy as jnp
import pytest

from ganjax import UserError
from ganjax.networks import cyclegan
from ganjax.update import count


@pytest.mark.parametrize('width, blocks, parameters', [
  (64, 9, 11_378_179),
  (64, 6, 7_837_699),
  (32, 6, 1_965_059),
  (32, 9, 2_850_563),
])  # fmt: skip
def test_generators_have_the_published_parameters(width, blocks, parameters):
  nets = cyclegan.build(resolution=(128, 96), channels=3, width=width, blocks=blocks)
  assert list(nets) == ['G_AB', 'G_BA', 'D_A', 'D_B']
  x = jnp.zeros((2, 128, 96, 3))
  variables = jax.eval_shape(lambda: nets['G_AB'].init(jax.random.key(0), x, train=False))
  assert count(variables['params']) == parameters
  run = lambda v: nets['G_AB'].apply(v, x, train=False, capture_intermediates=True)
  out, seen = jax.eval_shape(run, variables)
  assert out.shape == x.shape
  smallest = seen['intermediates'][f'Conv_{2 + 2 * blocks}']['__call__'][0]
  assert smallest.shape == (2, 32, 24, 4 * width)


def test_discriminators_are_patch_gans_with_instance_norm():
  D = cyclegan.build(resolution=(128, 128), channels=3)['D_A']
  variables = jax.eval_shape(
    lambda: D.init(jax.random.key(0), jnp.zeros((1, 128, 128, 3)), train=False)
  )
  assert count(variables['params']) == 2_764_737
  assert list(variables) == ['params']


@pytest.mark.parametrize('arguments, message', [
  (dict(resolution=(130, 128)), 'multiples of 4: data.resolution is 130x128; the nearest are 128 and 128'),
  (dict(resolution=(4, 64), layers_D=0), 'sides from 8'),
  (dict(resolution=(16, 16)), 'layers_D=3 takes sides from 24'),
  (dict(width=0), 'width=0'),
  (dict(blocks=-1), 'blocks=-1'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    cyclegan.build(**{'resolution': (128, 128), 'channels': 3, **arguments})
