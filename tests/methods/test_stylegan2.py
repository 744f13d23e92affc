"""methods/stylegan2.py: each phase does what its formula says; styles are mixed, their mean and the averages move."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax import UserError
from ganjax.method import name_nets, spans
from ganjax.methods import stylegan2 as method_file
from ganjax.networks import stylegan2
from ganjax.update import active, init, lazy_ratio, make_update

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
BATCH = {
  'image': jnp.asarray(RNG.uniform(-1, 1, (8, 8, 8, 1)), jnp.float32),
  'label': jnp.asarray([0, 1, 2, 0, 1, 2, 0, 1], jnp.int32),
}


def optimizers(rate=0.01):
  sgd = optax.with_extra_args_support(optax.sgd(rate))
  return {'D': sgd, 'G': sgd}


def made(num_classes=0, **arguments):
  """(method, state)"""
  nets = stylegan2.build(
    resolution=(8, 8), channels=1, width=4, w_dim=6, mapping_layers=1, mapping_layers_D=1,
    num_classes=num_classes,
  )  # fmt: skip
  method = method_file.build(name_nets(nets), **{'z_dim': 3, **arguments})
  return method, jax.jit(lambda: init(method, optimizers(), KEY, BATCH))()


def test_phases_and_their_intervals():
  method, _ = made(r1_every=4, path_every=2)
  at = lambda step: active(method.stages[0], step)
  assert at(0) == at(4) == ('G', 'G_path', 'D', 'D_r1')
  assert at(1) == at(3) == ('G', 'D') and at(2) == ('G', 'G_path', 'D')
  assert lazy_ratio(method.stages[0], 'G') == pytest.approx(2 / 3)
  assert lazy_ratio(method.stages[0], 'D') == pytest.approx(4 / 5)
  plain, state = made(r1_gamma=0.0, path_weight=0.0)
  assert [p.name for p in plain.phases] == ['G', 'D'] and not state.extra


class Styles(nn.Module):
  """Styles are z, of five layers; pictures are styles."""

  num_styles: int = 5
  takes = ('noise',)

  def setup(self):
    self.calls = self.variable('styles', 'calls', jnp.zeros, ())

  def map(self, z, label=None, *, train):
    if train:
      self.calls.value += 1
    return jnp.broadcast_to(z[:, None], (len(z), self.num_styles, z.shape[1]))

  def synthesize(self, w, *, train):
    return w[..., None]

  def __call__(self, z, label=None, *, train):
    return self.synthesize(self.map(z, train=train), train=train)


class Spy(nn.Module):
  """Logits are 0; what it is shown is kept."""

  shown = []

  @nn.compact
  def __call__(self, x, label=None, *, train):
    self.shown.append(np.asarray(x))
    return jnp.zeros(len(x)) + self.param('bias', nn.initializers.zeros, ())


@pytest.mark.parametrize('name', ['G', 'D'])
def test_styles_are_mixed_from_a_layer_on(name):
  """Of 9 in 10 images, from each of the layers but the first equally often."""
  method = method_file.build(name_nets({'G': Styles(), 'D': Spy()}), z_dim=2, path_weight=0.0)
  batch = {'image': jnp.zeros((2000, 5, 2, 1))}
  state = init(method, optimizers(), KEY, batch)
  (found,) = (p for p in method.phases if p.name == name)
  Spy.shown.clear()
  _, aux = found.loss(state, batch, KEY)
  w = Spy.shown[-1][..., 0]  # after the reals
  same = (w == w[:, :1]).all(2)
  own = same.sum(1)
  assert (same == (np.arange(5) < own[:, None])).all()  # the first few, then all of the second
  assert len(np.unique(w[:, 4, 0])) == 2000
  counts = np.bincount(own, minlength=6)
  assert counts[0] == 0
  np.testing.assert_allclose(counts[1:5], 450, atol=80)
  np.testing.assert_allclose(counts[5], 200, atol=50)
  assert aux.state.stats['G']['styles']['calls'] == 1  # the second z moves no mean


def test_statistics_move_in_the_phases_that_are_named():
  """Of StyleGAN3 in D's alone."""
  nets = name_nets({'G': Styles(), 'D': Spy()})
  how = dict(z_dim=2, path_weight=0.0, mixing=0.0, r1_gamma=0.0)
  batch = {'image': jnp.zeros((4, 5, 2, 1))}
  for moved_by in ('D',), ('G',), ():
    method = method_file.build(nets, moved_by=moved_by, **how)
    state = init(method, optimizers(), KEY, batch)
    for phase in method.phases:
      after = phase.loss(state, batch, KEY)[1].state.stats['G']['styles']['calls']
      assert after == (phase.name in moved_by)


