"""SRGAN through the real update: low resolution, terms of both stages, what each phase trains, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from ganjax import UserError, experiment, media
from ganjax import config as configs
from ganjax.degradations import bicubic
from ganjax.layers.resample import resize_bicubic
from ganjax.method import Derived, apply
from ganjax.methods import srgan
from ganjax.networks import srresnet
from ganjax.update import active, derive

SIDE = 32


def build(loss='relativistic_average', perceptual=None, **networks):
  config = configs.base('test')
  config.update(steps=4, batch_size=2)
  config.data.update(dataset='emoji', split='rest', resolution=SIDE)
  config.networks = dict(name='srresnet', width=4, width_D=2, blocks=1, **networks)
  config.method = dict(name='srgan', pretrain=2, loss=loss, perceptual=perceptual or {})
  config.optim.pixels = configs.adam(lr=1e-3)
  config.ema.half_life_images = 10
  config.eval.split = 'test'
  return experiment.build(config)


@pytest.fixture(scope='module')
def run():
  """The run, a stored batch, and the state at the start."""
  made = build()
  batch = {'image': np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)}
  return made, batch, jax.jit(made.init)(made.key)


def step(made, state, batch, number):
  """(state, metrics) after the update of that number."""
  span = made.span_at(number)
  state = jax.tree.map(jnp.copy, state).replace(step=jnp.int32(number))
  return made.update(span)(state, (batch,), {}, phases=active(span.stage, number))


def seen(batch):
  """(large pictures, what G is given)."""
  image = np.asarray(batch['image'], np.float32) / 127.5 - 1
  low = np.clip(np.asarray(resize_bicubic(image, 1 / 4)), -1, 1)
  return image, np.round((low + 1) * 127.5) / 127.5 - 1


def call(made, name):
  """(state, input) -> what a network makes of it in training, jitted."""
  return jax.jit(lambda state, x: apply(made.method.nets[name], state, x, train=True)[0])


def moved(a, b):
  return any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_a_derived_field_draws_by_the_index_of_its_example(run):
  """Whatever it is read with."""
  draw = lambda batch, keys: jax.vmap(lambda key: jax.random.uniform(key, (8, 8, 3)))(keys)
  made = run[0]._replace(method=run[0].method._replace(derived={'low': Derived('image', draw)}))
  held = made.held_out(made.spans[0])
  some = held.read(np.array([5, 3, 9]), ('low',))['low']
  np.testing.assert_array_equal(held.read(np.array([3, 5]), ('low',))['low'], some[[1, 0]])
  assert all((some[i] != some[i - 1]).any() for i in range(3))


def test_stage_1_is_the_distance_of_pixels(run):
  made, batch, start = run
  after, metrics = step(made, start, batch, 0)
  image, low = seen(batch)
  fakes = call(made, 'G')(start, low)
  np.testing.assert_allclose(metrics['loss_pixels'], np.abs(fakes - image).mean() / 2, rtol=1e-4)
  assert moved(start.params['G'], after.params['G'])
  assert not moved(start.params['D'], after.params['D'])
  assert not moved((start.opt['G'], start.opt['D']), (after.opt['G'], after.opt['D']))


@pytest.mark.slow
def test_stage_2_has_the_terms_of_esrgan(run):
  """D's are of the fakes before G's update; its optimizers start afresh."""
  made, batch, before = run
  after, metrics = step(made, before, batch, 2)
  image, low = seen(batch)
  fakes = call(made, 'G')(before, low)
  real, fake = (np.asarray(call(made, 'D')(before, x)) for x in (image, fakes))
  log = lambda x: np.log1p(np.exp(x)).mean() / 2
  a, b = real - fake.mean(), fake - real.mean()
  wanted = {
    'loss_pixels': 0.01 * np.abs(fakes - image).mean() / 2,
    'loss_G': 0.005 * (log(a) + log(-b)),
    'loss_real': log(-a),
    'loss_fake': log(b),
  }
  for name, value in wanted.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
  assert moved(before.params['G'], after.params['G'])
  assert moved(before.params['D'], after.params['D'])
  counts = {name: int(after.opt[name][0].count) for name in 'GD'}
  assert counts == {'G': 1, 'D': 1} and not moved(before.opt['pixels'], after.opt['pixels'])


@pytest.mark.slow
def test_distances_are_from_the_target_of_the_degradation(run, monkeypatch):
  """D sees the pictures as they are."""
  of_bicubic = bicubic.build
  halved = lambda scale: of_bicubic(scale)._replace(target=lambda x: x / 2)
  monkeypatch.setattr(bicubic, 'build', halved)
  made, (_, batch, start) = build(), run
  _, metrics = step(made, start, batch, 2)
  image, low = seen(batch)
  fakes = call(made, 'G')(start, low)
  wanted = np.abs(fakes - image / 2).mean() / 2
  np.testing.assert_allclose(metrics['loss_pixels'], 0.01 * wanted, rtol=1e-4)
  _, alone = step(made, start, batch, 0)
  np.testing.assert_allclose(alone['loss_pixels'], wanted, rtol=1e-4)
  real, fake = (np.asarray(call(made, 'D')(start, x)) for x in (image, fakes))
  log = np.log1p(np.exp(fake.mean() - real)).mean() / 2
  np.testing.assert_allclose(metrics['loss_real'], log, rtol=1e-4)


def test_samples_start_from_small_pictures_of_held_out_emoji(run):
  """Of 8 bits, read by index, whatever comes beside them."""
  made = run[0]
  source = made.held_out(made.spans[-1])
  assert made.spans[0].fields['low'] == media.Field('image', (SIDE // 4, SIDE // 4, 3))
  few = source.read(np.array([5, 3]), ('low', 'image'))
  _, low = seen(few)
  np.testing.assert_array_equal(few['low'], np.round((low + 1) * 127.5))
  np.testing.assert_array_equal(source.read(np.array([3]))['low'][0], few['low'][1])
  image, low = seen(few)
  found = derive(made.method, {'image': image}, None)['low']
  np.testing.assert_allclose(found, low, atol=1e-6, err_msg='training has 8 bits too')
  pillow = PIL.Image.fromarray(few['image'][0]).resize((8, 8), PIL.Image.Resampling.BICUBIC)
  near = np.abs(few['low'][0].astype(int) - np.asarray(pillow))
  assert few['low'].dtype == np.uint8 and near[2:-2, 2:-2].max() <= 3
  assert made.method.trained_on == []
  assert build(perceptual={'block_2': 1.0}).method.trained_on == ['efficientnet_lite0']


@pytest.mark.parametrize('arguments, message', [
  (dict(loss='hinges'), r"loss='hinges' is not known \(did you mean hinge\?\)"),
  (dict(pretrain=0), 'pretrain=0 must be'),
  (dict(degradation='bicubics'), r"degradations.name='bicubics' is not known \(did you mean bicubic\?\)"),
  (dict(network='inceptions'), "network='inceptions' is not known"),
  (dict(perceptual={'block_3': 1.0}), "perceptual={'block_3': 1.0} must be weights.*block_2, block_4"),
  (dict(perceptual={'block_4': -1.0}), 'must be weights from 0'),
  (dict(side=34), 'scale=4 takes sides that are multiples of it: data.resolution is 34x34'),
  (dict(channels=4), '1 or 3 channels, not 4'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  given = dict(perceptual={}) | arguments
  side, channels = given.pop('side', SIDE), given.pop('channels', 3)
  nets = srresnet.build(resolution=SIDE, channels=channels, width=2)
  fields = {'image': media.Field('image', (side, side, channels))}
  with pytest.raises(UserError, match=message):
    srgan.build(nets, fields=fields, **given)
