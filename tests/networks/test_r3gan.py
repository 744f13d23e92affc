"""R3GAN's networks: published sizes, the identity at the start, groups, conditions, refusals.

tests/parity/test_r3gan_torch.py holds outputs and gradients of both orders to PyTorch's, tests/layers/test_conv.py the
forms of convolutions in groups to each other.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.layers.resample import upsample_bilinear
from ganjax.networks import r3gan
from ganjax.update import count

LABEL = np.array([0, 1, 2, 1])
Z = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
X = np.random.default_rng(1).uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)


def tiny(**kwargs):
  sizes = dict(resolution=16, channels=3, width=8, blocks=1, cardinality=4, embed_dim=6)
  return r3gan.build(**{**sizes, **kwargs})


def init(net, x, label=None, seed=0):
  return jax.jit(lambda x: net.init(jax.random.key(seed), x, label, train=False))(x)['params']


def noisy(params, scale=0.3):
  """Blocks are the identity at the start, and biases zero."""
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(5)
  return jax.tree.unflatten(tree, [w + scale * rng.normal(size=w.shape) for w in leaves])


FFHQ = (768, 768, 768, 768, 384, 192, 96)


# Table 9 of the paper, in millions; in full for CIFAR-10.
@pytest.mark.parametrize(
  'case, sizes',
  [
    (dict(resolution=32), (20.73, 20.68)),
    (dict(resolution=32, num_classes=10), (20.78, 21.28)),
    (dict(resolution=256, width=FFHQ), (23.06, 23.01)),
    (dict(resolution=64, width=FFHQ[:5]), (22.43, 22.38)),
    (dict(resolution=32, width=1536, num_classes=1000), (82.91, 86.55)),
    (dict(resolution=64, width=1536, num_classes=1000), (103.57, 107.21)),
  ],
)
def test_sizes_are_the_published(case, sizes):
  nets, size, label = r3gan.build(channels=3, **case), case['resolution'], LABEL[:2]
  found = []
  for net, shape in ('G', (2, 64)), ('D', (2, size, size, 3)):
    start = lambda x, net=net: nets[net].init(jax.random.key(0), x, label, train=False)
    found.append(count(jax.eval_shape(start, jnp.zeros(shape))['params']))
  assert tuple(round(n / 1e6, 2) for n in found) == sizes
  if sizes == (20.78, 21.28):
    block = 2 * 768 * 1536 + 9 * 16 * 1536 + 2 * 1536
    ends = 768 * (4 * 4 + 3)  # basis, and the convolution at the images
    assert found == [8 * block + ends + 128 * 768 + 640, 8 * block + ends + 768 * (768 + 10)]


def test_groups_of_each_stage():
  """Table 9: 12-24-48-96-96-96-96 for FFHQ at 256 pixels, always of 16 channels."""
  stages = r3gan.build(resolution=256, channels=3, width=FFHQ)['G'].stages
  assert [groups for _, _, groups in stages] == [96, 96, 96, 96, 48, 24, 12]


@pytest.mark.parametrize('resolution', [8, 32])
def test_shapes(resolution):
  nets = tiny(resolution=resolution, channels=1)
  assert nets['G'].num_classes == nets['D'].num_classes == 0
  run = lambda net, x: jax.eval_shape(
    lambda x: nets[net].init_with_output(jax.random.key(0), x, train=False)[0], x
  )
  images = run('G', Z)
  assert images.shape == (4, resolution, resolution, 1)
  assert run('D', images).shape == (4,)


def test_blocks_are_the_identity_at_the_start():
  """So G is its basis, modulated, upsampled and projected."""
  nets = tiny()
  params = init(nets['G'], Z)
  x = params['basis'] * (Z @ params['Dense_0']['kernel'])[:, None, None]
  expected = upsample_bilinear(upsample_bilinear(x)) @ params['Conv_0']['kernel'][0, 0]
  found = nets['G'].apply({'params': params}, Z, train=True)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_scale_of_the_first_weights():
  """He's for LeakyReLU(0.2) times L^(-1/4), L blocks (section 3, general network modernization)."""
  net = r3gan.build(resolution=32, channels=3, width=64, cardinality=8, num_classes=40)
  g, d = init(net['G'], Z, LABEL), init(net['D'], np.tile(X, (1, 2, 2, 1)), LABEL)
  gain = (2 / 1.04) ** 0.5 * 8**-0.25
  near = lambda w, std: np.testing.assert_allclose(np.std(w), std, rtol=0.1)
  for params in g, d:
    for i in range(8):
      block = params[f'Block_{i}']
      near(block['Conv_0']['kernel'], gain / 64**0.5)
      near(block['Conv_1']['kernel'], gain / (9 * 16) ** 0.5)
      assert not block['Conv_2']['kernel'].any() and 'bias' not in block['Conv_2']
      assert not block['Conv_0']['bias'].any() and not block['Conv_1']['bias'].any()
  near(g['basis'], 1)
  near(g['Dense_0']['kernel'], (8 + 64) ** -0.5)
  near(g['ClassEmbed_0']['embedding'], 40**-0.5)
  near(d['basis'], 1 / 4)
  near(d['Dense_0']['kernel'], 64**-0.5)
  near(d['ClassEmbed_0']['embedding'], (40 * 64) ** -0.5)


@pytest.mark.parametrize('net, x', [('G', Z), ('D', X)])
def test_the_condition_is_of_its_own_sample_and_may_be_weights(net, x):
  net = tiny(num_classes=3)[net]
  params = noisy(init(net, x, LABEL))
  run = jax.jit(lambda label: net.apply({'params': params}, x, label, train=True))
  plain, other = (np.asarray(run(label)) for label in (LABEL, np.array([0, 2, 2, 1])))
  assert (plain != other).reshape(4, -1).any(1).tolist() == [False, True, False, False]
  np.testing.assert_allclose(run(np.eye(3)[LABEL].astype(np.float32)), plain, rtol=1e-4, atol=1e-4)
  with pytest.raises(UserError, match='num_classes=3.*no labels'):
    jax.eval_shape(lambda: net.apply({'params': params}, x, train=True))


def test_float64_and_bfloat16_reach_every_layer():
  with jax.enable_x64(True):
    for kind, params in ('float64', 'float64'), ('bfloat16', 'float32'):
      nets = tiny(num_classes=3, dtype=kind, param_dtype=params)
      for net, x in ('G', Z), ('D', X):
        out, v = jax.eval_shape(
          lambda x, net=nets[net]: net.init_with_output(jax.random.key(0), x, LABEL, train=True), x
        )
        assert out.dtype == kind and {w.dtype for w in jax.tree.leaves(v)} == {jnp.dtype(params)}


@pytest.mark.parametrize(
  'bad, line',
  [
    (dict(resolution=24), 'data.resolution=24 must be 8, 16, 32'),
    (dict(resolution=4), 'data.resolution=4 must be'),
    (dict(width=(8, 8)), 'one width or 3'),
    (dict(width=0), 'from 1'),
    (dict(blocks=0), 'from 1'),
    (dict(blocks=17), 'networks.blocks=17 must be at most 16'),
    (dict(cardinality=5), 'networks.cardinality=5'),
    (dict(width=(8, 8, 3)), 'networks.cardinality=4'),
    (dict(cardinality=0), 'from 1'),
    (dict(num_classes=-1), 'networks.num_classes=-1'),
  ],
)
def test_build_refuses_in_one_line(bad, line):
  with pytest.raises(UserError, match=line) as error:
    tiny(**bad)
  assert '\n' not in str(error.value)
