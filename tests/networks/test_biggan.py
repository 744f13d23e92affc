"""BigGAN and BigGAN-deep: published sizes, where z, labels and attention act, heads, what they refuse.

tests/parity/test_biggan_torch.py holds outputs, gradients and statistics to PyTorch's.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow

from ganjax import UserError
from ganjax.layers.attention import SelfAttention
from ganjax.networks import biggan, biggan_deep
from ganjax.update import count

BOTH = {'biggan': biggan, 'biggan_deep': biggan_deep}
LABEL = np.array([0, 1, 2, 1])
Z = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
X = np.random.default_rng(1).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)


def tiny(network=biggan, **kwargs):
  sizes = dict(resolution=32, channels=3, num_classes=3, width=2, width_D=4, shared_dim=6)
  return network.build(**{**sizes, 'attention': 16, 'embed_dim': 5, **kwargs})


def start(net):
  """Variables of a network, all drawn: some start at zero, and compiling the real ones' start takes long."""
  x, rng = X if 'Discriminator' in type(net).__name__ else Z, np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x, LABEL, train=False))

  def draw(path, leaf):
    y = rng.normal(size=leaf.shape)
    y = 1 + y**2 if path[-1].key == 'var' else y / np.sqrt(leaf.size / [1, *leaf.shape][-1])
    return np.asarray(y, leaf.dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def within(net, *kinds):
  """(inputs -> {name: output}) of the modules of some kinds in a network."""
  v = start(net)

  @jax.jit
  def run(x, label):
    _, found = net.apply(
      v, x, label, train=False, capture_intermediates=lambda m, _: isinstance(m, kinds)
    )
    leaves = jax.tree_util.tree_leaves_with_path(found.get('intermediates', {}))
    return {path[0].key: leaf for path, leaf in leaves}

  return lambda x, label: jax.device_get(run(x, label))


def sizes(network, z, resolution, **kwargs):
  nets = network.build(resolution=resolution, channels=3, **kwargs)
  shape = jax.eval_shape(
    lambda: {
      'G': nets['G'].init(jax.random.key(0), jnp.zeros((2, z)), LABEL[:2], train=False),
      'D': nets['D'].init(
        jax.random.key(0), jnp.zeros((2, resolution, resolution, 3)), LABEL[:2], train=False
      ),
    }
  )
  return count(shape['G']['params']), count(shape['D']['params'])


IMAGENET = dict(resolution=128, num_classes=1000, attention=64)


# In millions. 32 pixels: StudioGAN's log of its CIFAR-10 BigGAN. 128 pixels: the paper, appendix B; BigGAN without the
# shared embedding, table 1 (both networks together, baselines of 64 and 96 channels).
@pytest.mark.parametrize('network, z, case, published', [
  (biggan, 80, dict(resolution=32, num_classes=10, attention=16), (9.42, 2.42)),
  (biggan, 120, IMAGENET, (70.4, 88.0)),
  (biggan, 128, {**IMAGENET, 'shared_dim': 0}, 173.5),
  (biggan, 128, {**IMAGENET, 'shared_dim': 0, 'width': 64, 'width_D': 64}, 81.5),
])  # fmt: skip
def test_sizes_are_the_published(network, z, case, published):
  found = [size / 1e6 for size in sizes(network, z, **case)]
  if isinstance(published, float):
    assert round(sum(found), 1) == published
  else:
    assert all(
      np.isclose(f, p, atol=0.005 if p < 10 else 0.05, rtol=0) for f, p in zip(found, published)
    )


def test_sizes_of_deep_are_the_published():
  """50.4 and 34.6 million at 128 pixels (appendix B), where G's last convolution makes 125 channels that go unseen."""
  G, D = sizes(biggan_deep, 128, **IMAGENET)
  assert round((G + 125 * (9 * 128 + 1)) / 1e6, 1) == 50.4
  assert round(D / 1e6, 1) == 34.6


def linear(inputs, outputs):
  return (inputs + 1) * outputs


def test_the_size_of_cifars_biggan_to_the_last():
  up = 2 * 2 * 148 * 384 + linear(9 * 384, 384) * 2 + linear(384, 384)  # two conditional norms
  attention = lambda c: c * (c // 8 * 2 + c // 2 * 2) + 1
  G = linear(20, 16 * 384) + 10 * 128 + 3 * up + attention(384) + 2 * 384 + linear(9 * 384, 3)
  plain = 2 * linear(9 * 192, 192)
  first, second = linear(27, 192) + linear(9 * 192, 192) + linear(3, 192), plain + linear(192, 192)
  D = first + second + 2 * plain + attention(192) + linear(192, 1) + 10 * 192
  assert sizes(biggan, 80, resolution=32, num_classes=10, attention=16) == (G, D)


@pytest.mark.parametrize('resolution', slow.but([*biggan.SHAPES], 32))
@pytest.mark.parametrize('name', BOTH)
def test_shapes(name, resolution):
  nets = tiny(BOTH[name], resolution=resolution, channels=1, attention=0)
  z = jnp.zeros((4, 60))
  image, v = jax.eval_shape(
    lambda z: nets['G'].init_with_output(jax.random.key(0), z, LABEL, train=False), z
  )
  assert image.shape == (4, resolution, resolution, 1)
  logits, w = jax.eval_shape(
    lambda x: nets['D'].init_with_output(jax.random.key(0), x, LABEL, train=False), image
  )
  assert logits.shape == (4,)
  assert 'spectral_norm' in v and 'batch_stats' in v
  assert 'spectral_norm' in w and 'batch_stats' not in w
  assert nets['G'].num_classes == nets['D'].num_classes == 3


def changed(a, b):
  """Names of the modules whose output differs for the second sample; other samples must not differ."""
  assert a.keys() == b.keys() and a
  for name in a:
    np.testing.assert_array_equal(np.delete(a[name], 1, 0), np.delete(b[name], 1, 0))
  return {name for name in a if not np.array_equal(a[name], b[name])}


OTHER = np.array([0, 2, 2, 1])  # LABEL but for the second sample


def test_each_chunk_of_z_and_the_label_act_on_their_blocks():
  run = within(tiny()['G'], biggan.UpBlock, nn.Dense)
  blocks, before = ['UpBlock_0', 'UpBlock_1', 'UpBlock_2'], run(Z, LABEL)
  for chunk in range(4):
    z = Z.copy()
    z[1, 2 * chunk] += 1
    first = {'Dense_0', *blocks} if chunk == 0 else {*blocks[chunk - 1 :]}
    assert changed(before, run(z, LABEL)) == first
  assert changed(before, run(Z, OTHER)) == {*blocks}


def test_all_of_z_and_the_label_act_on_all_of_deep():
  G = tiny(biggan_deep)['G']
  run, z = within(G, biggan_deep.GBlock, nn.Dense), Z.copy()
  z[1, 7] += 1
  for inputs in ((z, LABEL), (Z, OTHER)):
    assert len(changed(run(Z, LABEL), run(*inputs))) == 7
  kernel = start(G)['params']['GBlock_5']['ConditionalBatchNorm_3']['scale']['kernel']
  assert kernel.shape == (8 + 6, 2)


@pytest.mark.parametrize('net, case', [
  ('G', dict()),
  ('D', dict()),
  ('G', dict(shared_dim=0)),
], ids=['G', 'D', 'tables'])  # fmt: skip
def test_weights_of_one_class_are_its_label(net, case):
  net = tiny(**case)[net]
  x = X if isinstance(net, biggan.Discriminator) else Z
  v = start(net)
  run = jax.jit(lambda label: net.apply(v, x, label, train=False))
  a = run(LABEL)
  np.testing.assert_allclose(a, run(np.eye(3, dtype=np.float32)[LABEL]), rtol=1e-4, atol=1e-5)
  assert np.abs(a - run(np.full((4, 3), 1 / 3, np.float32))).max() > 1e-3


@pytest.mark.slow
def test_relu_skip_shows_the_identity_paths_what_is_above_0():
  """Such a block of x is the plain block of relu(x), as relu(relu(x)) is relu(x); the first, of pixels, is plain."""
  paper, studio = tiny()['D'], tiny(relu_skip=True)['D']
  v = start(paper)
  kinds = dict(dtype='float32', param_dtype='float32')
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype(np.float32)
  for down in True, False:
    plain, relu = (biggan.DownBlock(6, down, False, skip, **kinds) for skip in (False, True))
    of_block = plain.init(jax.random.key(0), x)
    np.testing.assert_array_equal(relu.apply(of_block, x), plain.apply(of_block, np.maximum(x, 0)))
    assert np.abs(relu.apply(of_block, x) - plain.apply(of_block, x)).max() > 0.1
  first = (biggan.DownBlock(6, True, True, skip, **kinds) for skip in (False, True))
  a, b = (block.apply(block.init(jax.random.key(0), x), x) for block in first)
  np.testing.assert_array_equal(a, b)
  a, b = (net.apply(v, X, LABEL, train=False) for net in (paper, studio))
  assert np.abs(a - b).max() > 0.05 * np.abs(a).max()


def test_without_a_shared_embedding_each_norm_has_tables_and_z_is_whole():
  G = tiny(shared_dim=0)['G']
  params = start(G)['params']
  assert params['Dense_0']['kernel'].shape == (8, 16 * 8)
  norms = params['UpBlock_2']['ConditionalBatchNorm_1']
  assert norms['scale']['embedding'].shape == norms['bias']['embedding'].shape == (3, 8)
  assert 'ClassEmbed_0' not in params
  run = within(G, biggan.UpBlock)
  assert changed(run(Z, LABEL), run(Z, OTHER)) == {'UpBlock_0', 'UpBlock_1', 'UpBlock_2'}
  jax.eval_shape(lambda: G.init(jax.random.key(0), Z[:, :7], LABEL, train=False))


@pytest.mark.parametrize('name', BOTH)
@pytest.mark.parametrize('side', [0, 8, 16])
def test_attention_is_on_maps_of_that_side(name, side):
  nets = tiny(BOTH[name], attention=side)
  for net, x in (('G', Z), ('D', X)):
    _, found = jax.eval_shape(
      lambda net=net, x=x: nets[net].init_with_output(
        jax.random.key(0),
        x,
        LABEL,
        train=False,
        capture_intermediates=lambda m, _: isinstance(m, SelfAttention),
      )
    )
    shapes = [y.shape for y in jax.tree.leaves(found.get('intermediates', {}))]
    assert shapes == ([(4, side, side, 8)] if side else [])


@pytest.mark.slow
@pytest.mark.parametrize('name', ['biggan', 'biggan_deep'])
def test_every_parameter_has_a_gradient(name):
  nets = tiny(BOTH[name], width=8, width_D=8)
  for net, x in (('G', Z), ('D', X)):
    v = start(nets[net])
    rest = {k: w for k, w in v.items() if k != 'params'}
    # Running statistics: those of the batch would take out the biases before them.
    loss = lambda p, net=net, x=x, rest=rest: (
      nets[net].apply({'params': p, **rest}, x, LABEL, train=False) ** 2
    ).sum()
    for path, g in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(v['params'])):
      assert np.abs(g).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.mark.parametrize('name', BOTH)
def test_bfloat16_activations_keep_float32_parameters(name):
  nets = tiny(BOTH[name], dtype='bfloat16')
  for net, x in (('G', Z), ('D', X)):
    train = dict(train=True, mutable=['batch_stats', 'spectral_norm'])
    v = start(nets[net])
    y, new = jax.eval_shape(
      lambda net=net, v=v, x=x, train=train: nets[net].apply(v, x, LABEL, **train)
    )
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((v, new))} == {jnp.dtype('float32')}


