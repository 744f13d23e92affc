"""Small parts: averages, optimizers, latents, flips, seeds, diversity."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from ganjax import UserError, experiment
from ganjax import config as configs
from ganjax.media import augment
from ganjax.method import Phase, Span
from ganjax.optim import averages
from ganjax.optim import optimizers as optim
from ganjax.sampling import latents, sampler


def test_ema_halves_an_old_value_over_a_half_life():
  value, zero = ({'params': x, 'stats': {}} for x in (jnp.ones(()), jnp.zeros(())))
  for step in range(50):
    value = averages.step(value, zero, averages.decay(step * 20, 20, 1000))
  np.testing.assert_allclose(value['params'], 0.5, rtol=1e-5)


def test_ema_rampup_bounds_the_half_life():
  assert (
    averages.decay(0, 64, 1e4, rampup=0.05) == 0
  )  # nothing seen yet: the average is the new value
  np.testing.assert_allclose(
    averages.decay(20_000, 100, 1e4, rampup=0.05), 0.5 ** (100 / 1000), rtol=1e-6
  )
  np.testing.assert_allclose(
    averages.decay(10**7, 100, 1e4, rampup=0.05), 0.5 ** (100 / 1e4), rtol=1e-6
  )


def test_ema_half_life_may_be_a_ramp_of_steps():
  ramp = dict(start=0, end=1000, steps=10, shape='linear')
  at = lambda step, half_life, **more: averages.decay(step * 64, 64, half_life, step=step, **more)
  assert at(0, ramp) == 0
  np.testing.assert_allclose(at(3, ramp), at(3, 300), rtol=1e-5)
  np.testing.assert_allclose([at(10, ramp), at(50, ramp)], [at(0, 1000)] * 2, rtol=1e-6)
  np.testing.assert_allclose(at(3, ramp, rampup=0.5), at(3, 96), rtol=1e-6)


def test_stages_sample_what_they_made():
  """The state at a boundary is that of the stage before it."""
  stages = [type('Stage', (), {})() for _ in range(2)]
  runs = [Span(stage, start, stop, 8, 0) for stage, start, stop in zip(stages, (0, 5), (5, 9))]
  run = experiment.Experiment(None, None, runs, None)
  expected = [stages[step > 5] for step in range(10)]
  assert [run.stage_after(step) for step in range(10)] == expected


def test_ema_averages_parameters_and_batch_statistics_and_copies_the_rest():
  def network(x):
    stats = {'batch_stats': {'mean': x, 'updates': jnp.int32(x)}}
    return {'params': {'w': x}, 'stats': stats | {'styles': {'w_avg': x}, 'noise': {'map': x}}}

  found = averages.step(network(jnp.float32(3)), network(jnp.float32(9)), jnp.float32(0.75))
  assert found == {
    'params': {'w': 4.5},
    'stats': {
      'batch_stats': {'mean': 4.5, 'updates': 9},
      'styles': {'w_avg': 9.0},
      'noise': {'map': 9.0},
    },
  }


def test_adam_is_optax_adam_with_the_rate_of_the_step():
  ours = optim.adam(lr=0.1, b1=0.5, b2=0.9, decay='linear', steps=10)
  theirs = optax.adam(lambda count: 0.1 * (1 - count / 10), 0.5, 0.9)
  p = q = jnp.array([1.0, -2.0])
  a, b = ours.init(p), theirs.init(q)
  for step in range(10):
    grad = jnp.array([0.3, 0.1 * step])
    u, a = ours.update(grad, a, p, step=step)
    v, b = theirs.update(grad, b, q)
    p, q = p + u, q + v
    np.testing.assert_allclose(p, q, rtol=1e-6)


def test_linear_decay_ends_at_zero_and_does_not_depend_on_counts():
  opt = optim.adam(lr=0.1, b1=0.5, b2=0.9, decay='linear', steps=10)
  state = opt.init(jnp.ones(()))
  change, _ = opt.update(jnp.ones(()), state, step=10)
  assert change == 0
  # A fresh state in the middle of training (reset_opt) does not start the schedule again.
  change, _ = opt.update(jnp.ones(()), state, step=5)
  np.testing.assert_allclose(change, -0.05, rtol=1e-5)


def adam_by_hand(p, grads, rates, b1, betas, eps=1e-8):
  """torch's Adam with lr and beta 2 set anew before each step."""
  m, v = np.zeros_like(p), np.zeros_like(p)
  for t, (g, lr, b2) in enumerate(zip(grads, rates, betas), 1):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
  return p


