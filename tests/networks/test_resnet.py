"""The residual networks: published sizes, what conditions do, spectral norm and devices in the real update.

tests/parity/test_resnet_torch.py holds outputs, gradients and statistics to PyTorch's.
"""

import runpy

import device_run
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, experiment
from ganjax.devices import sharding
from ganjax.layers.attention import SelfAttention
from ganjax.method import apply
from ganjax.networks import resnet
from ganjax.update import count

LABEL = np.array([0, 1, 2, 1])
Z = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
X = np.random.default_rng(1).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)


def tiny(**kwargs):
  return resnet.build(**{'resolution': 32, 'channels': 3, 'width': 4, 'width_D': 4, **kwargs})


# As torch-mimicry 0.1.16 counts its own (https://github.com/kwotsin/mimicry; nets sngan_*, cgan_pd_32).
@pytest.mark.parametrize(
  'case, sizes',
  [
    (dict(resolution=32), (4_276_739, 1_053_825)),
    (dict(resolution=32, num_classes=10), (4_304_387, 1_055_105)),
    (dict(resolution=48, width=64, width_D=64), (4_878_083, 10_141_441)),
    (dict(resolution=64, width=64, width_D=64), (12_220_675, 10_141_441)),
    (dict(resolution=128, width=64, width_D=64), (32_150_787, 29_017_857)),
  ],
)
def test_sizes_are_the_published(case, sizes):
  nets, size = resnet.build(channels=3, **case), case['resolution']
  for net, x, wanted in (
    ('G', jnp.zeros((2, 128)), sizes[0]),
    ('D', jnp.zeros((2, size, size, 3)), sizes[1]),
  ):
    start = lambda x, net=net: nets[net].init(jax.random.key(0), x, LABEL[:2], train=False)
    variables = jax.eval_shape(start, x)
    assert count(variables['params']) == wanted
    assert ('spectral_norm' in variables) == (net == 'D')
    assert ('batch_stats' in variables) == (net == 'G')


@pytest.mark.parametrize('resolution', resnet.SHAPES)
def test_shapes(resolution):
  nets = tiny(resolution=resolution, channels=1, width=2, width_D=2)
  images = jax.eval_shape(
    lambda z: nets['G'].init_with_output(jax.random.key(0), z, train=False), Z
  )
  assert images[0].shape == (4, resolution, resolution, 1)
  logits = jax.eval_shape(
    lambda x: nets['D'].init_with_output(jax.random.key(0), x, train=False), images[0]
  )
  assert logits[0].shape == (4,)


@pytest.mark.slow
def test_without_their_tables_conditional_networks_are_the_plain_ones():
  plain, nets = tiny(spectral=False), tiny(spectral=False, num_classes=3)
  for net, x in (('G', Z), ('D', X)):
    v = nets[net].init(jax.random.key(0), x, LABEL, train=False)
    own = plain[net].init(jax.random.key(0), x, train=False)
    # Convolutions are alike; a batch norm of 1 and 0 is a conditional one of zero tables.
    merged = jax.tree_util.tree_map_with_path(
      lambda path, leaf, v=v: _get(v['params'], path, leaf), own['params']
    )
    if net == 'D':
      v['params']['ClassEmbed_0']['embedding'] *= 0
    ours = nets[net].apply(v, x, LABEL, train=False)
    np.testing.assert_allclose(
      ours, plain[net].apply({**own, 'params': merged}, x, train=False), rtol=1e-5, atol=1e-6
    )


def _get(tree, path, default):
  for key in path:
    if key.key not in tree:
      return default
    tree = tree[key.key]
  return tree


