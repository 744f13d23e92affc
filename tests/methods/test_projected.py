"""methods/projected.py through the real update, with a stand-in of a few numbers for the frozen network."""

import json
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import projected_emoji
from ganjax import UserError, experiment
from ganjax.devices import sharding
from ganjax.evaluation.monitor import Monitor
from ganjax.features import efficientnet_lite0
from ganjax.layers.resample import mean_pool
from ganjax.losses import adversarial
from ganjax.methods import projected
from ganjax.update import active
from ganjax.workdir.checkpoint import Checkpoints

RNG = np.random.default_rng(0)
BATCH = {'image': RNG.integers(0, 256, (4, 8, 8, 3), np.uint8), 'label': np.arange(4)}


class Taps(nn.Module):
  """Maps of strides 4 to 32 by means and one layer each."""

  dtype: str = 'float32'
  taps: tuple = ()

  @nn.compact
  def __call__(self, x, train=False):
    x, maps = mean_pool(x), []
    for _ in range(4):
      x = nn.tanh(nn.Dense(3)(mean_pool(x)))
      maps.append(x)
    return maps


STAND_IN = SimpleNamespace(Network=Taps, TAPS=dict.fromkeys('abcd', 3), SIZE=32)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
  monkeypatch.setattr(projected, '_module', lambda network: STAND_IN)


def tiny(**fields):
  config = projected_emoji.get_config()
  config.update(batch_size=4, steps=10)
  config.data.resolution = 8
  config.networks.update(width=1, width_D=1)
  config.method.z_dim = 4
  config.update_from_flattened_dict(fields)
  return experiment.build(config)


def frozen_of(run):
  draw = lambda s: np.random.default_rng(s.size).normal(size=s.shape).astype(np.float32)
  return {name: jax.tree.map(draw, net.variables) for name, net in run.method.frozen.items()}


@pytest.fixture(scope='module')
def trained():
  """A run, its frozen network, the state at the start, after D's phase and after G's, and all metrics."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(projected, '_module', lambda network: STAND_IN)
    run = tiny(**{'networks.num_classes': 3})
    frozen, state = frozen_of(run), jax.jit(run.init)(jax.random.key(0))
    states, metrics, update = [jax.device_get(state)], {}, run.update(run.spans[0])
    for phase in active(run.spans[0].stage, 0):
      batch = {**BATCH, 'label': np.arange(4, dtype=np.int32) % 3}
      state, found = update(state, (batch,), frozen, phases=(phase,))
      states.append(jax.device_get(state))
      metrics |= found
  return run, frozen, states, metrics


def differs(a, b):
  return any(
    not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_each_phase_trains_its_own_network_and_nothing_moves_the_mixing(trained):
  _, _, (start, after_D, after_G), metrics = trained
  assert metrics.keys() >= {'loss_real', 'loss_fake', 'loss_G', 'D_real', 'D_fake'}
  assert differs(start.params['D'], after_D.params['D'])
  assert not differs(start.params['G'], after_D.params['G'])
  assert differs(after_D.params['G'], after_G.params['G'])
  assert not differs(after_D.params['D'], after_G.params['D'])
  for kind in 'batch_stats', 'spectral_norm':
    assert differs(start.stats['D'][kind], after_D.stats['D'][kind])
    assert not differs(after_D.stats['D'][kind], after_G.stats['D'][kind])
    assert differs(after_D.stats['G'][kind], after_G.stats['G'][kind])
  assert len(start.stats['D']['mixing']['Mix_0']) == 16
  assert not differs(start.stats['D']['mixing'], after_G.stats['D']['mixing'])


def test_the_frozen_network_is_not_in_the_state_and_matters(trained):
  run, frozen, (start, *_), metrics = trained
  assert start.params.keys() == start.stats.keys() == {'G', 'D'} and start.ema.keys() == {'G'}
  assert run.method.trained_on == ['efficientnet_lite0']
  other = jax.tree.map(lambda x: 2 * x, frozen)
  batch = {**BATCH, 'label': np.arange(4, dtype=np.int32) % 3}
  update = run.update(run.spans[0])
  _, found = update(jax.tree.map(jnp.asarray, start), (batch,), other, phases=('D',))
  assert abs(found['loss_real'] - metrics['loss_real']) > 1e-3


def test_losses_are_hinges_of_all_logits(monkeypatch):
  """Without augmentation the first update's loss is that of reals and fakes in two passes, real first."""
  run = tiny(**{'method.diffaugment': ''})
  G, D = (run.method.nets[n] for n in 'GD')
  frozen = frozen_of(run)
  state = jax.jit(run.init)(jax.random.key(0))
  state = state.replace(
    params={**state.params, 'F': frozen['F']['params']}, stats={**state.stats, 'F': {}}
  )
  fakes = {}
  real_apply = projected.apply

  def spy(net, state, *args, **how):
    out = real_apply(net, state, *args, **how)
    fakes.setdefault(net.name, []).append((args, out[0]))
    return out

  monkeypatch.setattr(projected, 'apply', spy)
  image = jnp.asarray(RNG.uniform(-1, 1, (4, 8, 8, 3)), jnp.float32)
  batch = {'image': image, 'label': jnp.zeros(4, jnp.int32)}
  (phase_D, phase_G) = run.spans[0].stage.phases
  loss, aux = phase_D.loss(state, batch, jax.random.key(1))
  ((_, made),) = fakes['G']
  (((both,), _),) = [(a, o) for a, o in fakes['F']]
  np.testing.assert_allclose(both[0::2], projected._enlarge(image, 128), rtol=1e-6)
  np.testing.assert_allclose(both[1::2], projected._enlarge(made, 128), rtol=1e-6)
  (_, real), (_, fake) = fakes['D']
  assert real.shape == fake.shape == (4, 4)
  wanted = np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean()
  np.testing.assert_allclose(loss, wanted, rtol=1e-6)
  np.testing.assert_allclose(aux.metrics['loss_real'], np.maximum(1 - real, 0).mean(), rtol=1e-6)
  fakes.clear()
  loss, _ = phase_G.loss(state, batch, jax.random.key(1))
  ((_, fake),) = fakes['D']
  np.testing.assert_allclose(loss, -np.mean(fake), rtol=1e-5)
  assert adversarial.hinge_G(fake) == loss


