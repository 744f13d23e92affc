"""methods/stylegan2.py: each phase does what its formula says; styles are mixed, their mean and the averages move."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax import UserError
from ganjax.methods import stylegan2 as method_file
from ganjax.networks import stylegan2
from ganjax.update import active, init, lazy_ratio, make_update, name_nets, spans

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


def phase(method, state, name, batch=BATCH, key=KEY):
  """(loss, metrics, state after) of a phase's loss."""
  (found,) = (p for p in method.phases if p.name == name)
  loss, aux = jax.jit(found.loss)(state, batch, key)
  return float(loss), aux.metrics, aux.state


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


def test_the_game_by_hand():
  method, state = made(mixing=0.0)
  G, D = method.nets['G'], method.nets['D']
  judge = lambda x: D.apply({'params': state.params['D']}, x, train=True)
  loss, metrics, _ = phase(method, state, 'D')
  # With no strength of noise, nothing but z is drawn; the loss of the reals does not depend on it.
  real = judge(BATCH['image'])
  np.testing.assert_allclose(metrics['loss_real'], np.mean(np.log1p(np.exp(-real))), rtol=1e-4)
  np.testing.assert_allclose(loss, metrics['loss_real'] + metrics['loss_fake'], rtol=1e-5)
  assert metrics['D_real'] == pytest.approx(float(np.mean(1 / (1 + np.exp(-real)))), rel=1e-4)
  gamma = 3.0
  method, _ = made(r1_gamma=gamma)
  slopes = jax.jit(jax.grad(lambda x: judge(x).sum()))(BATCH['image'])
  wanted = gamma / 2 * np.mean(np.sum(np.asarray(slopes) ** 2, (1, 2, 3)))
  np.testing.assert_allclose(phase(method, state, 'D_r1')[0], wanted, rtol=1e-4)
  assert G.num_styles == 4


def test_path_lengths_move_their_mean_and_are_of_a_part_of_the_batch():
  method, state = made(path_decay=0.9)
  assert state.extra == {'path_length': 0}
  loss, metrics, after = phase(method, state, 'G_path')
  mean = after.extra['path_length']
  assert metrics['path_length'] == mean and mean > 0 and loss > 0
  # From 0 with a decay of 0.9 the mean is a tenth of the mean length: E (l - a)^2 = var + (0.9 E l)^2.
  assert loss >= 2 * (9 * mean) ** 2 * 0.999
  still, _, _ = phase(made(path_decay=1.0)[0], state, 'G_path')
  assert still >= 2 * (10 * mean) ** 2 * 0.999  # the same lengths, compared with 0
  _, state = made(num_classes=3)
  whole = phase(made(num_classes=3, path_shrink=1)[0], state, 'G_path')[0]
  part = phase(made(num_classes=3, path_shrink=2)[0], state, 'G_path')[0]
  assert whole != part


def test_the_mean_style_moves_in_every_phase_that_maps():
  method, state = made()
  start = state.stats['G']['styles']['w_avg']
  for name in 'G', 'G_path', 'D':
    after = phase(method, state, name)[2].stats['G']
    assert np.abs(after['styles']['w_avg'] - start).max() > 0
    jax.tree.map(np.testing.assert_array_equal, after['noise'], state.stats['G']['noise'])
  assert 'styles' not in phase(method, state, 'D_r1')[2].stats['D']


def test_averages_copy_the_mean_style_and_the_noise():
  method, state = made(path_weight=0.0)
  span = spans(method, 10, 8)[0]
  ema = dict(half_life_images=1000, rampup=0.0, start_steps=0)
  update = make_update(method, span, optimizers(), kinds={'image': 'image'}, ema=ema)
  new, _ = update(jax.tree.map(jnp.copy, state), (BATCH,), {}, phases=('G', 'D'))
  average, own = new.ema['G'], new.stats['G']
  jax.tree.map(np.testing.assert_array_equal, average['stats'], own)
  assert np.abs(own['styles']['w_avg']).max() > 0
  differ = jax.tree.map(lambda a, b: np.abs(a - b).max(), average['params'], new.params['G'])
  assert max(jax.tree.leaves(differ)) > 0


def test_ada_moves_with_every_update_of_d_and_r1_is_not_counted():
  ada = dict(pipe='blit', target=-1.0, interval=2, images=80)
  method, state = made(ada=ada)
  assert set(state.extra) == {'ada', 'path_length'}
  _, metrics, after = phase(method, state, 'D')
  assert after.extra['ada']['count'] == 8 and metrics['ada_p'] == 0
  after = after.replace(step=after.step + 1)
  assert phase(method, after, 'D_r1')[2].extra['ada']['count'] == 8
  _, metrics, after = phase(method, after, 'D')
  np.testing.assert_allclose(metrics['ada_p'], 16 / 80, rtol=1e-6)
  assert after.extra['ada']['count'] == 0


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
  assert not near(*show(0, 8, truncation=0.0))  # noise is left
  assert near(*show(0, 8, truncation=0.0, noise='constant'))
  half = show(0, 8, truncation=0.0, noise='constant', cutoff=2)
  assert not near(*half) and not near(half, show(0, 8, noise='constant'))
  assert near(show(0, 8, truncation=1.0, cutoff=2), show(0, 8))
  assert method.options == {'truncation': 1.0, 'cutoff': 0, 'noise': 'random'}
  with pytest.raises(UserError, match='noise=none must be random or constant'):
    rows(0, noise='none')


def test_frozen_layers_stay():
  method, state = made(freeze_D=('b8_fromrgb', 'b8_conv0'), path_weight=0.0)
  update = make_update(method, spans(method, 10, 8)[0], optimizers(), kinds={'image': 'image'})
  before = jax.tree.map(jnp.copy, state.params['D'])
  new, _ = update(state, (BATCH,), {}, phases=('D', 'D_r1'))
  for layer, after in new.params['D'].items():
    moved = np.abs(after['kernel'] - before[layer]['kernel']).max() > 0
    assert moved == (layer not in ('b8_fromrgb', 'b8_conv0')), layer


@pytest.mark.parametrize('arguments, message', [
  (dict(z_dim=0), 'whole numbers from 1'),
  (dict(r1_every=0), 'whole numbers from 1'),
  (dict(mixing=1.5), r'method.mixing=1.5 must be finite and in \[0, 1\]'),
  (dict(r1_gamma=-1.0), 'method.r1_gamma=-1.0'),
  (dict(ada=dict(pipe='x')), "ADA pipe 'x' is not known"),
])  # fmt: skip
def test_what_it_refuses(arguments, message):
  with pytest.raises(UserError, match=message):
    made(**arguments)
  with pytest.raises(UserError, match='networks.name=stylegan2'):
    method_file.build({'G': Spy(), 'D': Spy()}, z_dim=3)