@pytest.mark.slow
def test_the_condition_is_of_its_own_sample():
  nets = tiny(num_classes=3)
  other = np.array([0, 2, 2, 1])  # of the second sample
  for net, x in (('G', Z), ('D', X)):
    v = nets[net].init(jax.random.key(0), x, LABEL, train=False)
    noisy = lambda w: w + np.random.default_rng(0).normal(size=w.shape)
    v['params'] = jax.tree.map(noisy, v['params'])  # tables of batch norm start at zero
    a, b = (np.asarray(nets[net].apply(v, x, label, train=False)) for label in (LABEL, other))
    differs = (a != b).reshape(4, -1).any(1)
    np.testing.assert_array_equal(differs, [False, True, False, False])


def test_the_discriminator_takes_samples_one_by_one():
  D = tiny(spectral=False)['D']
  v = D.init(jax.random.key(0), X, train=False)
  run = jax.jit(lambda x: D.apply(v, x, train=True))
  np.testing.assert_allclose(run(X)[:2], run(np.concatenate([X[:2], -X[2:]]))[:2], rtol=1e-5)


def test_pool():
  sums, means = tiny(pool='sum', spectral=False)['D'], tiny(pool='mean', spectral=False)['D']
  v = sums.init(jax.random.key(0), X, train=False)  # biases are zero, and the last map is 8x8
  y = means.apply(v, X, train=False)
  np.testing.assert_allclose(sums.apply(v, X, train=False), 64 * y, rtol=1e-4, atol=1e-6)


def start(net, x, label=LABEL):
  """Shapes of a network's variables and of what it returns, and those of its attention."""
  out, v = jax.eval_shape(
    lambda: net.init_with_output(
      jax.random.key(0),
      x,
      label,
      train=False,
      capture_intermediates=lambda m, _: isinstance(m, SelfAttention),
    )
  )
  return out, v, [y.shape for y in jax.tree.leaves(v.get('intermediates', {}))]


@pytest.mark.parametrize('case, side', [
  (dict(attention=8), 8),
  (dict(attention=16), 16),
  (dict(attention=24, resolution=48), 24),
  (dict(attention=32, resolution=128), 32),
  (dict(), 0),
], ids=str)  # fmt: skip
def test_attention_is_on_maps_of_that_side(case, side):
  nets = tiny(width=8, width_D=8, **case)
  size = case.get('resolution', 32)
  for net, x in (('G', Z), ('D', jnp.zeros((4, size, size, 3)))):
    _, _, shapes = start(nets[net], x)
    assert [s[1:3] for s in shapes] == ([(side, side)] if side else [])


def test_sagan_has_spectral_norm_everywhere_but_in_tables():
  nets = tiny(width=8, width_D=8, attention=16, spectral_G=True, num_classes=3)
  _, v, _ = start(nets['G'], Z)
  us = {jax.tree_util.keystr(path) for path, _ in _leaves(v['spectral_norm'])}
  # The linear layer and the last convolution, 3 blocks of 3 convolutions, 4 of attention.
  assert len(us) == 2 + 3 * 3 + 4
  own = {jax.tree_util.keystr(path) for path, _ in _leaves(v['params']) if path[-1].key == 'kernel'}
  assert len(own) == len(us)
  assert len(jax.tree.leaves(start(nets['D'], X)[1]['spectral_norm'])) == 11 + 1 + 4


_leaves = jax.tree_util.tree_leaves_with_path


def test_the_scale_of_normalised_weights_of_g_does_not_matter():
  G = tiny(spectral_G=True)['G']
  v = jax.jit(lambda: G.init(jax.random.key(0), Z, train=False))()
  run = jax.jit(lambda v: G.apply(v, Z, train=False))
  y = run(v)
  assert y.std() > 0.01
  triple = lambda path, w: 3 * w if path[-1].key == 'kernel' else w
  v['params'] = jax.tree_util.tree_map_with_path(triple, v['params'])
  np.testing.assert_allclose(run(v), y, rtol=1e-4, atol=1e-5)


