"""The additions to the plain game in methods/gan.py: each does what its formula says, through the real update."""

import runpy
import sys
import textwrap

import device_run
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from ganjax import UserError, experiment, overrides, run_record, run_state
from ganjax.devices import sharding
from ganjax.layers.embed import ClassEmbed
from ganjax.losses import classes as class_losses
from ganjax.losses import terms as kinds
from ganjax.method import name_nets, named, spans
from ganjax.methods import gan
from ganjax.sampling import latents
from ganjax.training.feed import Feed
from ganjax.update import active, init, make_update
from ganjax.views import view
from ganjax.workdir import checkpoint

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
BATCH = {
  'image': jnp.asarray(RNG.normal(size=(8, 2, 2, 1)), jnp.float32),
  'label': jnp.asarray([0, 1, 2, 0, 1, 2, 0, 1], jnp.int32),
}


class Generator(nn.Module):
  """A picture of 2x2: a row of a table and a linear map of z."""

  num_classes: int = 0

  @nn.compact
  def __call__(self, z, label=None, *, train):
    x = nn.Dense(4)(z)
    if self.num_classes:
      x += ClassEmbed(self.num_classes, 4)(label)
    return x.reshape(-1, 2, 2, 1)


class Discriminator(nn.Module):
  num_classes: int = 0
  head: str = 'projection'

  @nn.compact
  def __call__(self, x, label=None, *, train):
    h = nn.tanh(nn.Dense(5)(x.reshape(len(x), -1)))
    logits = nn.Dense(1)(h)[:, 0]
    if self.head == 'classifier':
      return logits, nn.Dense(self.num_classes)(h)
    if self.num_classes:
      logits += jnp.sum(ClassEmbed(self.num_classes, 5)(label) * h, -1)
    return logits


def made(num_classes=0, head='projection', **arguments):
  """(method, state)"""
  nets = name_nets({'G': Generator(num_classes), 'D': Discriminator(num_classes, head)})
  method = gan.build(nets, **{'z_dim': 3, 'loss': 'hinge', **arguments})
  return method, init(method, optimizers(), KEY, BATCH)


def optimizers(rate=0.1):
  sgd = optax.with_extra_args_support(optax.sgd(rate))
  return {'D': sgd, 'G': sgd}


def terms(method, state, phase, batch=BATCH):
  """(loss, metrics, state after) of a phase."""
  (found,) = (p for p in method.phases if p.name == phase)
  loss, aux = jax.jit(found.loss)(state, batch, KEY)
  return float(loss), aux.metrics, aux.state


def fakes_of(method, state, key=KEY, n=8, label=None):
  return method.nets['G'].apply(
    {'params': state.params['G']}, latents.normal(key, n, 3), label, train=True
  )


def trainer(method, **options):
  """A function: state -> (state, metrics) after a step, or after those phases of it."""
  update = make_update(method, spans(method, 100, 8)[0], optimizers(), **options)

  def step(state, phases=None):
    phases = phases or active(method.stages[0], int(state.step))
    return update(jax.tree.map(jnp.copy, state), (BATCH,) * method.n_critic, {}, phases=phases)

  return step


def test_labels_reach_both_networks_and_fakes_have_those_of_the_batch():
  method, state = made(num_classes=3)
  G, D = method.nets['G'], method.nets['D']
  fakes = G.apply(
    {'params': state.params['G']}, latents.normal(KEY, 8, 3), BATCH['label'], train=True
  )
  judge = lambda x: D.apply({'params': state.params['D']}, x, BATCH['label'], train=True)
  real, fake = judge(BATCH['image']), judge(fakes)
  wanted = np.mean(np.maximum(1 - real, 0)) + np.mean(np.maximum(1 + fake, 0))
  np.testing.assert_allclose(terms(method, state, 'D')[0], wanted, rtol=1e-5)
  np.testing.assert_allclose(terms(method, state, 'G')[0], -np.mean(fake), rtol=1e-5)
  assert method.num_classes == 3 and made()[0].num_classes == 0
  # Twice as many fakes: the labels once more.
  method, _ = made(num_classes=3, fakes_per_real=2)
  labels = jnp.concatenate([BATCH['label']] * 2)
  z = latents.normal(KEY, 16, 3)
  fakes = G.apply({'params': state.params['G']}, z, labels, train=True)
  fake = D.apply({'params': state.params['D']}, fakes, labels, train=True)
  np.testing.assert_allclose(terms(method, state, 'G')[0], -np.mean(fake), rtol=1e-5)


