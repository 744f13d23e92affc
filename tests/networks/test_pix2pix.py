"""The U-Net and the PatchGAN: published counts, the shapes of maps, what a patch sees, and their only noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.networks import pix2pix
from ganjax.update import count

KEYS = jax.random.split(jax.random.key(5), 3)


def make(resolution=(256, 256), **arguments):
  return pix2pix.build(resolution=resolution, channels=3, **arguments)


def shapes(net, *inputs):
  """(parameters, output) as shapes."""
  variables = jax.eval_shape(lambda *x: net.init(jax.random.key(0), *x, train=False), *inputs)
  out = jax.eval_shape(lambda v, *x: net.apply(v, *x, train=False), variables, *inputs)
  return variables['params'], out


@pytest.mark.parametrize('side, downs, norm, parameters', [
  (256, 8, 'batch', 54_413_955),
  (256, 8, 'instance', 54_409_603),
  (128, 7, 'batch', 41_828_995),
  (64, 6, 'batch', 29_244_035),
])  # fmt: skip
def test_u_nets_have_the_published_parameters(side, downs, norm, parameters):
  G = make((side, side), downs=downs, norm=norm)['G']
  params, out = shapes(G, jnp.zeros((2, side, side, 3)), KEYS[:2])
  assert count(params) == parameters
  assert out.shape == (2, side, side, 3)


@pytest.mark.parametrize('layers, channels, norm, parameters, side', [
  (0, 6, 'batch', 9_024, 256),
  (1, 6, 'batch', 139_585, 126),
  (1, 3, 'instance', 136_385, 126),
  (2, 6, 'batch', 666_433, 62),
  (2, 3, 'instance', 662_977, 62),
  (3, 6, 'batch', 2_768_705, 30),
  (3, 3, 'instance', 2_764_737, 30),
  (4, 3, 'instance', None, 14),
  (5, 6, 'batch', 11_159_361, 6),
  (5, 3, 'instance', 11_154_369, 6),
])  # fmt: skip
def test_patch_gans_have_the_published_parameters(layers, channels, norm, parameters, side):
  D = make(layers_D=layers, norm=norm)['D']
  params, logits = shapes(D, jnp.zeros((2, 256, 256, channels)))
  assert parameters in (count(params), None)
  assert logits.shape == (2, side, side)


@pytest.mark.parametrize(
  'layers, patch',
  [(1, 16), *(pytest.param(*x, marks=pytest.mark.slow) for x in ((0, 1), (2, 34), (3, 70)))],
)
def test_a_logit_sees_its_patch(layers, patch):
  """Without norms, which look at the whole map: batch norm in running mode is none."""
  side = 96
  D = make((side, side), layers_D=layers, width_D=1, norm='batch', downs=5)['D']
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, side, side, 1)), jnp.float32)
  variables = D.init(jax.random.key(0), x, train=False)

  def middle(x):
    logits = D.apply(variables, x, train=False)
    return logits[0, logits.shape[1] // 2, logits.shape[2] // 2]

  seen = np.abs(jax.jit(jax.grad(middle))(x)[0, ..., 0])
  assert (np.ptp(np.argwhere(seen), 0) + 1 == patch).all()


def test_pictures_need_not_be_square_nor_alike_in_channels():
  nets = pix2pix.build(resolution=(16, 32), channels=2, width=2, downs=4, layers_D=1)
  x = jnp.zeros((2, 16, 32, 1))
  _, out = shapes(nets['G'], x, KEYS[:2])
  assert out.shape == (2, 16, 32, 2)
  _, logits = shapes(nets['D'], jnp.zeros((2, 16, 32, 3)))
  assert logits.shape == (2, 6, 14)


@pytest.mark.slow
def test_dropout_is_the_only_noise_in_training_and_after():
  """A picture depends on its own key alone, and what is dropped is half of the levels named."""
  G = make((16, 16), width=4, downs=4, layers_D=1, norm='instance', dropout_levels=(0, 1))['G']
  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16, 16, 3)), jnp.float32)
  variables = G.init(jax.random.key(0), x, KEYS, train=False)
  run = jax.jit(lambda x, keys, train: G.apply(variables, x, keys, train=train), static_argnums=2)
  for train in True, False:
    a = run(x, KEYS, train)
    np.testing.assert_array_equal(a, run(x, KEYS, train))
    np.testing.assert_allclose(a[1:], run(x[1:], KEYS[1:], train), atol=1e-6)
    other = run(x, KEYS[::-1], train)
    assert np.abs(a - other)[0].max() > 1e-4 and np.abs(a - other)[2].max() > 1e-4
    np.testing.assert_allclose(a[1], other[1], atol=1e-6)
  plain = make((16, 16), width=4, downs=4, layers_D=1, norm='instance', dropout_levels=())['G']
  still = lambda keys: plain.apply(variables, x, keys, train=True)
  np.testing.assert_array_equal(still(KEYS), still(KEYS[::-1]))


def test_half_is_dropped_and_the_rest_doubled():
  x = np.ones((3, 16, 16, 8), np.float32)
  kept = np.asarray(pix2pix.drop(x, KEYS, 0))
  assert set(np.unique(kept)) == {0, 2}
  np.testing.assert_allclose(kept.mean((1, 2, 3)), 1, atol=0.1)
  assert (kept[0] != kept[1]).any()
  assert (kept != pix2pix.drop(x, KEYS, 1)).any()


def test_weights_start_as_the_paper_says():
  G = make((16, 16), downs=3, layers_D=1, width=128, dropout_levels=())['G']
  init = jax.jit(lambda x, keys: G.init(jax.random.key(0), x, keys, train=False))
  params = init(jnp.zeros((1, 16, 16, 3)), KEYS[:1])['params']
  scale = np.asarray(params['BatchNorm_0']['scale'])
  assert abs(scale.mean() - 1) < 0.01 and scale.std() == pytest.approx(0.02, rel=0.2)
  assert np.std(params['Conv_1']['kernel']) == pytest.approx(0.02, rel=0.01)
  assert not params['ConvTranspose_2']['bias'].any()


@pytest.mark.parametrize('arguments, message', [
  (dict(resolution=(256, 200)), 'multiples of 256: data.resolution is 256x200; the nearest are 256 and 256'),
  (dict(resolution=(64, 64), downs=6, layers_D=5), 'layers_D=5 takes sides from 96: data.resolution is 64x64'),
  (dict(layers_D=-1), 'layers_D=-1 must be from 0'),
  (dict(downs=1), 'downs=1 must be at least 2'),
  (dict(width=0), 'width=0'),
  (dict(norm='layer'), "norm='layer' is neither 'batch' nor 'instance'"),
  (dict(dropout_levels=(7,)), r'dropout_levels=\(7,\) must be among 0 to 6'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    make(**arguments)