def test_heads():
  """Classifier and proxies take no label; tests/layers/test_heads.py has their figures."""
  wanted = {'projection': (4,), 'classifier': ((4,), (4, 3)), 'proxy': ((4,), ((4, 5), (3, 5)))}
  for head, shapes in wanted.items():
    nets = tiny(num_classes=3, head=head, embed_dim=5)
    out, v, _ = start(nets['D'], X, LABEL if head == 'projection' else None)
    assert jax.tree.map(lambda y: y.shape, out) == shapes
    assert len(jax.tree.leaves(v['spectral_norm'])) == 11 + 1 + (head == 'proxy')
    assert nets['G'].num_classes == nets['D'].num_classes == 3


@pytest.fixture(scope='module')
def runs():
  """Devices -> (state, metrics) of 2 steps of SNGAN's networks in float64; 0 -> the run."""
  config = runpy.run_path(str(device_run.CONFIG))['get_config']()
  config.update(steps=2, batch_size=8)
  config.networks = dict(name='resnet', width=4, width_D=4, dtype='float64', param_dtype='float64')
  config.optim.G.eps = config.optim.D.eps = 1e-6
  with jax.enable_x64(True):
    run = experiment.build(config)
    devices = jax.devices()
    train = lambda n, steps: device_run.train(
      run, device_run.Pictures(), sharding.make_mesh(devices[:n]), steps
    )
    return {0: run, 'start': train(1, 0), 1: train(1, 2), 4: train(4, 2)}


@pytest.mark.slow
def test_one_and_four_devices_train_alike(runs):
  flat = lambda n: jax.tree_util.tree_leaves_with_path(runs[n])
  assert len(flat(1)) == len(flat(4)) > 100
  for (path, a), (_, b) in zip(flat(1), flat(4)):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=jax.tree_util.keystr(path))


@pytest.mark.slow
def test_training_moves_u_and_evaluation_does_not(runs):
  (before, _), (after, _), run = runs['start'], runs[1], runs[0]
  us = jax.tree_util.tree_leaves_with_path(after.stats['D']['spectral_norm'])
  old = jax.tree.leaves(before.stats['D']['spectral_norm'])
  assert len(us) == 11 == len(old)  # 4 blocks of 2 convolutions, 2 shortcuts and the last layer
  for (path, u), start in zip(us, old):
    np.testing.assert_allclose(np.linalg.norm(u), 1, rtol=1e-12)
    assert len(u) == 1 or not np.allclose(u, start), jax.tree_util.keystr(path)
  with jax.enable_x64(True):
    _, state = apply(run.method.nets['D'], after, X.astype(np.float64), train=False)
    assert state is after
    _, state = apply(run.method.nets['D'], after, X.astype(np.float64), train=True)
  moved = [
    not np.array_equal(a, b)
    for a, b in zip(
      jax.tree.leaves(state.stats['D']['spectral_norm']),
      jax.tree.leaves(after.stats['D']['spectral_norm']),
    )
  ]
  assert sum(moved) == 10


@pytest.mark.parametrize(
  'bad, line',
  [
    (dict(resolution=40), 'data.resolution=40'),
    (dict(pool='max'), "networks.pool='max'"),
    (dict(width_D=0), 'networks.width_D'),
    (dict(num_classes=-1), 'networks.num_classes=-1 must be at least 0'),
    (dict(embed_dim=0), 'networks.embed_dim=0 at least 1'),
    (dict(head='proxi'), r"networks.head='proxi' is not known \(did you mean proxy\?\)"),
    (dict(head='proxy'), "networks.head='proxy' tells .* networks.num_classes must be set"),
    (dict(attention=32), r'networks.attention=32 must be 0 or .*\[16, 8\]'),
    (dict(attention=6, resolution=48), r'\[24, 12\]'),
  ],
)
def test_build_refuses(bad, line):
  with pytest.raises(UserError, match=line):
    tiny(**bad)


def test_conditional_networks_refuse_a_method_without_labels():
  for net, x in (('G', Z), ('D', X)):
    with pytest.raises(UserError, match='num_classes=3.*no labels'):
      jax.eval_shape(
        lambda net=net, x=x: tiny(num_classes=3)[net].init(jax.random.key(0), x, train=False)
      )