@pytest.mark.parametrize('lazy', [1.0, 0.8])
def test_adam_takes_ramps(lazy):
  lr = dict(start=0.2, end=0.05, steps=6)
  b2 = dict(start=0.9, end=0.99, steps=4, shape='linear')
  opt = optim.adam(lr=lr, b1=0.5, b2=b2, steps=99)
  left = (1 + np.cos(np.pi * np.minimum(np.arange(10) / 6, 1))) / 2
  rates = lazy * (0.05 + 0.15 * left)
  betas = (0.9 + 0.09 * np.minimum(np.arange(10) / 4, 1)) ** lazy
  start = np.array([1.0, -2.0])
  expected = adam_by_hand(start, GRADS, rates, 0.5**lazy, betas)
  np.testing.assert_allclose(run(opt, jnp.array(start), GRADS, lazy), expected, rtol=1e-4)


def test_adam_has_the_state_of_optax_with_ramps_and_without():
  p = {'w': jnp.ones((2, 3), jnp.bfloat16), 'b': jnp.ones(3)}
  expected = optax.chain(optax.scale_by_adam(0.5, 0.9), optax.identity())
  ramp = dict(start=0.9, end=0.99, steps=4)
  plain, ramped = (optim.adam(lr=0.1, b1=0.5, b2=b2, steps=9) for b2 in (0.9, ramp))
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  for opt in plain, ramped:
    assert shapes(opt.init(p)) == shapes(expected.init(p))
    _, state = jax.jit(opt.update)(p, opt.init(p), p, step=jnp.int32(1))
    assert shapes(state) == shapes(expected.init(p))
  # A run with a number as b2 goes on bit for bit as under optax.
  (ours, a), (theirs, b) = (o.update(p, o.init(p), p, step=1) for o in (plain, expected))
  jax.tree.map(np.testing.assert_array_equal, a, b)
  jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, -0.1 * y), ours, theirs)


@pytest.mark.parametrize(
  'bad',
  [
    *(dict(lr=0), dict(lr=-1.0), dict(b1=1.0), dict(b2=-0.1), dict(decay='cosine')),
    *(dict(lr='fast'), dict(lr=dict(start=0.1, end=-0.1, steps=5))),
    dict(b2=dict(start=0.9, end=1.0, steps=5)),
    dict(lr=dict(start=0.1, end=0.2, steps=5), decay='linear'),
  ],
)
def test_adam_refuses(bad):
  with pytest.raises(UserError):
    optim.adam(**{'lr': 0.1, 'b1': 0.5, 'b2': 0.9, 'steps': 10, **bad})


def rmsprop_by_hand(p, grads, lr, rate, eps):
  mean = np.zeros_like(p)
  for g in grads:
    mean = rate * mean + (1 - rate) * g**2
    p = p - lr * g / (np.sqrt(mean) + eps)
  return p


def run(opt, p, grads, lazy=1.0):
  state = opt.init(p)
  for step, g in enumerate(grads):
    change, state = opt.update(g, state, p, step=step, lazy=lazy)
    p = optax.apply_updates(p, change)
  return p


PHASE = [Phase('D', None, ('D',), 'D')]
GRADS = np.random.default_rng(0).normal(size=(10, 2))


def test_rmsprop_is_that_of_the_books():
  start = np.array([1.0, -2.0])
  config = dict(name='rmsprop', lr=0.1, decay_rate=0.9, eps=1e-3)
  opt = optim.build({'D': config}, PHASE, 10)['D']
  np.testing.assert_allclose(
    run(opt, jnp.array(start), GRADS), rmsprop_by_hand(start, GRADS, 0.1, 0.9, 1e-3), rtol=1e-5
  )


