"""CycleGAN through the real update: terms, the pools, both directions of sampling, several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from translation_run import SIDE, Run, batches

from ganjax import UserError
from ganjax.methods import cyclegan


def copy(state):
  return jax.tree.map(jnp.copy, state)


@pytest.fixture(scope='module')
def run():
  """The run, a batch, the state at the start and after a step, and that step's metrics."""
  made, (batch,) = Run('cyclegan', method=dict(pool_size=6)), batches(1)
  start = made.start(batch)
  after, metrics = made.step(copy(start), batch)
  return made, batch, start, after, metrics


def test_a_step_has_the_terms_of_the_paper(run):
  run, batch, before, state, metrics = run
  calls = {name: run.call(name) for name in run.method.nets}
  go = lambda state, name, x: calls[name](state, x)
  A, B = batch['source'], batch['target']
  far = lambda a, b: np.abs(a - b).mean()
  fake_B, fake_A = go(before, 'G_AB', A), go(before, 'G_BA', B)
  expected = {
    'loss_G_AB': np.square(go(before, 'D_B', fake_B) - 1).mean(),
    'loss_G_BA': np.square(go(before, 'D_A', fake_A) - 1).mean(),
    'loss_cycle_A': 10 * far(go(before, 'G_BA', fake_B), A),
    'loss_cycle_B': 10 * far(go(before, 'G_AB', fake_A), B),
    'loss_identity_A': 5 * far(go(before, 'G_BA', A), A),
    'loss_identity_B': 5 * far(go(before, 'G_AB', B), B),
    # The pools are empty: D sees the fakes that G was trained on, made before its update.
    'loss_real_A': np.square(go(before, 'D_A', A) - 1).mean() / 2,
    'loss_fake_A': np.square(go(before, 'D_A', fake_A)).mean() / 2,
    'loss_real_B': np.square(go(before, 'D_B', B) - 1).mean() / 2,
    'loss_fake_B': np.square(go(before, 'D_B', fake_B)).mean() / 2,
  }
  assert {k for k in metrics if k.startswith('loss')} == {*expected}
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
  for domain, fakes in ('A', fake_A), ('B', fake_B):
    held = state.extra[domain]
    assert held['count'] == 4
    np.testing.assert_allclose(held['images'][:4], fakes, atol=1e-6)


def test_each_phase_trains_its_networks(run):
  run, batch, before, after, _ = run
  middle, _ = run.update(copy(before), (batch,), {}, phases=('G',))
  pairs = lambda a, b: zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  for name in before.params:
    one, two, three = (state.params[name] for state in (before, middle, after))
    first, second = (
      any(np.any(x != y) for x, y in pairs(*ab)) for ab in ((one, two), (two, three))
    )
    if 'G' in name:
      assert first
      for x, y in pairs(two, three):
        np.testing.assert_allclose(x, y, atol=1e-6)
    else:
      assert second and not first


def test_terms_that_are_left_out(run):
  made, batch, before, *_ = run
  arguments = dict(identity_weight=0.0, pool_size=0, loss='non_saturating')
  method = cyclegan.build(made.method.nets, fields=made.fields, **arguments)
  assert not method.extra
  (stage,) = method.stages
  _, aux = jax.jit(stage.phases[0].loss)(before, batch, jax.random.key(0))
  assert not any('identity' in name for name in aux.metrics)
  logits = made.call('D_B')(before, made.call('G_AB')(before, batch['source']))
  np.testing.assert_allclose(aux.metrics['loss_G_AB'], np.log1p(np.exp(-logits)).mean(), rtol=1e-5)
  seen = {**batch, **aux.carry}
  _, aux = jax.jit(stage.phases[1].loss)(before, seen, jax.random.key(0))
  np.testing.assert_allclose(
    aux.metrics['loss_fake_B'], np.log1p(np.exp(logits)).mean() / 2, rtol=1e-5
  )


def test_samples_go_both_ways(run):
  run, batch, state, *_ = run
  examples = {'source': batch['source']}
  for direction, name in (('AtoB', 'G_AB'), ('BtoA', 'G_BA')):
    rows = run.method.rows(np.arange(4), examples, direction=direction)
    found = jax.jit(lambda rows: run.sample(state, rows, train=False)[0])(rows)
    np.testing.assert_allclose(found, run.call(name)(state, batch['source']), atol=1e-6)
  with pytest.raises(UserError, match="direction='AtoC' is neither AtoB nor BtoA"):
    run.method.rows(np.arange(4), examples, direction='AtoC')


@pytest.mark.slow
def test_one_and_four_devices_agree_with_full_pools():
  with jax.enable_x64(True):
    kinds = dict(dtype='float64', param_dtype='float64')
    run = Run('cyclegan', method=dict(pool_size=6), adam=dict(eps=1e-6), **kinds)
    one, four = (run.train(batches(3, 8, 'float64'), devices) for devices in (1, 4))
  assert one[0].extra['A']['count'] == 6
  assert one[0].extra['A']['images'].shape == (6, SIDE, SIDE, 3)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(four)):
    np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize('arguments, message', [
  (dict(loss='wgan'), "loss='wgan' is not known"),
  (dict(pool_size=-1), 'pool_size=-1 must be whole'),
  (dict(cycle_weight=-1.0), 'cycle_weight=-1.0 must be'),
  (dict(identity_weight='much'), "identity_weight='much' is neither"),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    cyclegan.build({}, fields={}, **arguments)
