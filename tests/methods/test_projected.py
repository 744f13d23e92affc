"""methods/projected.py through the real update, with a stand-in of a few numbers for the frozen network."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import projected_emoji
from ganjax import UserError, experiment, features, run_record, run_state
from ganjax.devices import sharding
from ganjax.evaluation.monitor import Monitor
from ganjax.features import efficientnet_lite0
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.norm import BatchNorm
from ganjax.layers.resample import mean_pool
from ganjax.layers.spectral import SpectralNorm
from ganjax.method import Method, TrainState, name_nets, spans
from ganjax.methods import projected
from ganjax.networks import projected as networks
from ganjax.update import init, make_update
from ganjax.workdir.checkpoint import Checkpoints

RNG = np.random.default_rng(0)
LABEL = np.array([0, 1, 2, 0], np.int32)
BATCH = {'image': RNG.integers(0, 256, (4, 8, 8, 3), np.uint8), 'label': LABEL}
FLOATS = {'image': jnp.asarray(RNG.uniform(-1, 1, (4, 8, 8, 3)), jnp.float32), 'label': LABEL}
KINDS = 'float32', 'float32'
EMA = dict(half_life_images=100)


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


STRIDES = (4, 8, 16, 32)
STAND_IN = SimpleNamespace(Network=Taps, TAPS=dict.fromkeys('abcd', 3), STRIDES=STRIDES, SIZE=32)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
  monkeypatch.setattr(features, 'module', lambda network: STAND_IN)


def tiny(**fields):
  config = projected_emoji.get_config()
  config.update(batch_size=4, steps=10)
  config.data.resolution = 8
  config.networks.update(width=1, width_D=1)
  config.method.z_dim = 4
  config.update_from_flattened_dict(fields)
  return experiment.build(config)


class Small(nn.Module):
  """A generator of 8x8."""

  num_classes: int = 0

  @nn.compact
  def __call__(self, z, label=None, *, train):
    x = BatchNorm()(nn.Dense(12)(z), train=train)
    if self.num_classes:
      x += ClassEmbed(self.num_classes, 12)(label)
    return jnp.tanh(nn.Dense(8 * 8 * 3)(x)).reshape(-1, 8, 8, 3)


class Judge(nn.Module):
  """A discriminator of mixed maps' means: two logits a map."""

  num_classes: int = 0

  @nn.compact
  def __call__(self, maps, label=None, *, train):
    x = [BatchNorm()(x.mean((1, 2)), train=train) for x in networks.Mix(1, *KINDS)(maps)]
    x = [SpectralNorm(nn.Dense(2))(x) for x in x]
    if self.num_classes:
      x[0] += ClassEmbed(self.num_classes, 2)(label)
    return jnp.concatenate(x, 1)


class Made(NamedTuple):
  """A method with its frozen network, a state, and the jitted update."""

  method: Method
  frozen: dict
  state: TrainState
  update: Callable

  def losses(self, phase, batch):
    """(loss, state after, {network: [(arguments, output)]}) of a phase."""
    (found,) = (p for p in self.method.phases if p.name == phase)
    state = self.state.replace(
      params={**self.state.params, 'F': self.frozen['F']['params']},
      stats={**self.state.stats, 'F': {}},
    )
    real_apply = projected.apply

    def run(state, batch):
      seen = {}

      def spy(net, state, *args, **how):
        out = real_apply(net, state, *args, **how)
        seen.setdefault(net.name, []).append((args, out[0]))
        return out

      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projected, 'apply', spy)
        loss, aux = found.loss(state, batch, jax.random.key(1))
      return loss, aux, seen

    return jax.jit(run)(state, batch)