def test_a_seed_has_a_class():
  method, state = made(num_classes=3)
  rows = method.rows(np.array([0, 4, 8, -1]), {})
  np.testing.assert_array_equal(rows['label'], [0, 1, 2, 2])
  pictures, _ = method.stages[0].sample(state, rows, train=False)
  alone, _ = method.stages[0].sample(state, method.rows(np.array([8]), {}), train=False)
  np.testing.assert_allclose(pictures[2:3], alone, rtol=1e-5)
  other, _ = method.stages[0].sample(state, {**rows, 'label': rows['label'] * 0}, train=False)
  assert np.abs(other - pictures)[1:3].max() > 0.1


@pytest.mark.slow
def test_class_loss_on_reals_and_on_fakes():
  fields = dict(name='auxiliary_classifier', D=0.5, D_fake=0.25, G=2.0)
  method, state = made(num_classes=3, head='classifier', class_loss=fields)
  G, D = method.nets['G'], method.nets['D']
  fakes = G.apply(
    {'params': state.params['G']}, latents.normal(KEY, 8, 3), BATCH['label'], train=True
  )
  scores = lambda x: D.apply({'params': state.params['D']}, x, train=True)[1]
  entropy = lambda x: class_losses.auxiliary_classifier(scores(x), BATCH['label'])
  total, found, _ = terms(method, state, 'D')
  np.testing.assert_allclose(found['loss_class'], 0.5 * entropy(BATCH['image']), rtol=1e-5)
  np.testing.assert_allclose(found['loss_class_fake'], 0.25 * entropy(fakes), rtol=1e-5)
  parts = [v for k, v in found.items() if k.startswith('loss_')]
  np.testing.assert_allclose(total, sum(parts), rtol=1e-5)
  _, found, _ = terms(method, state, 'G')
  np.testing.assert_allclose(found['loss_G_class'], 2 * entropy(fakes), rtol=1e-5)
  # Trained long enough, G makes what the classifier names.
  method, state = made(num_classes=3, head='classifier', class_loss=dict(fields, G=5.0))
  before = float(terms(method, state, 'G')[1]['loss_G_class'])
  step = trainer(method)
  for _ in range(60):
    state, metrics = step(state)
  assert metrics['loss_G_class'] < 0.3 * before


def test_packing_stacks_neighbours():
  x = jnp.arange(2 * 3 * 2 * 2 * 2).reshape(6, 2, 2, 2)
  packed = view.pack(x, 3)
  assert packed.shape == (2, 2, 2, 6)
  for i in range(2):
    for j in range(3):
      np.testing.assert_array_equal(packed[i, :, :, 2 * j : 2 * j + 2], x[3 * i + j])
  np.testing.assert_array_equal(view.pack(x, 1), x)
  method, state = made(packing=2)
  assert state.params['D']['Dense_0']['kernel'].shape == (8, 5)
  D = method.nets['D']
  real = D.apply({'params': state.params['D']}, view.pack(BATCH['image'], 2), train=True)
  np.testing.assert_allclose(
    terms(method, state, 'D')[1]['loss_real'], np.mean(np.maximum(1 - real, 0)), rtol=1e-5
  )