@pytest.mark.slow
def test_bfloat16_is_near_float32():
  for net, x in (('G', Z), ('D', X)):
    v = start(tiny()[net])
    y, wanted = (
      jax.jit(
        lambda x, net=net, v=v, dtype=dtype: tiny(dtype=dtype)[net].apply(v, x, LABEL, train=False)
      )(x)
      for dtype in ('bfloat16', 'float32')
    )
    error = np.abs(y.astype(jnp.float32) - wanted)
    assert 0 < error.max() < 0.1 * np.abs(wanted).max()


def test_weights_start_orthogonal():
  block = biggan.UpBlock(4, None, biggan.EPS, 'float32', 'float32')
  v = block.init(jax.random.key(0), jnp.zeros((2, 4, 4, 8)), jnp.zeros((2, 3)), train=False)
  norm = v['params']['ConditionalBatchNorm_0']
  for kernel in (
    v['params']['Conv_0']['kernel'],
    v['params']['Conv_2']['kernel'],
    norm['scale']['kernel'],
  ):
    matrix = np.asarray(kernel).reshape(-1, kernel.shape[-1])
    np.testing.assert_allclose(np.linalg.svd(matrix)[1], 1, rtol=1e-5)


@pytest.mark.parametrize('name', BOTH)
def test_heads(name):
  """Classifier and proxies, which take no label. tests/layers/test_heads.py has their figures."""
  wanted = {'classifier': (4, 3), 'proxy': ((4, 5), (3, 5))}
  for head, shapes in wanted.items():
    D = tiny(BOTH[name], head=head)['D']
    (logits, found), _ = jax.eval_shape(
      lambda D=D: D.init_with_output(jax.random.key(0), X, train=False)
    )
    assert logits.shape == (4,)
    assert jax.tree.map(lambda y: y.shape, found) == shapes