@pytest.fixture(scope='module')
def game():
  """(method, state, function: name of a phase, batch, state -> (loss, metrics, state after)); compiled once each."""
  ada = dict(pipe='blit', target=-1.0, interval=2, images=80)
  method, state = made(num_classes=3, r1_gamma=3.0, path_decay=0.9, ada=ada)
  losses = {p.name: jax.jit(p.loss) for p in method.phases}

  def phase(name, state=state, batch=BATCH):
    loss, aux = losses[name](state, batch, KEY)
    return float(loss), aux.metrics, aux.state

  return method, state, phase


@pytest.mark.slow
def test_the_game_by_hand(game):
  method, state, phase = game
  D = {'params': state.params['D']}

  @jax.jit
  def judge(x):
    run = lambda x: method.nets['D'].apply(D, x, BATCH['label'], train=True)
    return run(x), jax.grad(lambda x: run(x).sum())(x)

  real, slopes = judge(BATCH['image'])  # p of ADA is 0
  loss, metrics, _ = phase('D')
  np.testing.assert_allclose(metrics['loss_real'], np.mean(np.log1p(np.exp(-real))), rtol=1e-4)
  np.testing.assert_allclose(loss, metrics['loss_real'] + metrics['loss_fake'], rtol=1e-5)
  assert metrics['D_real'] == pytest.approx(float(np.mean(1 / (1 + np.exp(-real)))), rel=1e-4)
  wanted = 3.0 / 2 * np.mean(np.sum(np.asarray(slopes) ** 2, (1, 2, 3)))
  loss, metrics, _ = phase('D_r1')
  np.testing.assert_allclose([loss, metrics['loss_r1']], wanted, rtol=1e-4)


def test_path_lengths_move_their_mean_and_are_of_a_part_of_the_batch(game):
  _, state, phase = game
  assert state.extra['path_length'] == 0
  loss, metrics, after = phase('G_path')
  mean = after.extra['path_length']
  assert metrics['path_length'] == mean > 0 and metrics['loss_path'] == loss
  # From 0 with a decay of 0.9 the mean is a tenth of the mean length l: E (l - a)^2 = var + (0.9 E l)^2.
  assert loss >= 2 * (9 * mean) ** 2 * 0.999
  # Labels of every second image count.
  change = lambda start: {**BATCH, 'label': BATCH['label'].at[start::2].set(2)}
  assert phase('G_path', batch=change(1))[0] == loss != phase('G_path', batch=change(0))[0]


def test_the_mean_style_moves_in_every_phase_that_maps(game):
  _, state, phase = game
  start = state.stats['G']['styles']['w_avg']
  for name in 'G', 'G_path', 'D':
    after = phase(name)[2].stats['G']
    assert np.abs(after['styles']['w_avg'] - start).max() > 0
    jax.tree.map(np.testing.assert_array_equal, after['noise'], state.stats['G']['noise'])


def test_ada_moves_with_every_update_of_d_and_r1_is_not_counted(game):
  _, _, phase = game
  _, metrics, after = phase('D')
  assert after.extra['ada']['count'] == 8 and metrics['ada_p'] == 0
  assert metrics['ada_r_t'] == after.extra['ada']['signs'] / 8
  after = after.replace(step=after.step + 1)
  assert phase('D_r1', after)[2].extra['ada']['count'] == 8
  _, metrics, after = phase('D', after)
  np.testing.assert_allclose(metrics['ada_p'], 16 / 80, rtol=1e-6)
  assert after.extra['ada']['count'] == 0