def test_resume_keeps_the_mixing_bit_for_bit(tmp_path, trained):
  run, frozen, (*_, state), _ = trained
  mesh = sharding.make_mesh(jax.devices()[:1])
  state = sharding.replicate(state, mesh)
  batch = {**BATCH, 'label': np.arange(4, dtype=np.int32) % 3}
  with Checkpoints(tmp_path) as checkpoints:
    meta = {'run': 'x', 'config': experiment.to_json(run.config), 'version': '', 'metrics': {}}
    checkpoints.save(1, state, meta)
    checkpoints.wait()
    restored, step, _ = checkpoints.restore(run.template(mesh))
  assert step == 1 and not differs(restored.stats, state.stats)
  update = run.update(run.spans[0])
  ends = [
    jax.device_get(update(jax.tree.map(jnp.copy, s), (batch,), frozen, phases=('D', 'G'))[0])
    for s in (state, restored)
  ]
  key = lambda state: state.replace(key=jax.random.key_data(state.key))
  assert not differs(*map(key, ends))


def test_each_seed_mixes_in_its_own_way():
  run = tiny(seeds=2)
  state = jax.eval_shape(run.init, run.key)
  assert {len(x) for x in jax.tree.leaves(state.stats['D']['mixing'])} == {2}
  states = [jax.jit(run.init)(jax.random.key(k)) for k in (0, 1)]
  assert differs(*(s.stats['D']['mixing'] for s in states))


@pytest.mark.parametrize(
  'sides, found',
  [
    ((64, 64), (128, 128)),
    ((32, 48), (128, 192)),
    ((128, 128), (128, 128)),
    ((256, 256), (256, 256)),
    ((250, 300), (256, 288)),
  ],
)
def test_sides_that_the_frozen_network_sees(sides, found):
  assert tuple(projected._sides(sides, 128)) == found


def test_grey_pictures_are_seen_in_three_channels():
  x = jnp.asarray(RNG.normal(size=(2, 128, 128, 1)))
  np.testing.assert_array_equal(projected._enlarge(x, 128), jnp.repeat(x, 3, 3))


@pytest.mark.parametrize(
  'field, value, line',
  [
    ('side', 96, 'method.side=96 must be a multiple of 32 from 128, below'),
    ('side', 200, 'method.side=200 must be a multiple of 32'),
    ('z_dim', 0, 'method.z_dim=0'),
    ('cutout', 0.0, 'method.cutout=0.0'),
    ('diffaugment', 'colour', "policy 'colour' must be"),
    ('network', 'efficientnet_lite', 'did you mean efficientnet_lite0'),
  ],
)
def test_build_refuses_in_one_line(field, value, line):
  with pytest.raises(UserError, match=line) as error:
    tiny(**{f'method.{field}': value})
  assert '\n' not in str(error.value)


# What records say, and who may judge.


def test_other_weights_are_another_run(tmp_path, trained):
  run, frozen, _, _ = trained
  info = {'network': 'efficientnet_lite0', 'weights_sha256': 'a1'}
  load = lambda: (frozen['F'], info)
  nets = {'F': run.method.frozen['F']._replace(load=load)}
  run = run._replace(method=run.method._replace(frozen=nets))
  variables, infos = experiment.load_frozen(run, tmp_path)
  assert variables.keys() == {'F'} and infos == {'F': info}
  record = experiment.record(run, [], sharding.make_mesh(jax.devices()[:1]), frozen=infos)
  (tmp_path / 'config.json').write_text(json.dumps(record))
  assert record['frozen'] == infos
  experiment.load_frozen(run, tmp_path)
  info['weights_sha256'] = 'b2'
  with pytest.raises(UserError, match='sha256 a1, and those here have b2'):
    experiment.load_frozen(run, tmp_path)


def test_pictures_and_records_say_what_a_run_was_trained_on(trained):
  assert experiment.about(trained[0], 0) == {'trained_on': ['efficientnet_lite0']}


def test_training_is_not_judged_by_its_own_features(tmp_path):
  fields = {'eval.every_steps': 5, 'eval.metrics': 'fd_efficientnet_lite0'}
  with pytest.raises(UserError, match='cannot judge it; take another, such as fd_mobilenet_v2'):
    Monitor(tiny(**fields), tmp_path, sharding.make_mesh(jax.devices()[:1]), 0)


def test_taps_of_the_real_network():
  """The maps that the published code takes, and the last one is what the head of the whole network sees."""
  net = efficientnet_lite0.Network(taps=tuple(efficientnet_lite0.TAPS))
  image = jnp.zeros((2, 64, 96, 3))
  found = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x)[0], image)
  channels = efficientnet_lite0.TAPS.values()
  assert [x.shape for x in found] == [(2, 64 >> i, 96 >> i, c) for i, c in enumerate(channels, 2)]