@pytest.mark.parametrize('bad, line', [
  (dict(resolution=48), 'networks.name=biggan is of .32, 64, 128. pixels, not data.resolution=48'),
  (dict(width=0), 'networks.width and networks.width_D must be'),
  (dict(num_classes=0), 'networks.num_classes=0 must be at least 1'),
  (dict(shared_dim=-1), 'networks.shared_dim=-1'),
  (dict(attention=32), r'networks.attention=32 must be 0 or .*\[16, 8\]'),
  (dict(attention=4), 'networks.attention=4'),
  (dict(head='mlp'), "networks.head='mlp' is not known"),
  (dict(embed_dim=0), 'networks.embed_dim=0'),
  (dict(network=biggan_deep, resolution=48), 'networks.name=biggan_deep is of'),
  (dict(network=biggan_deep, shared_dim=0), 'networks.shared_dim=0'),
  (dict(network=biggan_deep, width_D=3), 'networks.width_D=3 even'),
])  # fmt: skip
def test_build_refuses(bad, line):
  with pytest.raises(UserError, match=line) as error:
    tiny(**bad)
  assert '\n' not in str(error.value)


def test_what_networks_refuse():
  nets = tiny()
  for net, x, label, line in (
    ('G', Z[:, :7], LABEL, 'method.z_dim=7 must be a multiple of 4'),
    ('G', Z, None, 'num_classes=3.*no labels'),
    ('D', X, None, 'num_classes=3.*no labels'),
    ('D', X, np.zeros((4, 2), np.float32), 'weights .B, 3.'),
  ):
    with pytest.raises(UserError, match=line):
      jax.eval_shape(lambda: nets[net].init(jax.random.key(0), x, label, train=False))  # noqa: B023
