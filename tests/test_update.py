"""The core, by small methods that each use one of its mechanisms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import slow

from ganjax import UserError
from ganjax.layers.norm import BatchNorm
from ganjax.method import Aux, Frozen, Method, Phase, Span, Stage, apply, averaged, name_nets, spans
from ganjax.optim import optimizers as optim
from ganjax.update import active, all_finite, init, init_opt, lazy_ratio, make_update

ADAM = dict(lr=1e-2, b1=0.5, b2=0.9)
LATENTS = lambda seeds, examples: jnp.zeros((len(seeds), 2))


class Linear(nn.Module):
  """A linear map with batch norm, so that there are statistics."""

  features: int = 1
  norm: bool = False

  @nn.compact
  def __call__(self, x, label=None, *, train):
    x = nn.Dense(self.features)(x)
    return BatchNorm()(x, train=train) if self.norm else x


def sample(state, z, **mode):
  return z, state


def setup(method, steps=8, optim_names=('D', 'G'), seed=0):
  optimizers = optim.build(dict.fromkeys(optim_names, ADAM), method.phases, steps)
  state = init(method, optimizers, jax.random.key(seed), batch(0))
  return state, optimizers


def batch(step, n=8):
  return {'image': jax.random.normal(jax.random.key(step), (n, 3))}


def changed(a, b):
  return {
    n
    for n in a.params
    if any(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (a.params[n], b.params[n]))))
  }


def copy(state):
  return jax.tree.map(jnp.copy, state)


def two_nets(phases, **kwargs):
  nets = name_nets({'G': Linear(3, norm=True), 'D': Linear()})
  G, D = nets['G'], nets['D']

  def loss_D(state, batch, key):
    fake, _ = apply(G, state, batch['image'], train=True)
    real, state = apply(D, state, batch['image'], train=True)
    logits, state = apply(D, state, fake, train=True)
    return jnp.mean(logits) - jnp.mean(real), Aux(state, {'loss_D': jnp.mean(real)})

  def loss_G(state, batch, key):
    fake, state = apply(G, state, batch['image'], train=True)
    logits, _ = apply(D, state, fake, train=True)
    return -jnp.mean(logits), Aux(state, {'loss_G': jnp.mean(logits)})

  def penalty(state, batch, key):
    real, _ = apply(D, state, batch['image'], train=True)
    return jnp.mean(real**2), Aux(state, {'penalty': jnp.mean(real**2)})

  losses = {'D': loss_D, 'G': loss_G, 'D_reg': penalty}
  made = tuple(Phase(name, losses[name], (name[0],), name[0], **extra) for name, extra in phases)
  inputs = lambda b: {'G': (b['image'],), 'D': (b['image'],)}
  return Method(nets, inputs, LATENTS, (Stage(made, sample),), **kwargs)


def run(method, state, optimizers, start, stop, steps=8, **kwargs):
  """Runs the steps start..stop; returns the state and each step's metrics."""
  seen = []
  for span in spans(method, steps, 8):
    update = make_update(method, span, optimizers, **kwargs)
    for step in range(max(start, span.start), min(stop, span.stop)):
      batches = tuple(batch(100 * step + r) for r in range(method.n_critic))
      if span.stage.reset_opt and step == span.start:
        state = state.replace(opt=init_opt(method, optimizers, state.params))
      state, metrics = update(state, batches, {}, phases=active(span.stage, step))
      seen.append(metrics)
  return state, seen


def same(a, b):
  keys = jax.random.key_data(a.key), jax.random.key_data(b.key)
  for x, y in zip(
    *map(jax.tree.leaves, (a.replace(key=keys[0]), b.replace(key=keys[1]))), strict=True
  ):
    np.testing.assert_array_equal(x, y)


def test_a_phase_trains_its_networks_alone():
  for name in 'D', 'G':
    method = two_nets([('D', {}), ('G', {})])
    method = method._replace(stages=(method.stages[0]._replace(phases=method.stages[0].phases),))
    state, optimizers = setup(method)
    update = make_update(method, spans(method, 8, 8)[0], optimizers)
    before = copy(state)
    state, metrics = update(state, (batch(0),), {}, phases=(name,))
    assert changed(before, state) == {name}
    # What a phase does not run does not report: no dead metrics.
    assert metrics.keys() == {f'loss_{name}', f'grad_norm_{name}'}
    assert int(state.step) == 1


