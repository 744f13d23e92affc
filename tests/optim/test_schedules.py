"""Numbers and ramps, and configurations that hold them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from ganjax import UserError, experiment, run_record
from ganjax import config as configs
from ganjax.optim import schedules

RAMP = dict(start=0.05, end=0.005, steps=8)


def test_a_number_is_itself():
  value = 0.3
  assert schedules.ramp(value, jnp.int32(3)) is value
  assert schedules.ends('x', value) == (0.3,)


def test_cosine_is_that_of_the_paper():
  """decay = (1 + cos(pi t)) / 2; start + (1 - decay) (end - start); end after the last step."""
  steps = np.arange(12)
  decay = (1 + np.cos(np.pi * np.minimum(steps / 8, 1))) / 2
  found = jax.vmap(lambda step: schedules.ramp(RAMP, step))(jnp.asarray(steps, jnp.int32))
  np.testing.assert_allclose(found, 0.05 + (1 - decay) * (0.005 - 0.05), rtol=1e-5)
  assert (found[8:] == np.float32(0.005)).all()
  assert found.dtype == jnp.float32


def test_linear():
  ramp = dict(start=-1, end=3, steps=4, shape='linear')
  found = [float(schedules.ramp(ramp, step)) for step in (0, 1, 2, 3, 4, 100)]
  np.testing.assert_allclose(found, [-1, 0, 1, 2, 3, 3])


def test_constant_then_linear_to_0():
  """CycleGAN's learning rate: that of the first half, then down to 0."""
  ramp = dict(start=2e-4, end=0.0, begin=4, steps=4, shape='linear')
  found = [float(schedules.ramp(ramp, jnp.int32(step))) for step in range(10)]
  expected = 2e-4 * np.array([1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0])
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert schedules.ends('lr', ramp) == (2e-4, 0)


def test_falls_are_optax_s_piecewise_constant():
  falls = dict(start=1e-4, factor=0.5, at=(2, 3, 6))
  found = jax.jit(jax.vmap(lambda step: schedules.ramp(falls, step)))(jnp.arange(9))
  expected = optax.piecewise_constant_schedule(1e-4, dict.fromkeys((2, 3, 6), 0.5))
  np.testing.assert_allclose(found, [expected(step) for step in range(9)], rtol=1e-6)
  assert found.dtype == jnp.float32 and float(found[2]) == np.float32(5e-5)
  assert schedules.ends('lr', falls) == (1e-4, 1e-4 / 8)


def test_a_decay_by_the_inverse_of_the_step():
  decay = dict(start=1e-4, inverse=0.5)
  found = jax.jit(jax.vmap(lambda step: schedules.ramp(decay, step)))(jnp.arange(5))
  np.testing.assert_allclose(found, 1e-4 / (1 + 0.5 * np.arange(5)), rtol=1e-6)
  assert schedules.ends('lr', decay) == (1e-4, 0.0)
  assert schedules.describe(decay) == '0.0001 / (1 + 0.5 step)'


def test_words():
  words = lambda *value: schedules.describe(*value)
  assert words(20_000, 'images') == '20,000 images' and words(2e-4) == '0.0002'
  assert words(RAMP) == '0.05 to 0.005 over 8 steps'
  assert words({**RAMP, 'begin': 1000}) == '0.05 to 0.005 from step 1,000 to 1,008'
  falls = dict(start=1e-4, factor=0.5, at=[1000])
  assert words(falls) == '0.0001, times 0.5 at step 1,000'
  assert words({**falls, 'at': (1, 2, 3)}) == '0.0001, times 0.5 at steps 1, 2 and 3'


def test_under_jit_one_program_serves_all_steps():
  traced = []

  @jax.jit
  def weight(step):
    traced.append(step)
    return schedules.ramp(ConfigDict(RAMP), step)

  values = [float(weight(jnp.int32(step))) for step in range(9)]
  assert len(traced) == 1 and (np.diff(values) < 0).all()


@pytest.mark.parametrize(
  'bad, line',
  [
    (dict(start=0, end=1), 'numbers start, end, steps'),
    (dict(start=0, end=1, steps=5, from_step=2), 'numbers start, end, steps'),
    (dict(start='0', end=1, steps=5), 'numbers start, end, steps'),
    (dict(start=0, end=1, steps=0), 'steps >= 1'),
    (dict(start=0, end=1, steps=5, shape='step'), "'cosine' or 'linear'"),
    (dict(start=0, end=1, steps=5, begin=-1), 'begin >= 0'),
    (dict(start=0, factor=0.5), 'start, factor and a list'),
    (dict(start=0, factor=0.5, at=(1, 2), steps=3), 'numbers start and factor'),
    (dict(start=0, factor='0.5', at=(1, 2)), 'numbers start and factor'),
    (dict(start=0, factor=0.5, at=(2, 2)), "rising whole steps 'at'"),
    (dict(start=0, factor=0.5, at=(0, 2)), "rising whole steps 'at'"),
    (dict(start=0, factor=0.5, at=()), "rising whole steps 'at'"),
    (dict(start=0, factor=0.5, at=7), "rising whole steps 'at'"),
    (dict(start=0.5, factor=3, at=(7,)), 'factor from 0 to 1'),
    (dict(start=0.5, factor=1e308, at=(7, 8)), 'factor from 0 to 1'),
    (dict(start=0.5, inverse=-1), 'inverse from 0'),
    (dict(start=0.5, inverse=1, steps=3), 'start and inverse alone'),
    (dict(start=0, end=1.1, steps=5), r'in \[0, 1\]'),
    (dict(start=float('nan'), end=1, steps=5), r'in \[0, 1\]'),
    (-0.1, r'in \[0, 1\]'),
    ('much', 'neither a number nor a ramp'),
    (None, 'neither a number nor a ramp'),
  ],
)
@pytest.mark.parametrize('kind', [lambda x: x, ConfigDict], ids=['dict', 'ConfigDict'])
def test_check_refuses_in_one_line(bad, line, kind):
  if kind is ConfigDict and not isinstance(bad, dict):
    return
  with pytest.raises(UserError, match=f'^method.ada.p=.*{line}') as error:
    schedules.check('method.ada.p', kind(bad), 0, 1)
  assert '\n' not in str(error.value)


