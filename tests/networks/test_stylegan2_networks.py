"""StyleGAN2's networks: published sizes, the mean style, truncation, noise, sides, refusals.

tests/parity/test_stylegan2_torch.py holds outputs and gradients of both orders to PyTorch's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.layers import equalized
from ganjax.networks import stylegan2
from ganjax.update import count

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(4, 6)).astype(np.float32)


def tiny(resolution=(8, 8), **kwargs):
  sizes = dict(channels=3, width=4, w_dim=5, mapping_layers=2)
  return stylegan2.build(resolution=resolution, **{**sizes, **kwargs})


def init(net, x):
  """Variables as drawn, biases and strengths of noise too, which are 0 at the start: without compiling the draws."""
  start = lambda x: net.init(jax.random.key(0), x, None, train=False)
  rng = np.random.default_rng(1)
  draw = lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32)
  return jax.tree.map(draw, jax.eval_shape(start, x))


def sizes(resolution, **kwargs):
  """(G, its mapping, D)"""
  nets = stylegan2.build(resolution=(resolution,) * 2, channels=3, **kwargs)
  label = jnp.zeros(2, int) if 'num_classes' in kwargs else None
  start = lambda net, shape: jax.eval_shape(
    lambda: nets[net].init(jax.random.key(0), jnp.zeros(shape), label, train=False)['params']
  )
  G, D = start('G', (2, 512)), start('D', (2, resolution, resolution, 3))
  return count(G), count(G['mapping']), count(D)


HALF = dict(channel_base=16384)  # config E


@pytest.mark.parametrize(
  'case, expected',
  [
    (dict(resolution=1024), (30_370_060, 2_101_248, 29_012_513)),
    (
      dict(resolution=1024, mapping_layers=2, architecture_D='orig'),
      (28_794_124, 525_312, 27_789_857),
    ),
    (dict(resolution=1024, **HALF), (24_900_764, 2_101_248, 24_038_161)),
    (dict(resolution=512), (30_276_583, 2_101_248, 28_982_849)),
    (dict(resolution=256), (30_034_338, 2_101_248, 28_864_129)),
    (
      dict(resolution=256, architecture_D='orig', **HALF),
      (24_767_458, 2_101_248, 23_042_625),
    ),
    (dict(resolution=128, mapping_layers=2, **HALF), (22_949_277, 525_312, 23_882_369)),
    (dict(resolution=64, mapping_layers=2, **HALF), (22_243_608, 525_312, 23_407_361)),
    (dict(resolution=32, mapping_layers=2), (19_947_539, 525_312, 21_507_073)),
    (
      dict(resolution=32, mapping_layers=2, architecture_D='orig', num_classes=10),
      (20_215_315, 793_088, 23_089_664),
    ),
  ],
)
def test_sizes_are_those_of_the_published_networks(case, expected):
  assert sizes(**case) == expected


@pytest.mark.parametrize(
  'resolution, start, stages',
  [((32, 32), (4, 4), 4), ((48, 80), (6, 10), 4), ((8, 12), (4, 6), 2), ((24, 10), (12, 5), 2)],
)
def test_pictures_of_any_even_sides(resolution, start, stages):
  nets = tiny(resolution, channels=2, channel_base=64)
  G = nets['G']
  assert G.stages[0] == (start, 4) and len(G.stages) == stages
  variables = init(G, Z)
  assert variables['params']['synthesis']['const'].shape == (*start, 4)
  image = jax.eval_shape(lambda v: G.apply(v, Z, train=False), variables)
  assert image.shape == (4, *resolution, 2) and G.num_styles == 2 * stages
  D = nets['D']
  start = lambda x: D.init_with_output(jax.random.key(0), x, train=False)[0]
  assert jax.eval_shape(start, image).shape == (4,)


def test_every_layer_has_the_style_of_its_place():
  """The last one is that of the last image alone; a block's image shares it with the next block's first layer."""
  G = tiny((16, 16))['G']
  variables = init(G, Z)
  w = jnp.asarray(RNG.normal(size=(1, 6, 5)), jnp.float32)

  @jax.jit
  def moved(params):
    run = lambda w: G.apply({**variables, 'params': params}, w, train=False, method='synthesize')
    return jnp.abs(jax.jacfwd(run)(w)).sum((0, 1, 2, 3, 4, 6))

  assert (moved(variables['params']) > 0).all()
  # Which places move what is left when other layers have no affine weights.
  layers = ['b4_conv1', 'b8_conv0', 'b8_conv1', 'b16_conv0', 'b16_conv1']
  images = {'b4_torgb': 1, 'b8_torgb': 3, 'b16_torgb': 5}
  places = {name: i for i, name in enumerate(layers)} | images
  for name, place in places.items():
    params = jax.tree.map(lambda x: x, variables['params'])
    for other in places.keys() - {name}:
      own = params['synthesis'][other]
      own = own.get('conv', own)
      own['affine'] = {**own['affine'], 'kernel': jnp.zeros_like(own['affine']['kernel'])}
    assert np.flatnonzero(moved(params)).tolist() == [place], name


def test_training_moves_the_mean_style_and_nothing_else():
  G = tiny()['G']
  variables = init(G, Z)
  start = variables['styles']['w_avg']
  run = lambda train: G.apply(variables, Z, train=train, method='map', mutable=['styles', 'noise'])
  w, new = run(True)
  assert w.shape == (4, 4, 5)
  np.testing.assert_array_equal(w, np.broadcast_to(w[:, :1], w.shape))
  np.testing.assert_allclose(
    new['styles']['w_avg'], 0.995 * start + 0.005 * w[:, 0].mean(0), atol=1e-6
  )
  np.testing.assert_array_equal(run(False)[1]['styles']['w_avg'], start)


def test_truncation_draws_styles_to_their_mean():
  G = tiny()['G']
  variables = init(G, Z)
  mean = variables['styles']['w_avg'] = jnp.asarray(RNG.normal(size=5), jnp.float32)
  w = jnp.asarray(RNG.normal(size=(4, 4, 5)), jnp.float32)
  cut = lambda *args: G.apply(variables, w, *args, method='truncate')
  np.testing.assert_allclose(cut(0.7), mean + 0.7 * (w - mean), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(cut(1.0), w, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(cut(0.5, 1)[:, 1:], w[:, 1:])
  np.testing.assert_allclose(cut(0.5, 1)[:, 0], cut(0.5)[:, 0])
  psi = np.array([0.0, 1.0, 0.5, 2.0], np.float32)
  np.testing.assert_allclose(cut(psi)[2:3], cut(0.5)[2:3], rtol=1e-5, atol=1e-6)
  run = jax.jit(lambda psi: G.apply(variables, Z, train=False, truncation=psi))
  images = run(psi)
  plain = run(psi * 0 + 1)
  np.testing.assert_allclose(images[1], plain[1], rtol=1e-4, atol=1e-4)
  assert np.abs(images[0] - plain[0]).max() > 0.01
  near = run(0 * psi)
  np.testing.assert_allclose(near[0], near[1], rtol=1e-4, atol=1e-4)


def test_noise_is_constant_or_drawn():
  G = tiny()['G']
  variables = init(G, Z)
  shapes = [x.shape for x in jax.tree.leaves(variables['noise'])]
  assert sorted(shapes) == [(1, 4, 4), (1, 8, 8), (1, 8, 8)]
  w = jnp.ones((2, 4, 5))
  run = jax.jit(lambda v, rngs: G.apply(v, w, train=False, method='synthesize', rngs=rngs))
  fixed = run(variables, {})
  np.testing.assert_allclose(fixed[0], fixed[1], rtol=1e-5, atol=1e-6)
  drawn = run(variables, {'noise': jax.random.key(0)})
  assert np.abs(drawn[0] - drawn[1]).max() > 0.1 < np.abs(drawn[0] - fixed[0]).max()
  np.testing.assert_array_equal(drawn, run(variables, {'noise': jax.random.key(0)}))
  silent = {**variables, 'noise': jax.tree.map(jnp.zeros_like, variables['noise'])}
  assert np.abs(run(silent, {}) - fixed).max() > 0.1


def test_a_clamp_holds_layers_and_images():
  x = jnp.array([-100.0, -1, 0, 1, 100])
  np.testing.assert_allclose(
    equalized.activate(x, gain=0.5, clamp=4.0), [-2, -0.1 * 2**0.5, 0, 0.5 * 2**0.5, 2], rtol=1e-6
  )
  np.testing.assert_allclose(
    equalized.activate(x), [-20 * 2**0.5, -0.2 * 2**0.5, 0, 2**0.5, 141.42136]
  )
  for architecture in 'skip', 'orig':
    G = tiny(architecture=architecture, clamp=0.01)['G']
    image = jax.jit(lambda v, G=G: G.apply(v, Z, train=False))(init(G, Z))
    assert 0 < np.abs(image).max() <= (0.0201 if architecture == 'skip' else 0.0101)


def test_an_equalised_layer_learns_at_its_own_rate():
  """0.01: weights are drawn a hundred times larger and used so much smaller: outputs start alike, gradients do not."""
  x = jnp.asarray(RNG.normal(size=(64, 256)), jnp.float32)
  slow, fast = equalized.Dense(256, lr_multiplier=0.01), equalized.Dense(256)
  found = {}
  for name, net in ('slow', slow), ('fast', fast):
    params = net.init(jax.random.key(0), x)['params']
    loss = lambda p, net=net: jnp.sum(net.apply({'params': p}, x) ** 2)
    found[name] = jax.value_and_grad(loss)(params)
  np.testing.assert_allclose(found['slow'][0], found['fast'][0], rtol=1e-4)
  assert 0.9 < found['fast'][0] / x.size < 1.1
  for kind in 'kernel', 'bias':
    slow, fast = (found[n][1][kind] for n in ('slow', 'fast'))
    np.testing.assert_allclose(slow, 0.01 * fast, rtol=1e-3, atol=1e-3 * np.abs(slow).max())


def test_narrow_activations_leave_styles_and_images_wide():
  nets = tiny(dtype='bfloat16')
  full, half = tiny()['G'], nets['G']
  variables = init(full, Z)
  run = lambda G: jax.jit(lambda v: G.apply(v, Z, train=False))(variables)
  assert run(half).dtype == jnp.float32
  assert 0 < np.abs(run(half) - run(full)).max() < 0.05 * np.abs(run(full)).max()
  w = lambda G: jax.jit(lambda v: G.apply(v, Z, train=False, method='map'))(variables)
  np.testing.assert_array_equal(w(half), w(full))
  D = nets['D']
  x = run(full)
  assert jax.jit(lambda v: D.apply(v, x, train=False))(init(D, x)).dtype == jnp.float32


@pytest.mark.parametrize('arguments, message', [
  (dict(resolution=(32, 33)), r'both sides of 32x33 must be even, and 8 or more'),
  (dict(resolution=(4, 4)), r'both sides of 4x4'),
  (dict(width=0), r'width from 1.*got 0'),
  (dict(mbstd_group=0), r'w_dim and mbstd_group from 1.*got 5?12, 0'),
  (dict(channel_base=31), r'channel_base from 32 at 32x32'),
  (dict(mapping_layers=0), r'mapping_layers=0 must be from 1'),
  (dict(mapping_layers_D=65), r'mapping_layers_D=65 from 0'),
  (dict(architecture='resent'), r"architecture='resent' is not known.*resnet"),
  (dict(architecture_D='none'), r"architecture_D='none' is not known"),
  (dict(clamp=-1.0), r'clamp=-1.0'),
  (dict(num_classes=-1), r'num_classes=-1'),
])  # fmt: skip
def test_what_networks_refuse(arguments, message):
  with pytest.raises(UserError, match=message):
    stylegan2.build(**{'resolution': (32, 32), 'channels': 3, **arguments})