def test_one_phase_is_one_adam_step_on_its_gradient():
  method = two_nets([('D', {}), ('G', {})])
  state, optimizers = setup(method)
  phase = method.stages[0].phases[0]
  grads = jax.grad(
    lambda p: phase.loss(state.replace(params={**state.params, 'D': p}), batch(0), None)[0]
  )(state.params['D'])
  adam = optax.adam(ADAM['lr'], ADAM['b1'], ADAM['b2'])
  changes, _ = adam.update(grads, adam.init(state.params['D']))
  expected = optax.apply_updates(state.params['D'], changes)
  update = make_update(method, spans(method, 8, 8)[0], optimizers)
  got, metrics = update(copy(state), (batch(0),), {}, phases=('D',))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got.params['D'], expected)
  np.testing.assert_allclose(metrics['grad_norm_D'], optax.tree.norm(grads), rtol=1e-6)


def test_statistics_kept_are_those_the_loss_returns():
  method = two_nets([('D', {}), ('G', {})])
  state, optimizers = setup(method)
  update = make_update(method, spans(method, 8, 8)[0], optimizers)
  mean = lambda s: np.asarray(s.stats['G']['batch_stats']['BatchNorm_0']['mean'])
  before = mean(state)
  after_D, _ = update(copy(state), (batch(0),), {}, phases=('D',))
  after_G, _ = update(copy(state), (batch(0),), {}, phases=('G',))
  assert np.array_equal(before, mean(after_D))  # D's loss drops G's statistics
  assert not np.array_equal(before, mean(after_G))


def test_n_critic_runs_repeated_phases_on_each_batch():
  five = two_nets([('D', {'repeat': True}), ('G', {})], n_critic=5)
  state, optimizers = setup(five)
  batches = tuple(batch(r) for r in range(5))
  update = make_update(five, spans(five, 8, 8)[0], optimizers)
  got, _ = update(copy(state), batches, {}, phases=('D', 'G'))
  # By hand: five updates of D, then one of G that sees the last batch.
  one = make_update(two_nets([('D', {}), ('G', {})]), spans(five, 8, 8)[0], optimizers)
  expected = copy(state)
  for b in batches:
    expected, _ = one(expected, (b,), {}, phases=('D',))
  expected, _ = one(expected, batches[-1:], {}, phases=('G',))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), got.params, expected.params
  )
  assert int(got.opt['D'][0].count) == 5
  assert int(got.opt['G'][0].count) == 1
  assert int(got.step) == 1


LAZY = [('D', {}), ('D_reg', {'every': 4}), ('G', {})]


def test_lazy_phases_run_on_their_steps_with_the_loss_times_every():
  method = two_nets(LAZY)
  state, optimizers = setup(method)
  assert [active(method.stages[0], s) for s in (0, 1, 3, 4)] == [
    ('D', 'D_reg', 'G'),
    ('D', 'G'),
    ('D', 'G'),
    ('D', 'D_reg', 'G'),
  ]
  update = make_update(method, spans(method, 8, 8)[0], optimizers)
  _, metrics = update(copy(state), (batch(0),), {}, phases=('D_reg',))
  penalty = method.stages[0].phases[1].loss
  grads = jax.grad(
    lambda p: penalty(state.replace(params={**state.params, 'D': p}), batch(0), None)[0]
  )(state.params['D'])
  np.testing.assert_allclose(metrics['grad_norm_D_D_reg'], 4 * optax.tree.norm(grads), rtol=1e-5)
  # StyleGAN2: learning rate and log betas times k / (k + 1).
  assert lazy_ratio(method.stages[0], 'D') == pytest.approx(4 / 5)
  assert lazy_ratio(method.stages[0], 'G') == 1