def make(num_classes=0, seed=0, **fields):
  nets = name_nets({'G': Small(num_classes), 'D': Judge(num_classes)})
  method = projected.build(nets, z_dim=4, **{'side': 128, **fields})
  frozen = frozen_of(method)
  sgd = optax.with_extra_args_support(optax.sgd(0.1))
  optimizers = {'G': sgd, 'D': sgd}
  start = jax.jit(lambda key: init(method, optimizers, key, FLOATS))
  update = make_update(method, spans(method, 10, 4)[0], optimizers, ema=EMA)
  return Made(method, frozen, start(jax.random.key(seed)), update)


def frozen_of(method):
  draw = lambda s: np.random.default_rng(s.size).normal(size=s.shape).astype(np.float32)
  return {name: jax.tree.map(draw, net.variables) for name, net in method.frozen.items()}


def copy(state):
  return jax.tree.map(jnp.copy, state)


def differs(a, b):
  key = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
  leaves = (map(key, jax.tree.leaves(tree)) for tree in (a, b))
  return any(not np.array_equal(x, y) for x, y in zip(*leaves, strict=True))


@pytest.fixture(scope='module')
def made():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(features, 'module', lambda network: STAND_IN)
    return make(num_classes=3)


@pytest.mark.slow
def test_each_phase_trains_its_own_network_and_nothing_moves_the_mixing(made):
  start, states, metrics = made.state, [], {}
  state = copy(start)
  for phase in 'D', 'G':
    state, found = made.update(state, (BATCH,), made.frozen, phases=(phase,))
    states.append(copy(state))
    metrics |= found
  after_D, after_G = states
  assert metrics.keys() >= {'loss_real', 'loss_fake', 'loss_G', 'D_real', 'D_fake'}
  assert differs(start.params['D'], after_D.params['D'])
  assert not differs(start.params['G'], after_D.params['G'])
  assert differs(after_D.params['G'], after_G.params['G'])
  assert not differs(after_D.params['D'], after_G.params['D'])
  for kind in 'batch_stats', 'spectral_norm':
    assert differs(start.stats['D'][kind], after_D.stats['D'][kind])
    assert not differs(after_D.stats['D'][kind], after_G.stats['D'][kind])
  assert not differs(start.stats['G'], after_D.stats['G'])
  assert differs(after_D.stats['G'], after_G.stats['G'])
  assert len(start.stats['D']['mixing']['Mix_0']) == 16
  assert not differs(start.stats['D']['mixing'], after_G.stats['D']['mixing'])
  # The frozen network is no part of the state, and what it says counts.
  assert start.params.keys() == start.stats.keys() == {'G', 'D'} and start.ema.keys() == {'G'}
  assert made.method.trained_on == ['efficientnet_lite0']
  other = jax.tree.map(lambda x: 2 * x, made.frozen)
  _, found = made.update(copy(start), (BATCH,), other, phases=('D',))
  assert abs(found['loss_real'] - metrics['loss_real']) > 1e-4


@pytest.mark.slow
def test_losses_are_hinges_of_all_logits():
  """Reals and fakes, of the labels of the batch, pass the frozen network together and D apart, reals first."""
  made = make(num_classes=3, diffaugment='')
  loss, aux, seen = made.losses('D', FLOATS)
  (((_, label), fakes),) = seen['G']
  np.testing.assert_array_equal(label, FLOATS['label'])
  (((both,), _),) = seen['F']
  np.testing.assert_allclose(both[0::2], projected._enlarge(FLOATS['image'], 128), atol=1e-5)
  np.testing.assert_allclose(both[1::2], projected._enlarge(fakes, 128), atol=1e-5)
  ((maps, label), real), ((others, _), fake) = seen['D']
  np.testing.assert_array_equal(label, FLOATS['label'])
  assert real.shape == fake.shape == (4, 8)
  assert not np.allclose(maps[0], others[0])
  np.testing.assert_allclose(aux.metrics['loss_real'], np.maximum(1 - real, 0).mean(), rtol=1e-5)
  np.testing.assert_allclose(aux.metrics['loss_fake'], np.maximum(1 + fake, 0).mean(), rtol=1e-5)
  np.testing.assert_allclose(
    loss, sum(aux.metrics[f'loss_{n}'] for n in ('real', 'fake')), rtol=1e-6
  )
  loss, _, seen = made.losses('G', FLOATS)
  ((_, fake),) = seen['D']
  np.testing.assert_allclose(loss, -np.mean(fake), rtol=1e-5)