def test_lecam_reads_its_averages_before_it_moves_them():
  method, state = made(lecam=dict(weight=0.3, decay=0.9, start_steps=2))
  step = trainer(method)
  old = {'real': 0.0, 'fake': 0.0}
  for number in range(4):
    D = {'params': state.params['D']}
    judge = lambda x, D=D: np.asarray(method.nets['D'].apply(D, x, train=True))
    z = latents.normal(
      jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(KEY, number), 0), 0), 8, 3
    )
    fakes = method.nets['G'].apply({'params': state.params['G']}, z, train=True)
    # `prepare` leaves floats as they are, so D sees the batch.
    real, fake = judge(BATCH['image']), judge(fakes)
    wanted = np.mean(np.maximum(real - old['fake'], 0) ** 2)
    wanted += np.mean(np.maximum(old['real'] - fake, 0) ** 2)
    state, metrics = step(state)
    np.testing.assert_allclose(
      metrics['loss_lecam'], 0.3 * wanted * (number >= 2), rtol=1e-4, atol=1e-7
    )
    kept = 0.9 if number >= 2 else 0.0
    for name, logits in (('real', real), ('fake', fake)):
      old[name] = kept * old[name] + (1 - kept) * logits.mean()
      np.testing.assert_allclose(state.extra['lecam'][name], old[name], rtol=1e-4, atol=1e-6)


def test_zcr_draws_latents_nearby():
  method, state = made(zcr=dict(sigma=1e-3, D=4.0, G=0.5))
  plain, _ = made()
  _, found, _ = terms(method, state, 'D')
  _, found_G, _ = terms(method, state, 'G')
  A = np.asarray(state.params['G']['Dense_0']['kernel'])
  # Pictures are linear in z: E |A e|^2 / 4 values = sigma^2 |A|^2 / 4.
  wanted = 1e-6 * np.sum(A**2) / 4
  assert 0.3 < -found_G['loss_G_zcr'] / (0.5 * wanted) < 3
  assert found_G['loss_G_zcr'] < 0 < found['loss_zcr'] < 4 * wanted * 100
  # The rest of the game is what it was.
  np.testing.assert_allclose(
    found['loss_fake'], terms(plain, state, 'D')[1]['loss_fake'], rtol=1e-6
  )
  wide, _ = made(zcr=dict(sigma=2e-3, D=1.0, G=2.0))
  ratio = terms(wide, state, 'G')[1]['loss_G_zcr'] / found_G['loss_G_zcr']
  np.testing.assert_allclose(ratio, 4 * 4, rtol=1e-3)  # squares, and the weights 2 / 0.5
  ratio = terms(wide, state, 'D')[1]['loss_zcr'] / found['loss_zcr']
  np.testing.assert_allclose(ratio, 4 / 4, rtol=2e-2)


def test_the_orthogonal_regularizer_turns_columns_apart():
  method, state = made(orthogonal=0.1)

  def overlap(state):
    w = np.asarray(state.params['G']['Dense_0']['kernel'])
    return np.sum((w.T @ w) ** 2) - np.sum(np.diag(w.T @ w) ** 2)

  _, found, _ = terms(method, state, 'G')
  np.testing.assert_allclose(found['loss_G_orthogonal'], 0.1 * overlap(state), rtol=1e-4)


def test_a_file_is_a_term(tmp_path, monkeypatch):
  """Its name is an argument of the method and a field of a recipe, and its value is in the losses."""
  code = """
    from ganjax.losses.terms import Term
    def build(given, nets):
      small = lambda game: {'loss_G_small': given * (game.fakes**2).mean()}
      return Term(G=small) if given else Term()
  """
  (tmp_path / 'small.py').write_text(textwrap.dedent(code))
  monkeypatch.setattr(kinds, '__path__', [*kinds.__path__, str(tmp_path)])
  method, state = made(small=0.5)
  loss, found, _ = terms(method, state, 'G')
  assert found['loss_G_small'] > 0
  np.testing.assert_allclose(loss, found['loss_G'] + found['loss_G_small'], rtol=1e-6)
  config = ConfigDict(dict(method=dict(name='gan', z_dim=3)))
  assert 'method.small' in overrides.addable(config)
  overrides.add(config, ['--config.method.small=0.5'])
  assert config.method.small is None
  with pytest.raises(UserError, match='method.smal is not known.*small'):
    made(smal=0.5)
  monkeypatch.delitem(sys.modules, 'ganjax.losses.terms.small')


