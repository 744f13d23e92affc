"""CycleGAN through the real update: terms, the pools, both directions of sampling, several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from translation_run import SIDE, Run, batches

from ganjax import UserError
from ganjax.methods import cyclegan
from ganjax.update import apply


def copy(state):
  return jax.tree.map(jnp.copy, state)


@pytest.fixture(scope='module')
def run():
  return Run('cyclegan', method=dict(pool_size=6))


def test_a_step_has_the_terms_of_the_paper(run):
  (batch,) = batches(1)
  state = run.start(batch)
  before = copy(state)
  state, metrics = run.step(state, batch)
  go = lambda state, name, x: apply(run.method.nets[name], state, x, train=True)[0]
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
  (batch,) = batches(1)
  start = run.start(batch)
  before = copy(start.params)
  state, _ = run.update(copy(start), (batch,), {}, phases=('G',))
  changed = lambda new: {
    name
    for name in before
    if any(
      np.any(x != y) for x, y in zip(jax.tree.leaves(before[name]), jax.tree.leaves(new[name]))
    )
  }
  assert changed(state.params) == {'G_AB', 'G_BA'}
  middle = state.params
  state, _ = run.step(start, batch)
  assert changed(state.params) == {*before}
  for name in 'G_AB', 'G_BA':
    for x, y in zip(jax.tree.leaves(state.params[name]), jax.tree.leaves(middle[name])):
      np.testing.assert_allclose(x, y, atol=1e-6)


def test_terms_that_are_left_out():
  run = Run('cyclegan', method=dict(identity_weight=0.0, pool_size=0, loss='non_saturating'))
  (batch,) = batches(1)
  state, metrics = run.step(run.start(batch), batch)
  assert not state.extra and not any('identity' in name for name in metrics)
  go = lambda name, x: apply(run.method.nets[name], run.start(batch), x, train=True)[0]
  logits = go('D_B', go('G_AB', batch['source']))
  np.testing.assert_allclose(metrics['loss_G_AB'], np.log1p(np.exp(-logits)).mean(), rtol=1e-5)


def test_samples_go_both_ways(run):
  (batch,) = batches(1)
  state = run.start(batch)
  examples = {'source': batch['source']}
  for direction, name in (('AtoB', 'G_AB'), ('BtoA', 'G_BA')):
    rows = run.method.rows(np.arange(4), examples, direction=direction)
    found, _ = run.sample(state, rows, train=False)
    wanted, _ = apply(run.method.nets[name], state, batch['source'], train=False)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
  with pytest.raises(UserError, match="direction='AtoC' is neither AtoB nor BtoA"):
    run.method.rows(np.arange(4), examples, direction='AtoC')


def test_one_and_four_devices_agree_with_full_pools():
  with jax.enable_x64(True):
    run = Run('cyclegan', method=dict(pool_size=6), dtype='float64', param_dtype='float64')
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
def test_what_is_refused(run, arguments, message):
  with pytest.raises(UserError, match=message):
    cyclegan.build(run.method.nets, fields=run.fields, **arguments)