def test_check_number_refuses_schedules():
  schedules.check_number('method.mixing', 0.9, 0.0, 1.0)
  for bad, line in (
    (dict(start=1.0, end=0.0, steps=9), 'same in all steps'),
    (2.0, r'in \[0, 1\]'),
  ):
    with pytest.raises(UserError, match=f'method.mixing.*{line}'):
      schedules.check_number('method.mixing', bad, 0.0, 1.0)


def test_check_takes_what_is_in_range():
  schedules.check('p', 0, 0, 1)
  schedules.check('p', dict(start=1, end=0.0, steps=1, shape='linear'), 0, 1)
  schedules.check('weight', 1e9)
  with pytest.raises(UserError, match='from 0'):
    schedules.check('weight', float('inf'))


@pytest.fixture
def config():
  config = configs.base('ramps')
  config.data.dataset = 'emoji'
  config.method.z_dim = 8
  rates = dict(lr=dict(start=2e-4, end=5e-5, steps=100), b2=dict(start=0.9, end=0.99, steps=100))
  config.optim = dict(G=configs.adam(b1=0.0, **rates), D=configs.adam(b1=0.0, **rates))
  config.ema = dict(half_life_images=dict(start=0, end=5_000_000, steps=39_062), rampup=0.0)
  return config


def test_configs_hold_ramps(config, tmp_path):
  """They are built, shown, saved, loaded and compared."""
  run = experiment.build(config)
  assert run.method.ema == ('G',)
  text = experiment.summary(run)
  assert 'optimizer D: learning rate 0.0002 to 5e-05 over 100 steps' in text
  assert 'averaged: G, half-life 0 to 5,000,000 images over 39,062 steps' in text
  (tmp_path / 'config.json').write_text(json.dumps({'config': run_record.to_json(config)}))
  saved = run_record.saved_config(tmp_path)
  assert configs.compare(config, saved.to_dict()) == []
  saved.optim.D.lr.end = 1e-5
  with pytest.raises(UserError, match=r'optim.D.lr.end \(was 1e-05, now 5e-05\)'):
    configs.compare(config, saved.to_dict())
  config.ema.half_life_images.start = -1
  with pytest.raises(UserError, match='config.ema.half_life_images'):
    experiment.build(config)


def test_optimizers_take_every_schedule(config):
  """Constant then linear to 0 in G, halvings in D: the steps of Adam's first updates follow them."""
  config.optim.G.lr = dict(start=2e-4, end=0.0, begin=10, steps=10, shape='linear')
  config.optim.D.lr = dict(start=2e-4, factor=0.5, at=(5, 15))
  run = experiment.build(config)
  text = experiment.summary(run)
  assert 'optimizer G: learning rate 0.0002 to 0.0 from step 10 to 20' in text
  assert 'optimizer D: learning rate 0.0002, times 0.5 at steps 5 and 15' in text
  params = {'w': jnp.ones(3)}

  def size(name, step):
    optimizer = run.optimizers[name]
    update, _ = optimizer.update({'w': jnp.ones(3)}, optimizer.init(params), params, step=step)
    return -float(update['w'][0])

  found = {name: [size(name, step) for step in (0, 5, 15, 20)] for name in 'GD'}
  np.testing.assert_allclose(found['G'], [2e-4, 2e-4, 1e-4, 0], rtol=1e-4)
  np.testing.assert_allclose(found['D'], [2e-4, 1e-4, 5e-5, 5e-5], rtol=1e-4)
  saved = run_record.to_json(config)
  assert configs.compare(config, saved) == []
  config.optim.G.lr = dict(start=0.0, end=0.0, steps=10)
  with pytest.raises(UserError, match='lr > 0'):
    experiment.build(config)


def test_a_number_takes_the_place_of_a_ramp_in_another_run(config):
  saved = config.to_dict()
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9)
  with pytest.raises(UserError, match=r'optim.G.lr \(was None, now 0.0002\)'):
    configs.compare(config, saved)
