"""Batch norm, conditional too: its four modes, and PyTorch's conventions."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.norm import BatchNorm, ConditionalBatchNorm, instance_norm, use_standing
from ganjax.layers.spectral import SpectralNorm

X = 3 + 2 * np.random.default_rng(0).normal(size=(5, 8, 4, 4, 3)).astype(np.float32)


def variables(**kwargs):
  return BatchNorm(**kwargs).init(jax.random.key(0), X[0], train=False)


def test_train_normalises_by_the_biased_and_remembers_the_unbiased_variance():
  y, new = BatchNorm().apply(variables(), X[0], train=True, mutable=['batch_stats'])
  mean, var = X[0].mean((0, 1, 2)), X[0].var((0, 1, 2))
  np.testing.assert_allclose(y, (X[0] - mean) / np.sqrt(var + 1e-5), atol=1e-5)
  # torch.nn.BatchNorm2d: momentum 0.1 is the new value's share; running variance divides by n - 1.
  np.testing.assert_allclose(new['batch_stats']['mean'], 0.1 * mean, rtol=1e-5)
  np.testing.assert_allclose(
    new['batch_stats']['var'], 0.9 + 0.1 * X[0].var((0, 1, 2), ddof=1), rtol=1e-5
  )


def test_running_uses_what_was_remembered():
  v = variables()
  v = {**v, 'batch_stats': {'mean': jnp.array([1.0, 2, 3]), 'var': jnp.array([4.0, 9, 16])}}
  y = BatchNorm().apply(v, X[0], train=False)
  np.testing.assert_allclose(
    y, (X[0] - [1, 2, 3]) / np.sqrt(np.array([4, 9, 16]) + 1e-5), rtol=1e-4, atol=1e-6
  )


def test_initialising_leaves_the_statistics_alone():
  v = BatchNorm().init(jax.random.key(0), X[0], train=True)
  np.testing.assert_array_equal(v['batch_stats']['mean'], 0)
  np.testing.assert_array_equal(v['batch_stats']['var'], 1)


def test_standing_statistics_are_those_of_all_batches_together():
  stats = {'batch_stats': {'BatchNorm_0': variables()['batch_stats']}, 'standing': {}}
  params = variables()['params']
  standing = {}
  for x in X:
    v = {'params': params, 'batch_stats': stats['batch_stats']['BatchNorm_0'], **standing}
    _, new = BatchNorm().apply(v, x, train=True, mutable=['batch_stats', 'standing'])
    standing = {'standing': new['standing']}
  out = use_standing({**stats, 'standing': {'BatchNorm_0': standing['standing']}})
  assert out.keys() == {'batch_stats'}
  np.testing.assert_allclose(
    out['batch_stats']['BatchNorm_0']['mean'], X.mean((0, 1, 2, 3)), rtol=1e-5
  )
  np.testing.assert_allclose(
    out['batch_stats']['BatchNorm_0']['var'], X.var((0, 1, 2, 3), ddof=1), rtol=1e-4
  )


def over(devices, x):
  """(output, batch statistics, program) of a first call in training, with rows over so many devices."""
  mesh = sharding.make_mesh(jax.devices()[:devices])
  with jax.set_mesh(mesh):
    run = jax.jit(lambda x: BatchNorm().apply(variables(), x, train=True, mutable=['batch_stats']))
    x = sharding.place_batch(x, mesh)
    y, new = run(x)
    return np.asarray(y), new['batch_stats'], run.lower(x).compile().as_text()


@pytest.mark.parametrize('devices', [1, 4])
@pytest.mark.parametrize('mean', [0, 200, 1e4])
def test_large_means_do_not_cancel(mean, devices):
  """Two passes in float64 say the same of a first call, whose running mean is still 0."""
  x = (X[0] * [1, 1, 0.5] + mean).astype(np.float32)
  x[0] += 3  # a first row that is off
  exact = x.astype(np.float64)
  y, new, _ = over(devices, x)
  found = exact.mean((0, 1, 2)), exact.var((0, 1, 2)), exact.var((0, 1, 2), ddof=1)
  wanted = (exact - found[0]) / np.sqrt(found[1] + 1e-5)
  np.testing.assert_allclose(y, wanted, atol=1e-5 + 3e-7 * mean)
  np.testing.assert_allclose(new['mean'], 0.1 * found[0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(new['var'], 0.9 + 0.1 * found[2], rtol=1e-4)


def test_rows_of_each_device_may_differ_much_and_are_exchanged_once():
  """What one device has lies a thousand deviations from what another has."""
  x = X[0] + 1e3 * np.arange(8)[:, None, None, None].astype(np.float32)
  one, four = over(1, x), over(4, x)
  np.testing.assert_allclose(four[0], one[0], atol=1e-5)
  for name in 'mean', 'var':
    np.testing.assert_allclose(four[1][name], one[1][name], rtol=1e-5)
  np.testing.assert_allclose(
    four[1]['var'], 0.9 + 0.1 * x.astype(float).var((0, 1, 2), ddof=1), rtol=1e-5
  )
  exchanges = r' (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\('
  assert re.findall(exchanges, four[2]) == [('all-reduce', '')]
  assert re.findall(exchanges, one[2]) == []


def test_what_cancels_is_not_blown_up():
  """Far from the running mean: constant channels are their bias, and deviations that are lost stay small."""
  loss = lambda x: jnp.sum(
    BatchNorm().apply(variables(), x, train=True, mutable=['batch_stats'])[0] ** 2
  )
  for value in 0.0, 3.3, 4321.1, 1e6:
    constant = np.full((4, 2, 2, 3), value, np.float32)
    for x in constant, constant + X[0][:4, :2, :2]:
      y = BatchNorm().apply(variables(), x, train=True, mutable=['batch_stats'])[0]
      assert abs(y).max() < (0.01 if x is constant else 10)
      assert np.isfinite(jax.grad(loss)(x)).all()


@pytest.mark.parametrize('mean', [0, 1e4])
def test_instance_norm_is_of_each_picture_and_channel(mean):
  x = (X[0] * [1, 20, 0.5] + mean).astype(np.float32)
  exact = x.astype(np.float64)
  axes = dict(axis=(1, 2), keepdims=True)
  wanted = (exact - exact.mean(**axes)) / np.sqrt(exact.var(**axes) + 1e-5)
  np.testing.assert_allclose(instance_norm(x), wanted, atol=1e-5 + 3e-7 * mean)
  assert instance_norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
  assert np.abs(instance_norm(np.full((1, 4, 4, 2), 3.0, np.float32))).max() == 0


@pytest.mark.parametrize('condition', [pytest.param(None, marks=pytest.mark.slow), 'labels'])
def test_gradients_are_those_of_the_normalised_batch(condition):
  """First and second, as penalties take them, on one device and on four."""
  with jax.enable_x64(True):
    kinds = dict(dtype='float64', param_dtype='float64')
    x, target = X[0].astype(np.float64), X[1].astype(np.float64)
    net = ConditionalBatchNorm(4, **kinds) if condition else BatchNorm(**kinds)
    labels = (LABELS,) if condition else ()
    v = net.init(jax.random.key(0), x, *labels, train=False)
    v = {**v, 'batch_stats': {'mean': jnp.array([1.0, 2, 3]), 'var': jnp.ones(3)}}
    found = lambda x: net.apply(v, x, *labels, train=True, mutable=['batch_stats'])[0]
    mesh = sharding.make_mesh()
    plain = lambda x: (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5)

    def gradients(f, x=x):
      first = jax.grad(lambda x: jnp.sum(f(x) ** 2 * target))
      return first(x), jax.grad(lambda x: jnp.sum(first(x) ** 2))(x)

    exact = gradients(plain)
    with jax.set_mesh(mesh):
      over_four = jax.jit(lambda x: gradients(found, x))(sharding.place_batch(x, mesh))
    for a, b, c in zip(gradients(found), exact, over_four):
      np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
      np.testing.assert_allclose(c, b, rtol=1e-8, atol=1e-10)


def test_bfloat16_activations_have_float32_statistics():
  y, new = BatchNorm(dtype='bfloat16').apply(
    variables(dtype='bfloat16'),
    jnp.asarray(X[0], jnp.bfloat16),
    train=True,
    mutable=['batch_stats'],
  )
  assert y.dtype == jnp.bfloat16
  assert all(s.dtype == jnp.float32 for s in new['batch_stats'].values())


LABELS = np.array([1, 0, 1, 2, 2, 1, 0, 3])
VECTORS = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)


def conditional(condition, **kwargs):
  """A ConditionalBatchNorm with random weights, its variables, and its scale and bias for each of the 8 samples."""
  classes = None if condition is VECTORS else 4
  net = ConditionalBatchNorm(classes, kernel_init=jax.nn.initializers.normal(1.0), **kwargs)
  v = net.init(jax.random.key(0), X[0], condition, train=False)
  (s,), (b,) = v['params']['scale'].values(), v['params']['bias'].values()
  at = (lambda w: w[LABELS]) if condition is LABELS else (lambda w: condition @ w)
  return net, v, 1 + at(np.asarray(s)), at(np.asarray(b))


MIXTURES = np.random.default_rng(2).dirichlet(np.ones(4), 8).astype(np.float32)


@pytest.mark.parametrize(
  'condition', [LABELS, MIXTURES, VECTORS], ids=['labels', 'mixtures', 'vectors']
)
def test_conditional_is_batch_norm_with_the_scale_and_bias_of_each_sample(condition):
  net, v, scale, bias = conditional(condition)
  plain = variables()
  stats = {'mean': jnp.array([3.0, 2, 4]), 'var': jnp.array([4.0, 5, 3])}
  for train in (True, False):
    v, plain = {**v, 'batch_stats': stats}, {**plain, 'batch_stats': stats}
    y, new = net.apply(v, X[0], condition, train=train, mutable=['batch_stats'])
    wanted, kept = BatchNorm().apply(plain, X[0], train=train, mutable=['batch_stats'])
    wanted = wanted * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, new, kept)
    assert (new['batch_stats']['mean'] != stats['mean']).all() == train


def test_a_label_that_is_no_class_is_not_taken_for_another():
  net = ClassEmbed(4, 2)
  v = net.init(jax.random.key(0), LABELS)
  y = np.asarray(net.apply(v, np.array([0, 3, 4])))
  np.testing.assert_array_equal(y[:2], v['params']['embedding'][np.array([0, 3])])
  assert np.isnan(y[2]).all()


def test_conditional_starts_as_plain():
  net = ConditionalBatchNorm(num_classes=4)
  v = net.init(jax.random.key(0), X[0], LABELS, train=False)
  y = net.apply(v, X[0], LABELS, train=True, mutable=['batch_stats'])[0]
  wanted = BatchNorm().apply(variables(), X[0], train=True, mutable=['batch_stats'])[0]
  np.testing.assert_allclose(y, wanted, rtol=1e-6)


def test_conditional_has_standing_statistics():
  net, v, scale, bias = conditional(LABELS)
  stats = {'batch_stats': v['batch_stats']}
  for x in X:
    _, new = net.apply(
      {'params': v['params'], **stats}, x, LABELS, train=True, mutable=['batch_stats', 'standing']
    )
    stats |= new
  y = net.apply({'params': v['params'], **use_standing(stats)}, X[0], LABELS, train=False)
  mean, var = X.mean((0, 1, 2, 3)), X.var((0, 1, 2, 3), ddof=1)
  wanted = (X[0] - mean) / np.sqrt(var + 1e-5) * scale[:, None, None] + bias[:, None, None]
  np.testing.assert_allclose(y, wanted, rtol=1e-3, atol=1e-4)


def test_conditional_wraps_its_layers():
  net, v, _, _ = conditional(VECTORS, wrap=lambda layer: SpectralNorm(layer, 200))
  y = net.apply(v, X[0], VECTORS, train=True, mutable=['batch_stats'])[0]
  scale, bias = (
    VECTORS @ (w / np.linalg.norm(w, 2))
    for w in (np.asarray(v['params'][name]['kernel']) for name in ('scale', 'bias'))
  )
  plain = BatchNorm().apply(variables(), X[0], train=True, mutable=['batch_stats'])[0]
  wanted = plain * (1 + scale[:, None, None]) + bias[:, None, None]
  np.testing.assert_allclose(y, wanted, rtol=1e-3, atol=1e-4)


def test_conditional_refuses():
  for net, condition, message in (
    (ConditionalBatchNorm(), LABELS, 'conditional batch norm'),
    (ConditionalBatchNorm(num_classes=4), LABELS[:4], 'conditional batch norm'),
    (ConditionalBatchNorm(num_classes=4), LABELS.astype(np.float32), 'integers .B. or weights'),
    (ConditionalBatchNorm(num_classes=4), VECTORS, 'integers .B. or weights'),
    (ConditionalBatchNorm(num_classes=4), None, 'no labels'),
  ):
    with pytest.raises(UserError, match=message):
      net.init(jax.random.key(0), X[0], condition, train=False)