def test_averages_copy_the_mean_style_and_the_noise_and_frozen_layers_stay():
  frozen = 'b8_fromrgb', 'b8_conv0'
  method, state = made(path_weight=0.0, freeze_D=frozen)
  span = spans(method, 10, 8)[0]
  ema = dict(half_life_images=1000, rampup=0.0, start_steps=0)
  update = make_update(method, span, optimizers(), ema=ema)
  new, _ = update(jax.tree.map(jnp.copy, state), (BATCH,), {}, phases=('G', 'D'))
  average, own = new.ema['G'], new.stats['G']
  jax.tree.map(np.testing.assert_array_equal, average['stats'], own)
  assert np.abs(own['styles']['w_avg']).max() > 0
  differ = jax.tree.map(lambda a, b: np.abs(a - b).max(), average['params'], new.params['G'])
  assert max(jax.tree.leaves(differ)) > 0
  for layer, after in new.params['D'].items():
    moved = np.abs(after['kernel'] - state.params['D'][layer]['kernel']).max() > 0
    assert moved == (layer not in frozen), layer


def test_a_seed_has_a_class_and_truncation_brings_pictures_together():
  method, state = made(num_classes=3)
  assert method.num_classes == 3
  # Strengths of noise are 0 at the start.
  noisy = lambda path, x: x + 1 if path[-1].key == 'noise_strength' else x
  state = state.replace(params=jax.tree.map_with_path(noisy, state.params))
  sample = jax.jit(lambda rows: method.stages[0].sample(state, rows, train=False)[0])
  rows = lambda *seeds, **options: method.rows(np.array(seeds), {}, **options)
  show = lambda *seeds, **options: sample(rows(*seeds, **options))
  np.testing.assert_array_equal(rows(0, 4, 8)['label'], [0, 1, 2])
  pictures = show(0, 4, 8)
  assert pictures.shape == (3, 8, 8, 1)
  near = lambda a, b: np.abs(a - b).max() < 1e-4
  assert near(show(8, 4, 0), pictures[::-1])
  other = rows(0, 4, 8)
  assert not near(sample({**other, 'label': other['label'] * 0})[1:], pictures[1:])
  constant = show(0, 4, 8, noise='constant')
  assert not near(constant, pictures)
  first, second, _ = show(0, 4, 8, truncation=0.0)
  assert not near(first, second)  # noise is left
  first, second, _ = show(0, 4, 8, truncation=0.0, noise='constant')
  assert near(first, second)
  first, second, _ = half = show(0, 4, 8, truncation=0.0, noise='constant', cutoff=2)
  assert not near(first, second) and not near(half, constant)
  assert near(show(0, 4, 8, truncation=1.0, cutoff=2), pictures)
  assert method.options == {'truncation': 1.0, 'cutoff': 0, 'noise': 'random'}
  with pytest.raises(UserError, match='noise=none must be random or constant'):
    rows(0, noise='none')


@pytest.mark.parametrize('arguments, message', [
  (dict(z_dim=0), 'whole numbers from 1'),
  (dict(r1_every=0), 'whole numbers from 1'),
  (dict(mixing=1.5), r'method.mixing=1.5 must be finite and in \[0, 1\]'),
  (dict(r1_gamma=-1.0), 'method.r1_gamma=-1.0'),
  (dict(r1_gamma=dict(start=1.0, end=0.0, steps=9)), 'method.r1_gamma is the same in all steps'),
  (dict(ada=dict(pipe='x')), "ADA pipe 'x' is not known"),
  (dict(moved_by=('D_r1',)), "method.moved_by: 'D_r1' is none of the phases"),
])  # fmt: skip
def test_what_it_refuses(arguments, message):
  with pytest.raises(UserError, match=message):
    made(**arguments)
  with pytest.raises(UserError, match='networks.name=stylegan2'):
    method_file.build({'G': Spy(), 'D': Spy()}, z_dim=3)