def test_rmsprop_follows_the_schedule():
  opt = optim.build({'D': configs.rmsprop(lr=0.1, decay='linear')}, PHASE, 10)['D']
  state = opt.init(jnp.ones(()))
  rates = [float(opt.update(jnp.ones(()), state, step=step)[0]) for step in (0, 5, 10)]
  np.testing.assert_allclose(rates, [-1, -0.5, 0], rtol=1e-5)  # the first g / sqrt(mean) is 10


@pytest.mark.parametrize('make', [configs.adam, configs.rmsprop])
def test_clipped_parameters_stay_in_their_box(make):
  free = optim.build({'D': make(lr=0.05)}, PHASE, 10)['D']
  held = optim.build({'D': make(lr=0.05, clip=0.1)}, PHASE, 10)['D']
  p, inside = {'w': jnp.array([1.5, -3.0, 0.02])}, {'w': jnp.array([0.0, 0.001, 0.02])}
  g = {'w': jnp.array([1.0, -1.0, 0.0])}
  np.testing.assert_allclose(run(held, p, [g])['w'], [0.1, -0.1, 0.02], atol=1e-6)
  # What stays in the box moves as it would without one.
  step = free.update(g, free.init(inside), inside, step=0)[0]['w']
  after = np.clip(inside['w'] + step, -0.1, 0.1)
  np.testing.assert_allclose(run(held, inside, [g])['w'], after, rtol=1e-5)
  for sign in 1, -1:
    push = {'w': jnp.full(3, float(sign))}
    np.testing.assert_allclose(run(held, inside, [push] * 20)['w'], -sign * 0.1, atol=1e-6)


def test_adam_scales_as_beside_a_regularizer_where_that_is_stated():
  """StyleGAN2-ADA on CIFAR-10: path length every 4 steps, of weight 0, and yet 4/5 of the rate and of the log betas."""
  stated = optim.build({'D': configs.adam(lr=0.0025, b1=0.3, b2=0.99, lazy_every=4)}, PHASE, 10)
  wanted = optim.adam(lr=0.002, b1=0.3**0.8, b2=0.99**0.8, steps=10)
  p = jnp.array([1.0, -2.0])
  np.testing.assert_allclose(run(stated['D'], p, GRADS), run(wanted, p, GRADS), rtol=1e-6)
  assert 'lazy_every' not in configs.adam()


def test_a_saved_optimizer_without_a_name_is_adam():
  old = optim.build({'D': dict(lr=0.1, b1=0.5, b2=0.9, eps=1e-8, decay='constant')}, PHASE, 10)['D']
  new = optim.adam(lr=0.1, b1=0.5, b2=0.9, steps=10)
  p = jnp.array([1.0, -2.0])
  np.testing.assert_array_equal(run(old, p, GRADS), run(new, p, GRADS))
  assert 'name' not in configs.adam()  # so that configs of 0.1.0 compare equal


@pytest.mark.parametrize(
  'config, message',
  [
    (dict(name='sgd', lr=0.1), r"'sgd' is not known; there are adam, rmsprop"),
    (dict(name='rmsprop', lr=0.1, b1=0.5), r"'rmsprop' does not take b1"),
    (dict(lr=0.1, b1=0.5, b2=0.9, decay_rate=0.9), r"'adam' does not take decay_rate"),
    (dict(lr=0.1, b1=0.5, b2=0.9, steps=3), r"'adam' does not take steps"),
    (dict(name='rmsprop', lr=0.1, decay_rate=1.0), r'decay_rate=1'),
    (dict(name='rmsprop', lr=0.0), r'lr=0'),
    (configs.adam(clip=0.0), r'clip=0'),
    (configs.adam(lazy_every=0), r'lazy_every=0'),
  ],
)
def test_optimizers_refuse(config, message):
  with pytest.raises(UserError, match=message):
    optim.build({'D': config}, PHASE, 10)


def test_optimizers_must_be_those_the_phases_use():
  with pytest.raises(UserError, match='must hold'):
    optim.build({'X': dict(lr=0.1, b1=0, b2=0.9)}, [], 10)