def test_each_stage_scales_by_its_own_phases():
  """The same stage once or six times over, and stages with and without a regularizer: each has its own rate."""
  (stage,) = two_nets([('D', {}), ('D_reg', {'every': 16})]).stages
  plain = stage._replace(phases=stage.phases[:1])
  for stages in (stage,), (stage,) * 6, (plain, stage):
    method = two_nets([])._replace(stages=tuple(s._replace(steps=2) for s in stages))
    state, optimizers = setup(method, steps=2 * len(stages), optim_names=('D',))
    for span in spans(method, 2 * len(stages), 8):
      ratio = 16 / 17 if len(span.stage.phases) == 2 else 1.0
      update = make_update(method, span, optimizers)
      fresh = copy(state).replace(opt=init_opt(method, optimizers, state.params))
      new, _ = update(fresh, (batch(0),), {}, phases=('D',))
      assert jax.tree.structure(new) == jax.tree.structure(state)
      # Adam's first update is the rate in each coordinate, and its moments tell the betas.
      moved = new.params['D']['Dense_0']['kernel'] - state.params['D']['Dense_0']['kernel']
      np.testing.assert_allclose(np.abs(moved), ADAM['lr'] * ratio, rtol=1e-4)
      adam = new.opt['D'][0]
      mu, nu = (np.asarray(tree['D']['Dense_0']['kernel']) for tree in (adam.mu, adam.nu))
      b1, b2 = ADAM['b1'] ** ratio, ADAM['b2'] ** ratio
      np.testing.assert_allclose(nu / mu**2, (1 - b2) / (1 - b1) ** 2, rtol=1e-4)


@pytest.mark.parametrize('stop', slow.but(range(1, 8), 3, 4))
def test_lazy_schedule_goes_on_after_a_stop_at_every_offset(stop):
  method = two_nets(LAZY)
  state, optimizers = setup(method)
  whole, metrics = run(method, copy(state), optimizers, 0, 8)
  part, first = run(method, copy(state), optimizers, 0, stop)
  resumed, second = run(method, copy(part), optimizers, int(part.step), 8)
  same(whole, resumed)
  assert [m.keys() for m in metrics] == [m.keys() for m in first + second]


def test_each_pattern_is_traced_once():
  method = two_nets(LAZY)
  state, optimizers = setup(method)
  update = make_update(method, spans(method, 8, 8)[0], optimizers)
  for step in range(8):
    state, _ = update(state, (batch(step),), {}, phases=active(method.stages[0], step))
  assert update._cache_size() == 2


class Grows(nn.Module):
  """A network whose parameters exist for both levels, of which a stage uses one."""

  @nn.compact
  def __call__(self, x, label=None, *, train, level=1):
    low, high = nn.Dense(1, name='low'), nn.Dense(1, name='high')
    if self.is_initializing():
      low(x), high(x)
    return high(x) if level else low(x[:, ::2, ::2])


