"""The styles of a picture are found again."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.media import image
from ganjax.method import Method, Stage, Styles, TrainState
from ganjax.metrics import perceptual
from ganjax.sampling import latents, projection, styles

PIXELS = perceptual.distance('pixels')


LAYERS, WIDTH, SIDE = 2, 3, 8
RNG = np.random.default_rng(0)
PLANES = RNG.normal(size=(LAYERS, WIDTH, SIDE, SIDE, 3)).astype(np.float32) / 16


def rows(seeds, examples, noise='random'):
  return {'z': latents.per_seed(seeds, WIDTH), 'noise': jnp.full(len(seeds), noise == 'constant')}


def to_styles(state, rows, centre=None):
  w = rows.get('w', jnp.repeat(rows['z'][:, None] + 1, LAYERS, 1))
  return {'w': w, 'noise': rows['noise']}


def sample(state, rows, *, train):
  """Pictures are sums of planes, and of noise, which must be the constant one."""
  noise = jnp.where(rows['noise'][:, None, None], state.stats['G']['noise']['layer'], jnp.nan)
  return jnp.einsum('nlw,lwhvc->nhvc', rows['w'], PLANES) + 0.02 * noise[..., None], state


STAGE = Stage((), sample)
METHOD = Method({}, None, rows, (STAGE,), styles=Styles(to_styles, None, {'noise': 'constant'}))
STATS = {'G': {'noise': {'layer': RNG.normal(size=(1, SIDE, SIDE)).astype(np.float32)}}, 'D': {}}
STATE = TrainState(np.int32(0), (), {}, STATS, {}, {}, {})


def draw(w):
  return sample(STATE, {'w': jnp.asarray(w)[None], 'noise': jnp.ones(1, bool)}, train=False)[0][0]


def project(picture, measure=PIXELS, **how):
  return projection.project(METHOD, STAGE, STATE, picture, measure, **how)


@pytest.mark.parametrize('space', [pytest.param('w', marks=pytest.mark.slow), 'w+'])
def test_a_picture_that_the_generator_made_is_found(space):
  lines, w = [], np.array([[1.5, 0, 2], [1.5, 0, 2]], np.float32)
  if space == 'w+':
    w[1] = [0, 1.5, 1]
  picture = image.to_stored(draw(w))
  found = project(picture, space=space, steps=150, shown=10, say=lines.append)
  assert found.end < found.start / 100
  np.testing.assert_allclose(found.w, w, atol=0.1)
  assert len(found.course) == 11 and len(lines) == 10
  assert lines[0].startswith('step 15/150  distance 0.') and lines[-1].endswith('  0s left')
  # The last picture is what w alone makes, with the generator's own noise.
  np.testing.assert_allclose(found.course[-1], draw(found.w), atol=1e-5)
  np.testing.assert_allclose(
    np.mean((draw(found.w) - (picture / 127.5 - 1)) ** 2), found.end, rtol=1e-3
  )


def test_a_course_starts_at_the_mean_style_with_a_rate_of_0():
  found = project(np.zeros((SIDE, SIDE, 3), np.uint8), steps=1)
  mean = styles.draw(METHOD, STATE).mean(0)
  np.testing.assert_allclose(found.w, np.broadcast_to(mean, (LAYERS, WIDTH)), atol=1e-5)
  assert np.abs(mean - 1).max() < 0.05 and found.start == pytest.approx(found.end)


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
  monkeypatch.setattr(perceptual.features, 'module', lambda name: network)
  monkeypatch.setattr(perceptual.features, 'mapped', lambda: ['one'])
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


def test_a_course_that_diverges_is_said():
  broken = PIXELS._replace(apply=lambda _, a, b: jnp.full(1, jnp.nan))
  with pytest.raises(UserError, match='left the finite numbers at step 1'):
    project(np.zeros((SIDE, SIDE, 3), np.uint8), broken, steps=2)
