"""DiffAugment: each transformation in its closed form, the spread of its draws, derivatives, and devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.views import diffaugment
from ganjax.views.diffaugment import POLICIES

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(-1, 1, (6, 16, 8, 3)), jnp.float32)
ALL = 'color,translation,cutout'
augment = jax.jit(diffaugment.diffaugment, static_argnames='policy')


def draw(images, policy, seed=0):
  return np.asarray(augment(jnp.asarray(images, jnp.float32), jax.random.key(seed), policy))


def assert_uniform(draws, low, high):
  """Mean, deviation and ends of U(low, high), which the ends nearly reach: 4000 draws."""
  assert low <= draws.min() < low + 0.01 * (high - low)
  assert high - 0.01 * (high - low) < draws.max() <= high
  np.testing.assert_allclose(draws.mean(), (low + high) / 2, atol=0.02 * (high - low))
  np.testing.assert_allclose(draws.std(), (high - low) / 12**0.5, rtol=0.05)


@pytest.mark.parametrize('policy', ['', 'colour', 'color,', 'color, cutout', 'cutout,cutout'])
def test_unknown_policies_are_refused(policy):
  with pytest.raises(UserError, match='color, translation, cutout'):
    diffaugment.check(policy)
  with pytest.raises(UserError):
    diffaugment.diffaugment(IMAGES, KEY, policy)


def test_the_three_factors_of_color():
  """From what comes out of three known pixels: brightness, saturation and contrast, in that order."""
  image = np.zeros((1, 2, 1, 3))
  image[0, 0, 0] = [0.5, 0.1, -0.6]  # mean 0, so the image's mean is 0.15
  image[0, 1, 0] = [0.3, 0.3, 0.3]  # grey: only brightness and contrast move it
  found = draw(np.repeat(image, 4000, 0), 'color')
  means = found.mean(3)[..., 0]  # of each pixel: saturation keeps them
  contrast = (means[:, 1] - means[:, 0]) / 0.3
  brightness = found.mean((1, 2, 3)) - 0.15  # contrast keeps the image's mean
  saturation = (found[:, 0, 0, 0] - found[:, 0, 0, 2]) / 1.1 / contrast
  assert_uniform(brightness, -0.5, 0.5)
  assert_uniform(saturation, 0, 2)
  assert_uniform(contrast, 0.5, 1.5)
  assert np.abs(np.corrcoef([brightness, saturation, contrast]) - np.eye(3)).max() < 0.06
  # Brightness is the same for all three channels, and nothing is clipped.
  grey = means[:, 1] - means[:, 0]
  np.testing.assert_allclose(found[:, 1, 0], means[:, 1:] * np.ones(3), atol=1e-5)
  np.testing.assert_allclose(means[:, 0] + grey / 2, brightness + 0.15, atol=1e-5)
  assert found.max() > 1 and found.min() < -1


def test_one_channel_has_no_saturation():
  images = IMAGES[..., :1]
  found = draw(images, ALL, 2)
  assert found.shape == images.shape
  tinted = draw(images, 'color')
  x, y = (np.asarray(a).reshape(6, -1) for a in (images, tinted))
  contrast = y.std(1) / x.std(1)
  rest = y - contrast[:, None] * (x - x.mean(1, keepdims=True)) - x.mean(1, keepdims=True)
  np.testing.assert_allclose(rest, rest[:, :1] * np.ones(128), atol=1e-5)
  assert len(set(contrast.round(4))) == 6 and contrast.min() > 0.5 and contrast.max() < 1.5


def test_translation_moves_pixels_and_fills_with_zeros():
  """Each of the 5 x 3 shifts of 16 x 8 pixels, in equal shares, each an exact copy."""
  image = np.asarray(IMAGES[0]) + 2
  found = draw(np.repeat(image[None], 3000, 0), 'translation')
  counts = np.zeros((5, 3), int)
  for dy in range(-2, 3):
    for dx in range(-1, 2):
      moved = np.pad(image, ((2, 2), (1, 1), (0, 0)))[2 - dy : 18 - dy, 1 - dx : 9 - dx]
      counts[dy + 2, dx + 1] = (found == moved).all((1, 2, 3)).sum()
  assert counts.sum() == 3000
  assert counts.min() > 140 and counts.max() < 260


def test_cutout_takes_the_share_that_is_asked_for():
  """Projected GAN's is 0.2 of each side, in whole pixels; colours and places are drawn as without."""
  cut = lambda images, policy: np.asarray(
    jax.jit(diffaugment.diffaugment, static_argnums=(2, 3))(images, jax.random.key(0), policy, 0.2)
  )
  found = cut(jnp.ones((300, 16, 10, 1)), 'cutout')[..., 0] == 0
  assert found.any(2).sum(1).max() == 3 and found.any(1).sum(1).max() == 2
  np.testing.assert_array_equal(cut(IMAGES, 'color,translation'), draw(IMAGES, 'color,translation'))