def test_two_stages_of_different_resolution_and_fresh_optimizers():
  nets = name_nets({'D': Grows()})

  def loss(level):
    def run(state, batch, key):
      size = 4 * (level + 1)
      assert batch['image'].shape[1:3] == (size, size)
      out, state = apply(nets['D'], state, batch['image'], train=True, level=level)
      return jnp.mean(out), Aux(state, {'loss': jnp.mean(out)})

    return run

  stages = tuple(
    Stage(
      (Phase('D', loss(level), ('D',), 'D'),),
      sample,
      steps=[0.25, None][level],
      data={'resolution': 4 * (level + 1), 'batch_size': 8 // (level + 1)},
      reset_opt=bool(level),
    )
    for level in (0, 1)
  )
  method = Method(nets, lambda b: {'D': (b['image'],)}, LATENTS, stages)
  first, second = spans(method, 8, 99)
  assert (first.start, first.stop, second.start, second.stop) == (0, 2, 2, 8)
  assert (first.batch_size, second.batch_size, second.start_images, second.nimg(3)) == (
    8,
    4,
    16,
    20,
  )
  assert second.source == {'resolution': 8}
  # Of a traced step past 2^31 too.
  late = Span(stages[0], 10, 2_000_000, 2048, 3_000_000_000)
  count = jax.jit(late.nimg)(1_500_010)
  assert count.dtype == jnp.float32 and count == pytest.approx(late.nimg(1_500_010))

  optimizers = optim.build({'D': ADAM}, method.phases, 8)
  picture = lambda size: {'image': jnp.ones((4, size, size, 1))}
  state = init(method, optimizers, jax.random.key(0), picture(8))
  update = make_update(method, first, optimizers)
  for _ in range(2):
    state, _ = update(state, (picture(4),), {}, phases=('D',))
  high = state.params['D']['high']['kernel']
  # Adam's count has run for the idle parameters too: without a reset their first update would be far from lr.
  state = state.replace(opt=init_opt(method, optimizers, state.params))
  assert int(state.opt['D'][0].count) == 0
  before = np.asarray(high)
  state, _ = make_update(method, second, optimizers)(state, (picture(8),), {}, phases=('D',))
  np.testing.assert_allclose(
    np.abs(state.params['D']['high']['kernel'] - before), ADAM['lr'], rtol=1e-3
  )


def test_stages_that_do_not_fill_the_steps():
  stage = Stage((), sample, steps=5)
  with pytest.raises(UserError, match='steps=8'):
    spans(Method({}, None, None, (stage,)), 8, 4)


def test_four_networks_two_optimizers_and_a_pool():
  """CycleGAN's shape: one phase trains two generators; the other both discriminators, on fakes out of a pool."""
  nets = name_nets({'G_AB': Linear(3), 'G_BA': Linear(3), 'D_A': Linear(), 'D_B': Linear()})

  def generators(state, batch, key):
    b, state = apply(nets['G_AB'], state, batch['image'], train=True)
    a, state = apply(nets['G_BA'], state, b, train=True)
    logits, _ = apply(nets['D_B'], state, b, train=True)
    value = jnp.mean((a - batch['image']) ** 2) - jnp.mean(logits)
    return value, Aux(state, {'loss_G': value}, carry={'fake': b})

  def discriminators(state, batch, key):
    pool = state.extra['pool']
    real, state = apply(nets['D_A'], state, batch['image'], train=True)
    fake, state = apply(nets['D_B'], state, pool, train=True)
    value = jnp.mean(fake) - jnp.mean(real)
    state = state.replace(extra={'pool': jnp.concatenate([batch['fake'][:4], pool[:4]])})
    return value, Aux(state, {'loss_D': value})

  phases = (
    Phase('G', generators, ('G_AB', 'G_BA'), 'G'),
    Phase('D', discriminators, ('D_A', 'D_B'), 'D'),
  )
  method = Method(
    nets,
    lambda b: dict.fromkeys(nets, (b['image'],)),
    LATENTS,
    (Stage(phases, sample),),
    extra={'pool': jnp.zeros((8, 3))},
    ema=('G_AB', 'G_BA'),
  )
  state, optimizers = setup(method)
  before = copy(state)
  update = make_update(
    method, spans(method, 8, 8)[0], optimizers, ema={'half_life_images': 8, 'rampup': 0}
  )
  state, metrics = update(state, (batch(0),), {}, phases=('G', 'D'))
  assert changed(before, state) == set(nets)
  fake, _ = apply(nets['G_AB'], before, batch(0)['image'], train=True)
  np.testing.assert_allclose(state.extra['pool'][:4], fake[:4], rtol=1e-6)
  assert {'grad_norm_G_AB', 'grad_norm_G_BA', 'grad_norm_D_A', 'grad_norm_D_B'} <= metrics.keys()
  # One half-life: the average lies half way between the old parameters and the new.
  for name in method.ema:
    jax.tree.map(
      lambda e, a, b: np.testing.assert_allclose(e, (a + b) / 2, rtol=1e-5, atol=1e-7),
      state.ema[name]['params'],
      before.params[name],
      state.params[name],
    )
  assert averaged(state).params['G_AB'] is state.ema['G_AB']['params']
  assert averaged(state).params['D_A'] is state.params['D_A']


class Styled(nn.Module):
  """A generator with Linen methods beside __call__."""

  def setup(self):
    self.mapping, self.synthesis = nn.Dense(4), nn.Dense(3)

  def map(self, z, *, train):
    return jnp.repeat(self.mapping(z)[:, None], 2, axis=1)

  def synthesize(self, w, *, train):
    return self.synthesis(w.reshape(len(w), -1))

  def __call__(self, z, label=None, *, train):
    return self.synthesize(self.map(z, train=train), train=train)


def test_a_generator_of_map_and_synthesize_mixes_styles():
  nets = name_nets({'G': Styled()})

  def loss(state, batch, key):
    k1, k2, k3 = jax.random.split(key, 3)
    w1, state = apply(nets['G'], state, jax.random.normal(k1, (8, 2)), method='map', train=True)
    w2, state = apply(nets['G'], state, jax.random.normal(k2, (8, 2)), method='map', train=True)
    cut = jax.random.randint(k3, (8, 1, 1), 0, 3)
    mixed = jnp.where(jnp.arange(2)[None, :, None] < cut, w1, w2)
    image, state = apply(nets['G'], state, mixed, method='synthesize', train=True)
    return jnp.mean(image**2), Aux(state, {'loss_G': jnp.mean(image**2)})

  stage = Stage((Phase('G', loss, ('G',), 'G'),), sample)
  method = Method(nets, lambda b: {'G': (jnp.zeros((8, 2)),)}, LATENTS, (stage,))
  state, optimizers = setup(method, optim_names=('G',))
  z = jax.random.normal(jax.random.key(9), (8, 2))
  w, _ = apply(nets['G'], state, z, method='map', train=False)
  assert w.shape == (8, 2, 4)
  image, _ = apply(nets['G'], state, w, method='synthesize', train=False)
  np.testing.assert_array_equal(image, apply(nets['G'], state, z, train=False)[0])
  state, seen = run(method, state, optimizers, 0, 8)
  assert seen[-1]['loss_G'] < seen[0]['loss_G']


def test_frozen_networks_are_used_and_neither_trained_nor_kept():
  nets = name_nets({'G': Linear(3), 'features': Linear(2, norm=True)})
  variables = nets['features'].init(jax.random.key(5), jnp.zeros((1, 3)), train=False)
  frozen = {
    'features': {'params': variables['params'], 'stats': {'batch_stats': variables['batch_stats']}}
  }

  known = {name: Frozen('linear', net, None) for name, net in frozen.items()}

  def loss(state, batch, key):
    image, state = apply(nets['G'], state, batch['image'], train=True)
    found, _ = apply(nets['features'], state, image, train=False)
    return jnp.mean(found**2), Aux(state, {'loss_G': jnp.mean(found**2)})

  stage = Stage((Phase('G', loss, ('G',), 'G'),), sample)
  method = Method(nets, lambda b: {'G': (b['image'],)}, LATENTS, (stage,), frozen=known)
  state, optimizers = setup(method, optim_names=('G',))
  before = copy(state)
  update = make_update(method, spans(method, 8, 8)[0], optimizers)
  for step in range(2):
    state, metrics = update(state, (batch(step),), frozen, phases=('G',))
  assert state.params.keys() == state.stats.keys() == {'G'}
  assert changed(before, state) == {'G'}
  scaled = jax.tree.map(
    lambda x: 2 * x, frozen
  )  # not donated, and an argument rather than a constant
  _, other = update(copy(before), (batch(0),), scaled, phases=('G',))
  assert not np.allclose(other['loss_G'], metrics['loss_G'])


def test_keys_differ_by_step_phase_and_repeat():
  seen = []
  nets = name_nets({'D': Linear()})

  def loss(state, batch, key):
    value = jnp.mean(apply(nets['D'], state, batch['image'], train=True)[0])
    return value, Aux(state, {f'draw{len(seen)}': jax.random.uniform(key)})

  def phase(name):
    def run(*args):
      value, aux = loss(*args)
      seen.append(name)
      return value, aux

    return Phase(name, run, ('D',), 'D')

  method = Method(
    nets, lambda b: {'D': (b['image'],)}, LATENTS, (Stage((phase('a'), phase('b')), sample),)
  )
  optimizers = optim.build({'D': ADAM}, method.phases, 8)
  state = init(method, optimizers, jax.random.key(0), batch(0))
  update = make_update(method, spans(method, 8, 8)[0], optimizers)
  draws = []
  for phases in ('a',), ('b',), ('a',):
    state, metrics = update(state, (batch(0),), {}, phases=phases)
    draws.append(float(next(v for k, v in metrics.items() if k.startswith('draw'))))
  assert len(set(draws)) == 3


def test_phases_of_one_optimizer_must_train_the_same_networks():
  method = two_nets([('D', {}), ('G', {})])
  phases = tuple(p._replace(opt='D') for p in method.phases)
  method = method._replace(stages=(method.stages[0]._replace(phases=phases),))
  with pytest.raises(ValueError, match='different networks'):
    setup(method, optim_names=('D',))


def test_all_finite_sees_every_floating_leaf():
  method = two_nets([('D', {}), ('G', {})])
  state, _ = setup(method)
  assert all_finite(state)
  for bad in np.nan, np.inf:
    kernel = state.params['D']['Dense_0']['kernel'].at[0, 0].set(bad)
    params = {**state.params, 'D': {'Dense_0': {**state.params['D']['Dense_0'], 'kernel': kernel}}}
    assert not all_finite(state.replace(params=params))


@pytest.fixture
def optimized():
  """XLA as in training: what it fuses decides how long arrays live."""
  jax.config.update('jax_disable_most_optimizations', False)
  yield
  jax.config.update('jax_disable_most_optimizations', True)


def test_memory_does_not_grow_with_microbatches(optimized):
  """One gradient is held beside the one that is being computed, whatever the number of parts."""
  nets = name_nets({'D': Linear(256)})

  def loss(state, batch, key):
    out, state = apply(nets['D'], state, batch['image'], train=True)
    out = jnp.mean(jnp.tanh(out) ** 2)
    return out, Aux(state, {'loss_D': out})

  stage = Stage((Phase('D', loss, ('D',), 'D'),), sample)
  method = Method(nets, lambda b: {'D': (b['image'],)}, LATENTS, (stage,))
  seen = {'image': jax.random.normal(jax.random.key(0), (64, 256))}
  optimizers = optim.build({'D': ADAM}, method.phases, 8)
  state = init(method, optimizers, jax.random.key(0), seen)
  gradient = 4 * 256 * 257

  def temporaries(parts):
    update = make_update(method, spans(method, 8, 64)[0], optimizers, microbatches=parts)
    return (
      update.lower(state, (seen,), {}, phases=('D',)).compile().memory_analysis().temp_size_in_bytes
    )

  two, many = temporaries(2), temporaries(16)
  assert many < two + gradient / 2
  assert many < 6 * gradient


def test_frozen_layers_stay_while_the_others_train():
  """Bit for bit, though the optimizer has moments of the time before; the network's other layers move as without."""
  method = two_nets([('D', {}), ('G', {})])
  state, optimizers = setup(method)
  update = make_update(method, spans(method, 8, 8)[0], optimizers)
  state, _ = update(state, (batch(0),), {}, phases=('G',))
  layers = state.params['G'].keys()
  assert len(layers) == 2
  kept, other = layers
  free, _ = update(copy(state), (batch(1),), {}, phases=('G',))
  frozen = two_nets([('D', {}), ('G', {'frozen': (f'G/{kept}',)})])
  update = make_update(frozen, spans(frozen, 8, 8)[0], optimizers)
  found, _ = update(copy(state), (batch(1),), {}, phases=('G',))
  jax.tree.map(np.testing.assert_array_equal, found.params['G'][kept], state.params['G'][kept])
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
  jax.tree.map(close, found.params['G'][other], free.params['G'][other])
  assert changed(free, found) == {'G'}
  wrong = two_nets([('D', {}), ('G', {'frozen': ('G/Dens',)})])
  update = make_update(wrong, spans(wrong, 8, 8)[0], optimizers)
  with pytest.raises(UserError, match=f"there is no layer 'G/Dens' to freeze.*G/{kept}"):
    update(copy(state), (batch(1),), {}, phases=('G',))


@pytest.mark.parametrize('microbatches', [1, 2])
def test_an_update_that_a_loss_does_not_take_leaves_parameters_and_optimizer(microbatches):
  """Statistics are kept all the same; of microbatches one that takes it is enough."""
  method = two_nets([('G', {})])
  (stage,) = method.stages
  loss = stage.phases[0].loss

  def judged(state, batch, key):
    value, aux = loss(state, batch, key)
    return value, aux._replace(take=jnp.max(batch['image'][:, 0]) > 5)

  phases = (stage.phases[0]._replace(loss=judged),)
  method = method._replace(stages=(stage._replace(phases=phases),))
  state, optimizers = setup(method, optim_names=('G',))
  (span,) = spans(method, 8, 8)
  update = make_update(method, span, optimizers, microbatches=microbatches)
  low = batch(0)
  high = {'image': low['image'].at[-1, 0].set(9.0)}
  before = copy(state)
  state, _ = update(state, (low,), {}, phases=('G',))
  assert not changed(before, state)
  jax.tree.map(np.testing.assert_array_equal, before.opt, state.opt)
  assert any(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (before.stats, state.stats))))
  before = copy(state)
  state, _ = update(state, (high,), {}, phases=('G',))
  assert changed(before, state) == {'G'}