def test_D_sees_reals_and_fakes_through_the_view_in_every_loss():
  method, state = made(diffaugment='cutout')
  D, see = method.nets['D'], view.build(diffaugment='cutout').see
  judge = lambda x, name: D.apply(
    {'params': state.params['D']}, see(state, x, named(KEY, name)), train=True
  )
  fakes = fakes_of(method, state)
  assert 0 < np.mean(np.asarray(see(state, fakes, named(KEY, 'fake'))) == 0) < 1
  _, found, _ = terms(method, state, 'D')
  real, fake = judge(BATCH['image'], 'real'), judge(fakes, 'fake')
  np.testing.assert_allclose(found['loss_real'], np.mean(np.maximum(1 - real, 0)), rtol=1e-5)
  np.testing.assert_allclose(found['loss_fake'], np.mean(np.maximum(1 + fake, 0)), rtol=1e-5)
  np.testing.assert_allclose(terms(method, state, 'G')[0], -np.mean(fake), rtol=1e-5)


@pytest.mark.parametrize('view_of', [dict(diffaugment='color'), dict(ada=dict(pipe='bgc', p=0.3))])
def test_fakes_of_half_precision_are_seen_as_reals_are(view_of):
  """Draws in bfloat16 would be others: D would see fakes changed more often than reals."""
  seen = []

  class Half(Generator):
    @nn.compact
    def __call__(self, z, label=None, *, train):
      return nn.Dense(4)(z).reshape(-1, 2, 2, 1).astype(jnp.bfloat16)

  class Watching(Discriminator):
    @nn.compact
    def __call__(self, x, label=None, *, train):
      seen.append(x.dtype)
      return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]

  method = gan.build(name_nets({'G': Half(), 'D': Watching()}), z_dim=3, **view_of)
  state = init(method, optimizers(), KEY, BATCH)
  for phase in 'DG':
    assert np.isfinite(terms(method, state, phase)[0])
  assert set(seen) == {jnp.dtype('float32')}


def test_ada_moves_every_interval_by_the_signs_of_reals():
  method, state = made(n_critic=2, ada=dict(pipe='blit', target=0.6, interval=2, images=100))
  np.testing.assert_array_equal(state.extra['ada']['p'], 0)
  seen, step = [], trainer(method)
  for _ in range(4):
    state, metrics = step(state)
    seen.append((float(state.extra['ada']['p']), float(state.extra['ada']['count'])))
    assert metrics['ada_p'] == state.extra['ada']['p']
  # 2 steps of 2 updates on 8 images: 32 a move.
  assert [count for _, count in seen] == [16, 0, 16, 0]
  assert seen[0][0] == 0


@pytest.mark.parametrize('bias, moved', [(50.0, 0.82), (-50.0, 0.18)])
def test_ada_goes_where_D_is_sure(bias, moved):
  """All reals above 0: more; all below: less. 32 images of 100 a move."""
  method, state = made(n_critic=2, ada=dict(pipe='blit', target=0.6, interval=2, images=100))
  params = jax.tree.map(lambda x: x, state.params)
  params['D']['Dense_1']['bias'] += bias
  extra = {'ada': {**state.extra['ada'], 'p': jnp.float32(0.5)}}
  state, step = state.replace(params=params, extra=extra), trainer(method)
  state, _ = step(state)
  assert state.extra['ada']['p'] == 0.5
  state, _ = step(state)
  np.testing.assert_allclose(state.extra['ada']['p'], moved, rtol=1e-6)


@pytest.mark.slow
def test_ada_of_a_given_p_keeps_nothing():
  method, state = made(ada=dict(pipe='blit', p=dict(start=0.0, end=1.0, steps=2)))
  assert state.extra == {}
  seen = view.build(ada=dict(pipe='blit', p=dict(start=0.0, end=1.0, steps=2, shape='linear')))
  see = lambda step: seen.see(state.replace(step=step), BATCH['image'], KEY)
  np.testing.assert_array_equal(see(0), BATCH['image'])
  assert np.mean(np.any(see(2) != BATCH['image'], (1, 2, 3))) > 0.5
  state, _ = trainer(method)(state)


def test_penalty_weights_may_be_ramps():
  ramp = dict(start=2.0, end=1.0, steps=4, shape='linear')
  method, state = made(penalties=dict(r1=ramp))
  plain, _ = made(penalties=dict(r1=1.0))
  one = terms(plain, state, 'D')[1]['loss_r1']
  for at, weight in ((0, 2.0), (2, 1.5), (8, 1.0)):
    found = terms(method, state.replace(step=jnp.int32(at)), 'D')[1]['loss_r1']
    np.testing.assert_allclose(found, weight * one, rtol=1e-5)


