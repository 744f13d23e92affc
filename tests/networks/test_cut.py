"""CUT's networks: published counts, the maps that are compared, what they refuse. Outputs: tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.networks import cut
from ganjax.update import count


def test_networks_have_the_published_parameters():
  nets = cut.build(resolution=(256, 256), channels=3)
  x = jnp.zeros((2, 256, 256, 3))

  def shapes(net, *args, **how):
    init = lambda *args: net.init(jax.random.key(0), *args, train=False)
    variables = jax.eval_shape(init, *args)
    run = lambda v, *args: net.apply(v, *args, train=False, **how)
    return count(variables['params']), jax.eval_shape(run, variables, *args)

  parameters, out = shapes(nets['G'], x)
  assert (parameters, out.shape) == (11_378_179, x.shape)
  parameters, logits = shapes(nets['D'], x)
  assert (parameters, logits.shape) == (2_764_737, (2, 30, 30))
  _, maps = shapes(nets['G'], x, features=True)
  sizes = [(262, 3), (256, 128), (128, 256), (64, 256), (64, 256)]
  assert [one.shape for one in maps] == [(2, s, s, c) for s, c in sizes]
  assert nets['G'].feature_widths == tuple(c for _, c in sizes[1:])
  places = tuple(jnp.zeros((2, 256, c)) for _, c in sizes)
  parameters, vectors = shapes(nets['F'], places)
  assert parameters == 560_384
  assert [one.shape for one in vectors] == [(2, 256, 256)] * 5


def test_projections_are_of_length_one_and_differentiable_at_zero():
  F = cut.build(resolution=(32, 32), channels=3, features=6)['F']
  maps = tuple(np.random.default_rng(i).normal(size=(2, 4, 3 + i)) for i in range(2))
  variables = F.init(jax.random.key(0), maps, train=False)
  variables = jax.tree.map(lambda x: 50 * x, variables)
  for x in F.apply(variables, maps, train=True):
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 1, rtol=1e-4)
  none = jax.tree.map(jnp.zeros_like, variables)
  slopes = jax.grad(lambda v: F.apply(v, maps, train=True)[0].sum())(none)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


@pytest.mark.parametrize('arguments, message', [
  (dict(resolution=(34, 32)), 'networks.name=cut takes sides that are multiples of 4'),
  (dict(layers_D=0), 'layers_D from 1'),
  (dict(features=0), 'features=0'),
  (dict(blocks=1), 'blocks=1 at least 2'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    cut.build(**{'resolution': (32, 32), 'channels': 3, **arguments})
