"""Networks of super-resolution: published counts, sizes, what they refuse. Their outputs: tests/parity."""

import jax
import jax.numpy as jnp
import pytest

from ganjax import UserError
from ganjax.networks import rrdb, srresnet
from ganjax.update import count


def shapes(net, *sides):
  """(parameters, shape of the output) of pictures of these sides."""
  x = jnp.zeros((2, *sides, 3))
  run = lambda: net.init_with_output(jax.random.key(0), x, train=False)
  out, variables = jax.eval_shape(run)
  return count(variables['params']), out.shape


@pytest.mark.parametrize('module, arguments, parameters', [
  (srresnet, dict(scale=4), 1_517_571),
  (rrdb, dict(scale=4), 16_697_987),
  pytest.param(rrdb, dict(scale=2), 16_703_171, marks=pytest.mark.slow),
  (rrdb, dict(scale=4, blocks=6), 4_467_779),
])  # fmt: skip
def test_generators_have_the_published_parameters(module, arguments, parameters):
  nets = module.build(resolution=128, channels=3, **arguments)
  assert list(nets) == ['G', 'D']
  scale = arguments['scale']
  assert shapes(nets['G'], 20, 12) == (parameters, (2, 20 * scale, 12 * scale, 3))


@pytest.mark.parametrize('module, scale, multiple', [
  (srresnet, 2, 1), (srresnet, 3, 1), (rrdb, 1, 4), (rrdb, 2, 2), (rrdb, 4, 1),
])  # fmt: skip
def test_pictures_of_any_multiple_are_enlarged(module, scale, multiple):
  G = module.build(resolution=64, channels=3, scale=scale, width=4, blocks=1)['G']
  assert G.multiple == multiple
  sides = 3 * multiple, 5 * multiple
  assert shapes(G, *sides)[1] == (2, *(scale * side for side in sides), 3)


def test_the_discriminator_takes_other_crops():
  D = rrdb.build(resolution=128, channels=3, blocks=0)['D']
  assert shapes(D, 128, 128) == (14_499_401, (2,))
  D = srresnet.build(resolution=(96, 64), channels=3)['D']
  assert shapes(D, 96, 64) == (14_499_401 - (16 - 6) * 512 * 100, (2,))


@pytest.mark.parametrize('module', [srresnet, rrdb])
@pytest.mark.parametrize('arguments, message', [
  (dict(resolution=(100, 128)), 'multiples of 32: data.resolution is 100x128; the nearest are 96 and 128'),
  (dict(scale=8), 'scale=8 must be'),
  (dict(width=0), 'width=0'),
  (dict(blocks=-1), 'blocks=-1'),
])  # fmt: skip
def test_what_is_refused(module, arguments, message):
  with pytest.raises(UserError, match=message):
    module.build(**{'resolution': 128, 'channels': 3, **arguments})