def test_latents_per_seed_depend_on_their_own_seed():
  a = latents.per_seed(np.array([3, 4, 5]), 8)
  b = latents.per_seed(np.array([5, 3]), 8)
  np.testing.assert_array_equal(a[0], b[1])
  np.testing.assert_array_equal(a[2], b[0])


def test_slerp_keeps_the_norm_and_meets_the_ends():
  a, b = np.random.default_rng(0).normal(size=(2, 1, 100))
  a, b = a / np.linalg.norm(a) * 10, b / np.linalg.norm(b) * 10
  t = np.linspace(0, 1, 5)
  path = np.asarray(latents.slerp(a, b, t))
  np.testing.assert_allclose(np.linalg.norm(path, axis=1), 10, rtol=1e-5)
  np.testing.assert_allclose(path[0], a[0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(path[-1], b[0], rtol=1e-5, atol=1e-6)
  angle = lambda x, y: np.arccos(np.clip(x @ y / 100, -1, 1))
  steps = [angle(x, y) for x, y in zip(path, path[1:])]
  np.testing.assert_allclose(steps, steps[0], rtol=1e-3)  # equal angles
  assert np.isfinite(latents.slerp(a, a, t)).all()


def test_prepare_scales_to_minus_one_and_one_and_flips_half_of_the_examples_whole():
  x = np.random.default_rng(0).integers(0, 256, (200, 2, 4, 3), np.uint8)
  x[0, 0, 0, 0], x[0, 0, 1, 0] = 0, 255
  batch = {'source': x, 'target': x[:, ::-1].copy(), 'label': np.arange(200, dtype=np.int32)}
  batch['solid'] = x[..., None] & 1  # voxels are no picture
  kinds = {'source': 'image', 'target': 'image', 'label': 'label'}
  plain = augment.prepare(batch, jax.random.key(0), flip=False, kinds=kinds)
  assert plain['source'].dtype == jnp.float32
  assert (plain['source'].min(), plain['source'].max()) == (-1, 1)
  flipped = augment.prepare(batch, jax.random.key(0), flip=True, kinds=kinds)
  for found in plain, flipped:
    for name in 'label', 'solid':
      assert found[name].dtype == batch[name].dtype
      np.testing.assert_array_equal(found[name], batch[name])
  mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped['source'], plain['source'])]
  same = [np.array_equal(a, b) for a, b in zip(flipped['source'], plain['source'])]
  assert all(m != s for m, s in zip(mirrored, same))
  assert 70 < sum(mirrored) < 130
  np.testing.assert_array_equal(
    flipped['target'], flipped['source'][:, ::-1]
  )  # one coin an example


def test_seeds():
  np.testing.assert_array_equal(sampler.parse_seeds('0-2,7'), [0, 1, 2, 7])
  for bad in 'x', '5-', '3-1', '-4', '':
    with pytest.raises(UserError, match='--seeds'):
      sampler.parse_seeds(bad)


def test_diversity():
  x = np.zeros((3, 2, 2, 1), np.uint8)
  assert sampler.diversity(x) == 0
  x[0] = 255  # two of three pairs differ everywhere by the whole range
  np.testing.assert_allclose(sampler.diversity(x), 2 / 3)


def test_truncated_latents_are_cut_off_and_else_the_same():
  plain, none = (
    latents.per_seed(np.arange(5), 1000),
    latents.per_seed(np.arange(5), 1000, truncation=0.0),
  )
  np.testing.assert_array_equal(plain, none)
  half = np.asarray(latents.per_seed(np.arange(5), 1000, truncation=0.5))
  assert 0.49 < np.abs(half).max() <= 0.5 and abs(half.mean()) < 0.02
  np.testing.assert_array_equal(half[2:3], latents.per_seed(np.array([2]), 1000, truncation=0.5))
  # The variance of a normal distribution cut off at +-0.5.
  assert half.var() == pytest.approx(scipy.stats.truncnorm(-0.5, 0.5).var(), rel=0.05)
  with pytest.raises(UserError, match='truncation=-1'):
    latents.per_seed(np.arange(2), 3, truncation=-1)