@pytest.mark.slow
def test_pictures_are_augmented_each_by_draws_of_its_own():
  """Reals as fakes, in both phases; cutouts take a fifth of the side."""
  white = {**FLOATS, 'image': jnp.ones((4, 8, 8, 3))}
  made = make(diffaugment='cutout')
  _, _, seen = made.losses('D', white)
  (((both,), _),) = seen['F']
  plain = projected._enlarge(jnp.ones((4, 8, 8, 3)), 128)
  cut = [(np.abs(x - 1) > 0.5).sum() / 3 for x in both[0::2]]
  assert 0 < max(cut) <= 34**2 and np.ptp(plain) == 0
  assert not all(np.array_equal(both[0], x) for x in both[2::2])
  _, _, seen = made.losses('G', white)
  (((fakes,), _),), ((_, plain),) = seen['F'], seen['G']
  assert not np.allclose(fakes, projected._enlarge(plain, 128), atol=1e-3)


@pytest.mark.slow
def test_resume_keeps_the_mixing_bit_for_bit(tmp_path, made):
  mesh = sharding.make_mesh(jax.devices()[:1])
  state = sharding.replicate(made.state, mesh)
  place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.replicated(mesh))
  with Checkpoints(tmp_path, 2) as checkpoints:
    checkpoints.save(1, state, {})
    checkpoints.wait()
    restored, step, _ = checkpoints.restore(jax.tree.map(place, state))
  assert step == 1 and not differs(restored, state)
  step = lambda s: made.update(copy(s), (BATCH,), made.frozen, phases=('D',))[0]
  assert not differs(step(state), step(restored))


def test_each_seed_mixes_in_its_own_way(made):
  other = make(num_classes=3, seed=1)
  assert differs(made.state.stats['D']['mixing'], other.state.stats['D']['mixing'])
  run = tiny(seeds=2)
  state = jax.eval_shape(run.init, run.key)
  assert {len(x) for x in jax.tree.leaves(state.stats['D']['mixing'])} == {2}


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


def test_a_network_of_other_maps_is_refused(monkeypatch):
  vgg19 = SimpleNamespace(**{**vars(STAND_IN), 'STRIDES': (1, 2, 4, 8)})
  monkeypatch.setattr(features, 'module', lambda network: vgg19)
  with pytest.raises(UserError, match='has no maps of strides 4, 8, 16 and 32'):
    tiny()


# What records say, and who may judge.


def test_other_weights_are_another_run(tmp_path):
  run = tiny()
  frozen = frozen_of(run.method)
  info = {'network': 'efficientnet_lite0', 'weights_sha256': 'a1'}
  load = lambda: (frozen['F'], info)
  nets = {'F': run.method.frozen['F']._replace(load=load)}
  run = run._replace(method=run.method._replace(frozen=nets))
  variables, infos = run_state.load_frozen(run, tmp_path)
  assert variables.keys() == {'F'} and infos == {'F': info}
  record = run_record.record(run, [], sharding.make_mesh(jax.devices()[:1]), frozen=infos)
  (tmp_path / 'config.json').write_text(json.dumps(record))
  assert record['frozen'] == infos
  run_state.load_frozen(run, tmp_path)
  info['weights_sha256'] = 'b2'
  with pytest.raises(UserError, match='sha256 a1, and those here have b2'):
    run_state.load_frozen(run, tmp_path)


def test_pictures_and_records_say_what_a_run_was_trained_on():
  assert run_state.about(tiny(), 0) == {'trained_on': ['efficientnet_lite0']}


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