def test_relativistic_losses_see_both_sides():
  method, state = made(loss='relativistic')
  D, G = method.nets['D'], method.nets['G']
  judge = lambda x: D.apply({'params': state.params['D']}, x, train=True)
  fakes = G.apply({'params': state.params['G']}, latents.normal(KEY, 8, 3), train=True)
  gap = np.asarray(judge(BATCH['image']) - judge(fakes))
  np.testing.assert_allclose(
    terms(method, state, 'D')[0], np.mean(np.logaddexp(0, -gap)), rtol=1e-5
  )
  np.testing.assert_allclose(terms(method, state, 'G')[0], np.mean(np.logaddexp(0, gap)), rtol=1e-5)


def test_microbatches_add_up_to_the_batch():
  """D's update of a batch is that of its parts, with a G whose fakes are all alike: the parts draw other latents."""
  method, state = made(num_classes=3, penalties=dict(r1=1.0))
  params = jax.tree.map(jnp.zeros_like, state.params['G'])
  state = state.replace(params={**state.params, 'G': params})
  one, metrics = trainer(method)(state, ('D',))
  for parts in (4,):
    found, parted = trainer(method, microbatches=parts)(state, ('D',))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    jax.tree.map(close, found.params, one.params)
    jax.tree.map(close, parted, metrics)
  assert (
    np.abs(one.params['D']['Dense_0']['kernel'] - state.params['D']['Dense_0']['kernel']).max() > 0
  )


@pytest.mark.slow
def test_microbatches_pass_statistics_on():
  """ADA's counts see every image of every part."""
  method, state = made(ada=dict(pipe='blit', interval=4))
  new, _ = trainer(method, microbatches=4)(state, ('D',))
  assert new.extra['ada']['count'] == 8


