"""pix2pix through the real update: terms, what each phase trains, the fakes of a step, sampling, several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from translation_run import Run, batches

from ganjax import UserError
from ganjax.methods import pix2pix
from ganjax.update import apply


def copy(state):
  return jax.tree.map(jnp.copy, state)


@pytest.fixture(scope='module')
def run():
  return Run('pix2pix')


def test_a_step_has_the_terms_of_the_paper(run):
  (batch,) = batches(1)
  state = run.start(batch)
  before = copy(state)
  state, metrics = run.step(state, batch)
  D = run.method.nets['D']
  # Dropout as D's phase draws it: both networks see the same fakes.
  key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(run.key, 0), 0), 0)
  keys = jax.random.split(key, 4)
  fakes, _ = apply(run.method.nets['G'], before, batch['source'], keys, train=True)

  def logits(state, picture):
    both = jnp.concatenate([batch['source'], picture], -1)
    return apply(D, state, both, train=True)[0]

  log = lambda x: np.log1p(np.exp(-x)).mean()
  real, fake = logits(before, batch['target']), logits(before, fakes)
  np.testing.assert_allclose(metrics['loss_real'], log(real) / 2, rtol=1e-5)
  np.testing.assert_allclose(metrics['loss_fake'], log(-fake) / 2, rtol=1e-5)
  # G's loss is of the D that has just been updated.
  np.testing.assert_allclose(metrics['loss_G'], log(logits(state, fakes)), rtol=1e-5)
  distance = np.abs(batch['target'] - fakes).mean()
  np.testing.assert_allclose(metrics['loss_l1'], 100 * distance, rtol=1e-5)


def test_each_phase_trains_its_network_and_keeps_its_statistics(run):
  (batch,) = batches(1)
  start = run.start(batch)
  before = copy(start)
  after, _ = run.update(start, (batch,), {}, phases=('D',))
  moved = lambda a, b: any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
  for kind in 'params', 'stats':
    assert moved(getattr(after, kind)['D'], getattr(before, kind)['D'])
    assert not moved(getattr(after, kind)['G'], getattr(before, kind)['G'])
  middle = copy(after)
  state, _ = run.step(copy(before), batch)
  for kind in 'params', 'stats':
    assert moved(getattr(state, kind)['G'], getattr(before, kind)['G'])
  # G's phase leaves D as D's phase made it.
  for x, y in zip(jax.tree.leaves(state.params['D']), jax.tree.leaves(middle.params['D'])):
    np.testing.assert_allclose(x, y, atol=1e-6)
  for x, y in zip(jax.tree.leaves(state.stats['D']), jax.tree.leaves(middle.stats['D'])):
    np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.parametrize('loss', ['non_saturating', 'least_squares'])
def test_it_learns_to_copy(loss):
  """The L1 term alone can do it in a few steps: the target is the source, dimmed."""
  run = Run('pix2pix', method=dict(loss=loss), networks=dict(width=8), adam=dict(lr=2e-3), steps=60)
  pictures = [{'source': b['source'], 'target': b['source'] / 2} for b in batches(4)]
  state = run.start(pictures[0])
  losses = []
  for number in range(40):
    state, metrics = run.step(state, pictures[number % 4], number)
    losses.append(float(metrics['loss_l1']))
  assert np.isfinite(losses).all() and np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


@pytest.mark.parametrize('own', [True, False])
def test_a_sample_is_of_its_source_and_seed(own):
  """Neighbours have no part in it, with statistics of its own; the mode decides without."""
  run = Run('pix2pix', method=dict(own_statistics=own))
  (batch,) = batches(1)
  state, _ = run.step(run.start(batch), batch)
  rows = lambda i: run.method.rows(np.array(i) + 7, {'source': batch['source'][i]})
  make = jax.jit(lambda rows, train: run.sample(state, rows, train=train)[0], static_argnums=1)
  all_four = make(rows([0, 1, 2, 3]), False)
  assert all_four.shape == batch['target'].shape
  np.testing.assert_allclose(make(rows([2, 1]), False), all_four[np.array([2, 1])], atol=1e-6)
  batched = make(rows([0, 1, 2, 3]), True)
  assert np.allclose(batched, all_four, atol=1e-6) == own
  again = run.method.rows(np.arange(4), {'source': batch['source']})
  assert np.abs(make(again, False) - all_four).max() > 1e-4
  if own:
    keys = jax.vmap(jax.random.key)(jnp.arange(7, 11))
    alone = [
      apply(run.method.nets['G'], state, batch['source'][i : i + 1], keys[i : i + 1], train=True)
      for i in range(4)
    ]
    np.testing.assert_allclose(all_four, np.concatenate([x for x, _ in alone]), atol=1e-6)


def test_one_and_four_devices_agree():
  with jax.enable_x64(True):
    run = Run('pix2pix', dtype='float64', param_dtype='float64')
    one, four = (run.train(batches(3, 8, 'float64'), devices) for devices in (1, 4))
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(four)):
    np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize('arguments, message', [
  (dict(loss='hinge'), "loss='hinge' is not known.*non_saturating, least_squares"),
  (dict(l1_weight=-1.0), 'l1_weight=-1.0 must be'),
])  # fmt: skip
def test_what_is_refused(run, arguments, message):
  with pytest.raises(UserError, match=message):
    pix2pix.build(run.method.nets, **arguments)
