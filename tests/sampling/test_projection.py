"""The styles of a picture are found again."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import style_run

from ganjax import UserError
from ganjax.metrics import perceptual
from ganjax.sampling import projection, sampler, styles

PIXELS = perceptual.distance('pixels')


@pytest.fixture(scope='module')
def made():
  run, state = style_run.start(style_run.config(), noise=0.02)
  state = state.replace(key=(), opt={}, ema={})
  rows = sampler.rows(run.method, np.array([5]), noise='constant')
  picture = jax.jit(functools.partial(run.method.stages[0].sample, train=False))(state, rows)[0]
  return run, state, np.asarray(jnp.clip(picture[0] * 127.5 + 128, 0, 255).astype(jnp.uint8))


def project(made, **how):
  run, state, picture = made
  return projection.project(run.method, run.method.stages[0], state, picture, PIXELS, **how)


def test_a_picture_that_the_generator_made_is_found(made):
  lines = []
  found = project(made, steps=150, shown=10, say=lines.append)
  assert found.w.shape == (4, 6) and len(np.unique(found.w, axis=0)) == 1
  assert found.end < found.start / 10
  assert len(found.course) == 11 and len(lines) == 10
  assert lines[0].startswith('step 15/150  distance 0.') and lines[-1].endswith('  0s left')
  # What was found makes the last picture, through the door of `ganjax sample --styles`.
  run, state, picture = made
  rows = sampler.rows(run.method, np.zeros(1, int), noise='constant') | {'w': found.w[None]}
  sample = jax.jit(functools.partial(run.method.stages[0].sample, train=False))
  image = sample(state, styles.find(run.method, state, rows))[0]
  np.testing.assert_allclose(image[0], found.course[-1], atol=1e-4)
  target = picture / 127.5 - 1
  np.testing.assert_allclose(np.mean((image[0] - target) ** 2), found.end, rtol=1e-3)


def test_a_course_starts_at_their_mean(made):
  run, state, _ = made
  found = project(made, steps=1)
  mean = styles.draw(run.method, state).mean(0)
  # The first step has a rate of 0.
  np.testing.assert_allclose(found.w, np.broadcast_to(mean, (4, 6)), atol=1e-5)
  assert found.start == pytest.approx(found.end)


def test_noise_that_is_not_like_noise():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 16, 16)).astype(np.float32)
  small = x.reshape(1, 8, 2, 8, 2).mean((2, 4))
  products = lambda x: sum((x * np.roll(x, 1, axis)).mean() ** 2 for axis in (1, 2))
  assert projection._unlikeness(jnp.asarray(x)) == pytest.approx(
    products(x) + products(small), 1e-4
  )
  flat = jnp.ones((1, 8, 8))
  assert projection._unlikeness(flat) == pytest.approx(2)
  normal = projection._normalise(jnp.asarray(3 * x + 1))
  assert (float(normal.mean()), float((normal**2).mean())) == pytest.approx((0, 1), abs=1e-5)


def test_large_pictures_are_compared_reduced():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 512, 512, 1)))
  small = projection._comparable(x)
  assert small.shape == (1, 256, 256, 3)
  np.testing.assert_allclose(small[0, 3, 5], x[0, 6:8, 10:12].mean(), rtol=1e-4)
  assert projection._comparable(x[:, :40, :30]).shape == (1, 40, 30, 3)


def test_a_distance_of_maps_is_0_of_equal_pictures_and_grows(monkeypatch):
  """A network of one map, the pixels: they are made of unit length, after they are scaled as it wants."""
  maps = types.SimpleNamespace(apply=lambda variables, x: [x + variables])
  network = types.SimpleNamespace(
    FILE=None, SIZE=4, SCALE=(127.5, 1 / 127.5), TAPS=['all'], Network=lambda taps: maps,
    convert=lambda tensors: tensors,
  )  # fmt: skip
  monkeypatch.setattr(perceptual, '_network', lambda name: network)
  monkeypatch.setattr(perceptual.features, 'names', lambda: ['one'])
  monkeypatch.setattr(perceptual.weights, 'load', lambda file: (0.0, {'sha256': 'x'}))
  measure = perceptual.distance('one')
  rng = np.random.default_rng(0)
  a, b = rng.uniform(-1, 1, (2, 3, 4, 4, 3))
  unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
  wanted = ((unit(a) - unit(b)) ** 2).sum(-1).mean((1, 2))
  np.testing.assert_allclose(measure.apply(measure.variables, a, b), wanted, rtol=1e-3)
  np.testing.assert_array_equal(measure.apply(measure.variables, a, a), 0)
  assert measure.info == {'distance': 'one', 'weights_sha256': 'x'}


def test_a_distance_that_there_is_not():
  with pytest.raises(UserError, match=r'lpips_vgg is not known \(did you mean lpips_vgg16\?\)'):
    perceptual.distance('lpips_vgg')


def test_a_course_that_diverges_is_said(made):
  broken = PIXELS._replace(apply=lambda _, a, b: jnp.full(1, jnp.nan))
  run, state, picture = made
  with pytest.raises(UserError, match='left the finite numbers at step 1'):
    projection.project(run.method, run.method.stages[0], state, picture, broken, steps=2)
