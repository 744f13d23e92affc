"""methods/fastgan.py: losses by their formulas, what each phase keeps, reconstructions, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import fastgan_emoji
from ganjax import UserError, experiment
from ganjax.media import augment
from ganjax.methods import fastgan
from ganjax.metrics import lpips
from ganjax.update import active

RNG = np.random.default_rng(0)


def tiny(**fields):
  config = fastgan_emoji.get_config()
  config.update(batch_size=4, steps=10)
  config.data.update(resolution=32, flip=False)
  config.networks.update(width=1, width_D=1)
  config.method.z_dim = 4
  config.update_from_flattened_dict(fields)
  return experiment.build(config)


def batch(side=32):
  image = RNG.integers(0, 256, (4, side, side, 3), np.uint8)
  return {'image': image, 'label': np.zeros(4, np.int32)}


def differs(a, b):
  return any(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.slow
def test_losses_and_what_each_phase_keeps(monkeypatch):
  run = tiny(**{'method.diffaugment': ''})
  state = jax.jit(run.init)(jax.random.key(0))
  data, real_apply = batch(), fastgan.apply
  prepared = augment.prepare(data, jax.random.key(0), flip=False)

  @functools.partial(jax.jit, static_argnums=0)
  def call(number, state, prepared):
    seen = []

    def spy(net, state, *args, **how):
      out = real_apply(net, state, *args, **how)
      seen.append((args, out[0]))
      return out

    monkeypatch.setattr(fastgan, 'apply', spy)
    phase = run.spans[0].stage.phases[number]
    return *phase.loss(state, prepared, jax.random.key(1)), seen

  loss, aux, seen = call(0, state, prepared)
  (_, fakes), (args, (real, *decoded)), ((shown,), fake) = seen
  image, small = args[0]
  np.testing.assert_array_equal(image, prepared['image'])
  np.testing.assert_array_equal(small, prepared['image'][:, ::2, ::2])
  jax.tree.map(np.testing.assert_array_equal, list(fakes), shown)
  part = int(args[1])
  at = slice(16 * (part // 2), 16 * (part // 2) + 16), slice(16 * (part % 2), 16 * (part % 2) + 16)
  quarter = np.repeat(np.repeat(image[:, at[0], at[1]], 2, 1), 2, 2)
  wanted = 8 * sum(
    np.abs(x - y).mean() for x, y in zip(decoded, (image, image, quarter), strict=True)
  )
  np.testing.assert_allclose(aux.metrics['loss_reconstruction'], wanted, rtol=1e-5)
  # Margins are drawn in [0.8, 1], each logit its own.
  for name, logits in ('loss_real', -real), ('loss_fake', fake):
    low, high = (np.maximum(m + logits, 0).mean() for m in (0.8, 1.0))
    assert low < aux.metrics[name] < high
  assert loss == pytest.approx(
    sum(aux.metrics[f'loss_{n}'] for n in ('real', 'fake', 'reconstruction'))
  )
  assert differs(aux.state.stats['D'], state.stats['D'])
  assert not differs(aux.state.stats['G'], state.stats['G'])
  loss, aux, seen = call(1, state, prepared)
  np.testing.assert_allclose(loss, -np.mean(seen[-1][1]), rtol=1e-5)
  assert differs(aux.state.stats['G'], state.stats['G'])
  assert not differs(aux.state.stats['D'], state.stats['D'])


@pytest.mark.slow
def test_reconstruction_trains_the_decoders_and_may_be_left_out():
  run, plain = tiny(), tiny(**{'method.reconstruction': 0})
  state = jax.jit(run.init)(jax.random.key(0))
  copy = lambda state: jax.tree.map(jnp.copy, state)
  for one, moved in (run, True), (plain, False):
    phases = active(one.spans[0].stage, 0)
    new, metrics = one.update(one.spans[0])(copy(state), (batch(),), {}, phases=phases)
    assert ('loss_reconstruction' in metrics) == moved
    assert differs(new.params['D']['Decoder_0'], state.params['D']['Decoder_0']) == moved


def test_lpips_is_a_network_that_the_run_was_trained_on():
  run = tiny(**{'method.distance': 'lpips'})
  assert run.method.trained_on == ['lpips_vgg16'] and tiny().method.trained_on == []
  shapes = run.method.frozen['P'].variables['params']
  tensors = {}
  for layer, w in zip(lpips.NETS['vgg16'].layers, shapes['kernels']):
    tensors[f'features.{layer.index}.weight'] = np.zeros([w.shape[i] for i in (3, 2, 0, 1)], 'f4')
    tensors[f'features.{layer.index}.bias'] = np.zeros(w.shape[3], 'f4')
  lin = {
    f'lin{i}.model.1.weight': np.zeros((1, *w.shape, 1, 1), 'f4')
    for i, w in enumerate(shapes['lin'])
  }
  found = lpips.convert(tensors, lin, 'vgg16')
  assert jax.tree.map(np.shape, found) == jax.tree.map(lambda x: x.shape, shapes)


@pytest.mark.parametrize(
  'field, value, line',
  [
    ('method.distance', 'l2', 'did you mean l1|there are lpips, l1'),
    ('method.reconstruction', -1.0, 'method.reconstruction=-1.0'),
    ('method.z_dim', 0, 'method.z_dim=0'),
    ('data.resolution', 16, 'of 32, 64, ..., 1024 pixels a side'),
    ('networks.width_D', 0, 'networks.width_D=0'),
  ],
)
def test_build_refuses_in_one_line(field, value, line):
  with pytest.raises(UserError, match=line) as error:
    tiny(**{field: value})
  assert '\n' not in str(error.value)