def test_cutout_blackens_half_of_each_side():
  found = draw(np.ones((3000, 16, 8, 2)), 'cutout') == 0
  assert (found[..., 0] == found[..., 1]).all()
  found = found[..., 0]
  rows, columns = found.any(2), found.any(1)
  # A rectangle: what is black is where a black row meets a black column.
  np.testing.assert_array_equal(found, rows[:, :, None] & columns[:, None])
  for hit, side in ((rows, 16), (columns, 8)):
    lengths, first = hit.sum(1), hit.argmax(1)
    last = first + lengths - 1
    assert (hit == (np.arange(side) >= first[:, None]) * (np.arange(side) <= last[:, None])).all()
    # Whole unless an edge of the image cuts it; a centre at either end leaves a quarter of the side.
    inner = (first > 0) & (last < side - 1)
    assert (lengths[inner] == side // 2).all() and inner.any()
    assert lengths.min() == side // 4 and lengths.max() == side // 2
    # side + 1 places of the centre, all alike: 1/4 of the side each way is cut.
    centres = np.where(first > 0, first + side // 4, last + 1 - side // 4)
    counts = np.bincount(centres, minlength=side + 1)
    assert len(counts) == side + 1
    np.testing.assert_allclose(counts, 3000 / (side + 1), rtol=0.4)


@pytest.mark.parametrize('policy', [*POLICIES, ALL])
def test_each_image_has_its_own_draws_from_the_key(policy):
  same = jnp.repeat(IMAGES[:1], 6, 0)
  a, b, other = (draw(same, policy, seed) for seed in (1, 1, 2))
  np.testing.assert_array_equal(a, b)
  assert (a != other).any()
  assert len({x.tobytes() for x in a}) > 2
  # The images do not mix: what becomes of one does not depend on the others.
  mixed = draw(jnp.concatenate([same[:3], IMAGES[3:]]), policy, 1)
  np.testing.assert_allclose(mixed[:3], a[:3], atol=1e-6)


def test_transformations_come_in_order_with_draws_of_their_own():
  step, halves = IMAGES, functools.partial(diffaugment._cutout, share=0.5)
  for name, change in zip(POLICIES, (diffaugment._color, diffaugment.translate, halves)):
    step = change(step, jax.random.fold_in(KEY, POLICIES.index(name)))
  np.testing.assert_allclose(draw(IMAGES, ALL), step, atol=1e-6)
  np.testing.assert_array_equal(draw(IMAGES, ALL), draw(IMAGES, 'cutout,color,translation'))
  holes = draw(np.ones((6, 16, 8, 3)), 'cutout') == 0
  assert (draw(IMAGES, ALL)[holes] == 0).all()


def test_derivatives_against_finite_differences():
  """First order of a smooth D, and second order: the derivative of |gradient|^2, as a penalty has it."""
  with jax.enable_x64(True):
    images = jnp.asarray(IMAGES[:2], jnp.float64)
    weights = jnp.asarray(RNG.normal(size=(16, 8, 3)), jnp.float64)
    seen = lambda x: diffaugment.diffaugment(x, KEY, ALL)
    value = jax.jit(lambda x, w: jnp.sum(jnp.tanh(jnp.sum(seen(x) * w, (1, 2, 3)) / 4)))
    squares = jax.jit(lambda x, w: jnp.sum(jax.grad(value)(x, w) ** 2))
    for function in (value, squares):
      for slot, direction in enumerate(
        (RNG.normal(size=images.shape), RNG.normal(size=(16, 8, 3)))
      ):
        args = [images, weights]
        slope = np.sum(jax.grad(function, slot)(*args) * direction)
        ends = []
        for h in (1e-5, -1e-5):
          moved = args.copy()
          moved[slot] = args[slot] + h * direction
          ends.append(function(*moved))
        assert abs(slope) > 1e-4
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_devices_do_not_matter():
  with jax.enable_x64(True):
    images = np.asarray(RNG.uniform(-1, 1, (8, 16, 8, 3)))

    def both(x):
      loss = lambda x: jnp.sum(jnp.sin(diffaugment.diffaugment(x, KEY, ALL)))
      return diffaugment.diffaugment(x, KEY, ALL), jax.grad(loss)(x)

    found = {}
    for count in (1, 4):
      mesh = sharding.make_mesh(jax.devices()[:count])
      with jax.set_mesh(mesh):
        compiled = jax.jit(both).lower(sharding.place_batch(images, mesh)).compile()
        found[count] = compiled(sharding.place_batch(images, mesh))
    for one, four in zip(found[1], found[4]):
      assert four.sharding.num_devices == 4 and not four.is_fully_replicated
      np.testing.assert_allclose(one, four, rtol=1e-12, atol=1e-12)
    # Each device sees to its own images: none are sent.
    assert 'all-gather' not in compiled.as_text()