def test_average_starts_late():
  method, state = made()
  step = trainer(method, ema=dict(half_life_images=80, rampup=0.0, start_steps=2))
  for number in range(4):
    old = np.asarray(state.ema['G']['params']['Dense_0']['kernel'])
    state, _ = step(state)
    new = np.asarray(state.params['G']['Dense_0']['kernel'])
    kept = 0.5**0.1 if number >= 2 else 0.0
    average = state.ema['G']['params']['Dense_0']['kernel']
    np.testing.assert_allclose(average, kept * old + (1 - kept) * new, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('fields, message', [
  (dict(packing=3), 'packing=3 must divide the batch, which is of 8'),
  (dict(packing=0), 'packing=0 must be at least 1'),
  (dict(packing=2, num_classes=3), 'packing is for networks without classes'),
  (dict(packing=2, penalties=dict(r1=1.0)), 'packing does not go with method.penalties'),
  (dict(diffaugment='colour'), "'colour'"),
  (dict(diffaugment='color', ada=dict(pipe='bgc')), 'do not go together'),
  (dict(ada=dict(pipe='bcg')), "'bcg' is not known"),
  (dict(ada=dict(pipe='bgc', p=0.2, target=0.6)), 'no target'),
  (dict(ada=dict(pipe='bgc', p=1.2)), r'ada.p=1.2 must be'),
  (dict(ada=dict(pipe='bgc', goal=1.2)), 'method.ada does not take goal'),
  (dict(lecam=dict(weight=0.3, decoy=0.9)), 'method.lecam=.* weight, decay, start_steps'),
  (dict(lecam=dict(decay=0.9)), 'method.lecam='),
  (dict(lecam=dict(weight=0.3, decay=1.5)), 'method.lecam.decay=1.5 must be below 1'),
  (dict(lecam=dict(weight=dict(start=1.0, end=0.0, steps=3))), 'method.lecam='),
  (dict(ada=dict(interval=0)), 'method.ada needs interval'),
  (dict(ada=dict(interval='4')), 'method.ada needs interval'),
  (dict(ada=dict(target='x')), 'target in'),
  (dict(ada='bgc'), "method.ada='bgc' must be a mapping"),
  (dict(lecam=0.3), 'method.lecam=0.3 must be a mapping'),
  (dict(zcr=[1, 2]), 'method.zcr=.1, 2. must be a mapping'),
  (dict(penalties='r1'), "method.penalties='r1' must be a mapping"),
  (dict(penalties=['r1']), 'method.penalties=.*r1.* must be a mapping'),
  (dict(class_loss='ac'), "method.class_loss='ac' must be a mapping"),
  (dict(diffaugment=True), "policy True must be one or more"),
  (dict(z_dim=None), 'method.z_dim, .* must be whole'),
  (dict(n_critic=1.5), 'method.z_dim, .* must be whole'),
  (dict(ada=dict(images=0)), 'method.ada needs interval and images'),
  (dict(ada=dict(target=6)), 'target in'),
  (dict(zcr=dict(sigma=0.1)), 'method.zcr='),
  (dict(orthogonal=-1.0), 'method.orthogonal=-1.0'),
  (dict(penalties=dict(r1=dict(start=1.0))), 'method.penalties.r1='),
  (dict(loss='relativistic', fakes_per_real=2), 'fakes_per_real must be 1'),
])  # fmt: skip
def test_what_build_refuses(fields, message):
  with pytest.raises(UserError, match=message):
    made(**fields)


def test_lazy_penalties_are_as_strong_as_those_in_the_loss():
  """Over k steps the same push on D, whatever n_critic: k times as strong at one step of k, as often in it as D."""
  pushed = []
  for every in (1, 4):
    method, state = made(penalties=dict(r1=1.0), penalties_every=every, n_critic=2)
    plain, _ = made(n_critic=2)
    start = state
    for which, sign in ((method, 1), (plain, -1)):
      state, step = start, trainer(which)
      total = 0
      for number in range(4):
        state = start.replace(step=jnp.int32(number))
        new, _ = step(state)
        total += sign * (
          np.asarray(new.params['D']['Dense_0']['kernel'])
          - np.asarray(start.params['D']['Dense_0']['kernel'])
        )
      pushed.append(total)
  usual, lazy = pushed[0] + pushed[1], pushed[2] + pushed[3]
  assert np.linalg.norm(usual) > 1e-3
  np.testing.assert_allclose(np.sum(usual * lazy) / np.sum(usual**2), 1, atol=0.35)


@pytest.mark.slow
def test_what_is_kept_between_steps_is_of_the_whole_batch(tmp_path):
  """LeCam's averages, ADA's signs and p: equal on 1 and 4 devices in float64, with microbatches, and after a resume."""
  config = runpy.run_path(str(device_run.CONFIG))['get_config']()
  config.update(steps=6, batch_size=8, microbatches=2)
  config.networks = dict(name='mlp', width=10, dtype='float64', param_dtype='float64')
  config.method.update(
    n_critic=2,
    packing=2,
    ada=dict(pipe='blit', interval=2, images=50),
    lecam=dict(weight=0.3, decay=0.9, start_steps=2),
  )

  def train(built, devices, stop=None):
    mesh, span = sharding.make_mesh(jax.devices()[:devices]), built.spans[0]
    feed = Feed(device_run.Pictures(), span, 2, 0, mesh, 0)
    with jax.set_mesh(mesh):
      update = built.update(span)
      state, _, _ = run_state.start(built, mesh)
      for number in range(6):
        if number == stop:
          kept = checkpoint.Checkpoints(tmp_path)
          kept.save(number, state, {'config': run_record.to_json(config), 'metrics': {}})
          kept.close()
          state, *_ = run_state.restore(built, checkpoint.Checkpoints(tmp_path), mesh)
        state, _ = update(state, feed.next(), {}, phases=active(span.stage, number))
    feed.close()
    return jax.device_get(state.replace(key=()))

  with jax.enable_x64(True):
    built = experiment.build(config)
    one, four, resumed = train(built, 1), train(built, 4), train(built, 4, stop=3)
  assert one.extra['ada']['p'] > 0 and one.extra['lecam']['real'] != 0
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), one, four)
  jax.tree.map(np.testing.assert_array_equal, four, resumed)
