"""pix2pix through the real update: terms, what each phase trains, the fakes of a step, sampling, several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from translation_run import Run, batches

from ganjax import UserError
from ganjax.methods import pix2pix


def copy(state):
  return jax.tree.map(jnp.copy, state)


@pytest.fixture(scope='module')
def run():
  """The run, a batch, the state at the start and after a step, and that step's metrics."""
  made, (batch,) = Run('pix2pix', adam=dict(lr=2e-3)), batches(1)
  start = made.start(batch)
  after, metrics = made.step(copy(start), batch)
  return made, batch, start, after, metrics


def test_a_step_has_the_terms_of_the_paper(run):
  run, batch, before, state, metrics = run
  # Dropout as D's phase draws it: both networks see the same fakes.
  key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(run.key, 0), 0), 0)
  fakes = run.call('G')(before, batch['source'], jax.random.split(key, 4))
  judge, log = run.call('D'), lambda x: np.log1p(np.exp(-x)).mean()
  logits = lambda state, x: judge(state, np.concatenate([batch['source'], x], -1))
  real, fake = logits(before, batch['target']), logits(before, fakes)
  np.testing.assert_allclose(metrics['loss_real'], log(real) / 2, rtol=1e-5)
  np.testing.assert_allclose(metrics['loss_fake'], log(-fake) / 2, rtol=1e-5)
  # G's loss is of the D that has just been updated.
  np.testing.assert_allclose(metrics['loss_G'], log(logits(state, fakes)), rtol=1e-5)
  distance = np.abs(batch['target'] - fakes).mean()
  np.testing.assert_allclose(metrics['loss_l1'], 100 * distance, rtol=1e-5)


def test_each_phase_trains_its_network_and_keeps_its_statistics(run):
  run, batch, before, after, _ = run
  middle, _ = run.update(copy(before), (batch,), {}, phases=('D',))
  pairs = lambda a, b: zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  moved = lambda a, b: any(np.any(x != y) for x, y in pairs(a, b))
  for kind in 'params', 'stats':
    one, two, three = (getattr(state, kind) for state in (before, middle, after))
    assert moved(one['D'], two['D']) and not moved(one['G'], two['G'])
    assert moved(two['G'], three['G'])
    for x, y in pairs(two['D'], three['D']):
      np.testing.assert_allclose(x, y, atol=1e-6)


def test_it_learns(run):
  """Colours turn into their opposites."""
  run, _, state, *_ = run
  rng = np.random.default_rng(0)
  plain = rng.uniform(-0.8, 0.8, (4, 4, 1, 1, 3)).astype(np.float32) * np.ones(
    (1, 1, 16, 16, 1), np.float32
  )
  state, losses = copy(state), []
  for number in range(60):
    x = plain[number % 4]
    state, metrics = run.step(state, {'source': x, 'target': -x}, number)
    losses.append(float(metrics['loss_l1']))
  assert np.isfinite(losses).all() and np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


@pytest.mark.parametrize('own', [True, False])
def test_a_sample_is_of_its_source_and_seed(run, own):
  """Neighbours have no part in it, with statistics of its own; without, the mode decides."""
  run, batch, _, state, _ = run
  method = pix2pix.build(run.method.nets, own_statistics=own)
  (stage,) = method.stages
  rows = lambda *i: method.rows(np.array(i) + 7, {'source': batch['source'][[*i]]})
  make = jax.jit(lambda rows, train: stage.sample(state, rows, train=train)[0], static_argnums=1)
  four = make(rows(0, 1, 2, 3), False)
  assert four.shape == batch['target'].shape
  np.testing.assert_allclose(make(rows(2, 1, 1, 0), False), four[np.array([2, 1, 1, 0])], atol=1e-6)
  assert np.allclose(make(rows(0, 1, 2, 3), True), four, atol=1e-6) == own
  other = method.rows(np.arange(4), {'source': batch['source']})
  assert np.abs(make(other, False) - four).max() > 1e-4
  if own:
    keys, alone = jax.vmap(jax.random.key)(jnp.arange(7, 11)), run.call('G')
    alone = [alone(state, batch['source'][i : i + 1], keys[i : i + 1]) for i in range(4)]
    np.testing.assert_allclose(four, np.concatenate(alone), atol=1e-6)


# Slow: CycleGAN's is not, and batch norm over devices is held by tests/devices.
@pytest.mark.slow
def test_one_and_four_devices_agree():
  with jax.enable_x64(True):
    run = Run('pix2pix', adam=dict(eps=1e-6), dtype='float64', param_dtype='float64')
    one, four = (run.train(batches(3, 8, 'float64'), devices) for devices in (1, 4))
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(four)):
    np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize('arguments, message', [
  (dict(loss='hinge'), "loss='hinge' is not known.*non_saturating, least_squares"),
  (dict(l1_weight=-1.0), 'l1_weight=-1.0 must be'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    pix2pix.build({'G': None, 'D': None}, **arguments)
