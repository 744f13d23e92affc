"""ADA: each transformation against NumPy and SciPy, the spread of its draws, derivatives, devices; how p moves."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.method import TrainState
from ganjax.views import ada, view

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(-1, 1, (6, 12, 8, 3)), jnp.float32)
MANY = 4000
augment = jax.jit(ada.augment, static_argnames='pipe')


def draws(part):
  """Coins and values of a part for MANY images, as `augment` draws them."""
  coins, values = RNG.uniform(size=(2, ada.PARTS[part], MANY))
  return jnp.asarray(coins), jnp.asarray(2 * values - 1)


def assert_normal(x, deviation):
  np.testing.assert_allclose(x.mean(), 0, atol=0.06 * deviation)
  np.testing.assert_allclose(x.std(), deviation, rtol=0.04)
  np.testing.assert_allclose(np.mean(np.abs(x) < deviation), 0.683, atol=0.03)


def assert_uniform(x, low, high):
  assert low <= x.min() < low + 0.01 * (high - low)
  assert high - 0.01 * (high - low) < x.max() <= high
  np.testing.assert_allclose(x.mean(), (low + high) / 2, atol=0.02 * (high - low))
  np.testing.assert_allclose(x.std(), (high - low) / 12**0.5, rtol=0.04)


def assert_independent(*draws):
  assert np.abs(np.corrcoef(draws) - np.eye(len(draws))).max() < 0.08


# The pipeline.


def test_pipes_have_the_published_names():
  assert ada.PIPES['bgc'] == ('blit', 'geom', 'color')
  assert ada.PIPES['bgcfnc'] == ('blit', 'geom', 'color', 'filter', 'noise', 'cutout')
  assert set(ada.PIPES) == {*ada.PARTS, 'bg', 'bgc', 'bgcf', 'bgcfn', 'bgcfnc'}
  with pytest.raises(UserError, match='bgcfnc'):
    ada.augment(IMAGES, KEY, 0.5, 'cbg')
  with pytest.raises(UserError, match='not 2'):
    ada.augment(IMAGES[..., :2], KEY, 0.5)


@pytest.mark.parametrize('channels', [1, 3])
def test_nothing_happens_with_probability_0(channels):
  images = IMAGES[..., :channels]
  np.testing.assert_array_equal(augment(images, KEY, 0.0, 'bgcfnc'), images)
  assert (np.asarray(augment(images, KEY, 1.0, 'bgcfnc')) != images).any((1, 2, 3)).all()


# What leaves an image as it is: no coin, or one for what may be nothing (half of the mirrors, a quarter of the turns, a
# shift of less than half a pixel in 12 x 8, where both shifts are 0 with probability 1/3 * 1/2).
@pytest.mark.parametrize(
  'pipe, idle',
  [
    ('blit', lambda q: (1 - q / 2) * (1 - 3 * q / 4) * (1 - q * 5 / 6)),
    ('geom', lambda q: (1 - q) ** 4),
    ('color', lambda q: (1 - q) ** 4 * (1 - q / 2)),
    ('filter', lambda q: (1 - q) ** 4),
    ('noise', lambda q: 1 - q),
    ('cutout', lambda q: 1 - q),
  ],
)
def test_the_share_of_changed_images_follows_p(pipe, idle):
  images = jnp.broadcast_to(IMAGES[:1], (2000, 12, 8, 3))
  for p in (0.25, 0.5):
    found = np.abs(np.asarray(augment(images, KEY, p, pipe)) - images).max((1, 2, 3)) < 1e-5
    np.testing.assert_allclose(found.mean(), idle(p), atol=0.035)


def test_each_image_has_its_own_draws_from_the_key():
  same = jnp.repeat(IMAGES[:1], 6, 0)
  a, b = (np.asarray(augment(same, KEY, 1.0, 'bgcfnc')) for _ in range(2))
  np.testing.assert_array_equal(a, b)
  assert len({x.tobytes() for x in a}) == 6
  assert (a != augment(same, jax.random.key(1), 1.0, 'bgcfnc')).any()
  # The images do not mix, and a part draws the same in every pipe.
  mixed = augment(jnp.concatenate([same[:3], IMAGES[3:]]), KEY, 1.0, 'bgcfnc')
  np.testing.assert_allclose(mixed[:3], a[:3], atol=1e-6)
  parts = same
  for pipe in ('bg', 'color', 'filter', 'noise', 'cutout'):
    parts = augment(parts, KEY, 1.0, pipe)
  np.testing.assert_allclose(parts, a, atol=1e-5)
  moved = ada._resample(same, np.linalg.inv(np.eye(3))[None].repeat(6, 0))
  np.testing.assert_allclose(moved, same, atol=1e-6)


# Places.


def test_the_filters_are_those_of_the_wavelets():
  """Orthogonal to their shifts by 2, and as many vanishing moments as their name says: that is their definition."""
  for taps, moments in ((ada.SYM6, 6), (ada.SYM2, 2)):
    n = len(taps)
    shifted = [np.dot(taps[2 * s :], taps[: n - 2 * s]) for s in range(n // 2)]
    np.testing.assert_allclose(shifted, np.eye(n // 2)[0], atol=1e-11)
    powers = [np.sum((-1) ** np.arange(n) * taps * (np.arange(n) / n) ** m) for m in range(moments)]
    np.testing.assert_allclose(powers, 0, atol=1e-11)
    np.testing.assert_allclose(taps.sum(), 2**0.5)
  # Up and down again is the identity, at the edges too.
  up, down = ada._upsampler(9), ada._downsampler(9)
  np.testing.assert_allclose(down @ up[np.arange(-5, 23) % 32], np.eye(9), atol=1e-11)


def read_slowly(image, place):
  """`_resample` of one image by convolutions of an image padded by reflection, and SciPy's bilinear reading."""
  h, w, _ = image.shape
  pad = 8 * max(h, w)
  out = []
  along = lambda function, x: np.apply_along_axis(function, 0, np.apply_along_axis(function, 1, x))
  for plane in np.moveaxis(np.pad(image, ((pad, pad), (pad, pad), (0, 0)), 'reflect'), 2, 0):
    sparse = np.zeros((2 * plane.shape[0], 2 * plane.shape[1]))
    sparse[::2, ::2] = plane
    fine = along(lambda v: np.convolve(v, 2**0.5 * ada.SYM6)[5 : 5 + len(v)], sparse)
    y, x = np.mgrid[-5 : 2 * h + 5, -5 : 2 * w + 5] - np.array([h - 1, w - 1])[:, None, None]
    x, y = np.einsum('ij,jyx->iyx', place[:2], np.stack([x, y, np.full(x.shape, 2)]))
    fine = ndimage.map_coordinates(fine, [y + h - 1 + 2 * pad, x + w - 1 + 2 * pad], order=1)
    out.append(along(lambda v: np.correlate(v, ada.SYM6 / 2**0.5, 'valid')[::2], fine))
  return np.stack(out, 2)


def place(scale=(1, 1), angle=0.0, shift=(0, 0)):
  cos, sin = np.cos(angle), np.sin(angle)
  matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([*scale, 1])
  matrix[:2, 2] = shift
  return matrix


PLACES = [
  place((-1, 1)),
  place(angle=np.pi / 2),
  place(shift=(3, -2)),
  place((0.7, 1.4), 0.5, (0.3, -1.7)),
  place((2.5, 1.9), 2.0, (30.2, -25)),  # far beyond the image and its first reflection
]


@pytest.mark.parametrize('matrix', PLACES)
def test_places_are_read_as_convolutions_and_scipy_do(matrix):
  with jax.enable_x64(True):
    image = RNG.normal(size=(9, 7, 2))
    found = ada._resample(jnp.asarray(image)[None], jnp.asarray(matrix)[None])[0]
    np.testing.assert_allclose(found, read_slowly(image, matrix), atol=1e-10)


@pytest.mark.parametrize('matrix', PLACES[:4])
def test_smooth_images_move_as_in_scipy(matrix):
  y, x = np.mgrid[:24, :32] / 24
  image = np.stack([np.cos(3 * x + 1) * np.sin(2 * y), np.cos(2 * y + x)], 2)
  found = ada._resample(jnp.asarray(image, jnp.float32)[None], jnp.asarray(matrix)[None])[0]
  centre = np.array([11.5, 15.5])
  turn, shift = matrix[1::-1, 1::-1], matrix[1::-1, 2]
  offset = centre + shift - turn @ centre
  for c in range(2):
    plain = ndimage.affine_transform(image[..., c], turn, offset, order=3, mode='mirror')
    np.testing.assert_allclose(found[..., c], plain, atol=0.04)


def test_whole_shifts_are_exact_copies():
  moved = ada._resample(IMAGES, jnp.asarray(place(shift=(3, -2)))[None].repeat(6, 0))
  padded = np.pad(IMAGES, ((0, 0), (2, 0), (0, 3), (0, 0)), 'reflect')
  np.testing.assert_allclose(moved, padded[:, :12, 3:], atol=1e-6)


def test_draws_of_blit():
  sides = np.array([[16], [64]])
  matrix = np.asarray(ada._blit(*draws('blit'), 1.0, sides))
  turns = np.round(matrix[:, :2, :2]).astype(int)
  np.testing.assert_array_equal(turns, matrix[:, :2, :2])
  kinds, counts = np.unique(turns.reshape(-1, 4), axis=0, return_counts=True)
  # Eight orientations, all alike.
  assert len(kinds) == 8
  np.testing.assert_allclose(counts, MANY / 8, rtol=0.2)
  np.testing.assert_allclose(np.abs(np.linalg.det(turns)), 1)
  shifts = -np.einsum('bji,bj->bi', turns, matrix[:, :2, 2])
  np.testing.assert_array_equal(shifts, np.round(shifts))
  assert set(shifts[:, 0]) == {-2, -1, 0, 1, 2} and set(shifts[:, 1]) == set(range(-8, 9))
  # Rounded, so that the outermost have half the chance.
  np.testing.assert_allclose(np.mean(np.abs(shifts[:, 0]) == 2), 1 / 4, atol=0.03)
  assert_independent(*shifts.T, turns[:, 0, 0], turns[:, 0, 1], np.linalg.det(turns))


def test_draws_of_geom():
  sides = np.array([[16], [64]])
  matrix = np.asarray(ada._geom(*draws('geom'), 1.0, sides))
  a = matrix[:, :2, :2]
  assert_normal(-np.log2(np.linalg.det(a)) / 2, 0.2)  # places shrink where images grow
  large, small = np.linalg.svd(a)[1].T
  stretch = np.log2(large / small) / 2
  np.testing.assert_allclose(stretch.mean(), 0.2 * (2 / np.pi) ** 0.5, rtol=0.04)
  np.testing.assert_allclose((stretch**2).mean() ** 0.5, 0.2, rtol=0.04)
  # Of a = R(first) S R(second): the sum of the angles, and of the axes of S their difference.
  both = np.angle(a[:, 0, 0] + a[:, 1, 1] + 1j * (a[:, 1, 0] - a[:, 0, 1]))
  difference = np.angle(a[:, 0, 0] - a[:, 1, 1] + 1j * (a[:, 1, 0] + a[:, 0, 1]))
  assert_uniform(both, -np.pi, np.pi)
  assert_uniform(difference, -np.pi, np.pi)
  shifts = -np.linalg.solve(a, matrix[:, :2, 2:])[..., 0]
  assert_normal(shifts[:, 0], 2)
  assert_normal(shifts[:, 1], 8)
  assert_independent(np.log(large * small), stretch, both, difference, *shifts.T)


# Colours.


def test_colors_are_one_affine_map_of_known_draws():
  """Black, red, green and blue show each image's map; what it does to the grey axis and across it, the draws."""
  image = np.concatenate([np.zeros((1, 3)), np.eye(3)])[None, :, None]
  found = np.asarray(
    augment(jnp.asarray(np.repeat(image, MANY, 0), jnp.float32), KEY, 1.0, 'color')
  )
  offset = found[:, 0, 0]
  matrix = np.swapaxes(found[:, 1:, 0] - offset[:, None], 1, 2)
  grey = matrix.sum(2)  # times (1, 1, 1)
  np.testing.assert_allclose(grey, grey[:, :1] * np.ones(3), rtol=1e-3, atol=1e-4)
  grey = grey[:, 0]
  assert_normal(np.log2(np.abs(grey)), 0.5)
  np.testing.assert_allclose(np.mean(grey < 0), 0.5, atol=0.03)
  assert_normal(offset.mean(1) / grey, 0.2)
  # Across: two directions at right angles, in which hue and saturation are a complex factor.
  u, v = np.array([1, -1, 0]) / 2**0.5, np.array([1, 1, -2]) / 6**0.5
  factor = np.einsum('bij,i,j->b', matrix, u, u) + 1j * np.einsum('bij,i,j->b', matrix, v, u)
  expected = (
    grey[:, None, None] / 3
    + factor.real[:, None, None] * (np.outer(u, u) + np.outer(v, v))
    + factor.imag[:, None, None] * (np.outer(v, u) - np.outer(u, v))
  )
  np.testing.assert_allclose(matrix, expected, atol=1e-3 * np.abs(factor).max())
  assert_uniform(np.angle(factor), -np.pi, np.pi)
  saturation = np.log2(np.abs(factor) / np.abs(grey))
  assert_normal(saturation, 1.0)
  light, contrast = offset.mean(1) / grey, np.log2(np.abs(grey))
  assert_independent(light, contrast, grey < 0, np.angle(factor), saturation)


def test_one_channel_is_colored_as_a_grey_picture():
  grey = jnp.broadcast_to(IMAGES[..., :1], IMAGES.shape)
  one, three = (augment(x, KEY, 1.0, 'color') for x in (IMAGES[..., :1], grey))
  np.testing.assert_allclose(one, three[..., :1], atol=2e-5)
  np.testing.assert_allclose(one, three.mean(3, keepdims=True), atol=2e-5)


# Filter, noise, cutout.


def test_bands_part_the_octaves():
  bands = ada._bands(64)
  np.testing.assert_allclose(bands.sum(0), np.eye(64), atol=1e-12)
  # Constant images are all in the lowest band, alternating ones all in the highest.
  np.testing.assert_allclose(bands.sum(2), np.eye(4)[0][:, None] * np.ones(64), atol=1e-12)
  np.testing.assert_allclose((bands * (-1) ** np.arange(64)).sum(2)[:, 0], np.eye(4)[3], atol=1e-12)
  # Each octave has the larger part of its own band.
  for band, cycles in enumerate((1 / 32, 3 / 32, 3 / 16, 3 / 8)):
    wave = np.cos(2 * np.pi * cycles * np.arange(64))
    kept = np.abs(bands[:, 24:40] @ wave).max(1)
    assert kept.argmax() == band and kept[band] > 0.7
  # Shorter images are reflected more than once.
  np.testing.assert_allclose(ada._bands(4).sum((0, 2)), 1, atol=1e-12)


def test_gains_of_the_filter():
  """A constant image shows the square of the lowest gain, alternating pixels that of the highest."""
  tiles = (-1.0) ** np.add.outer(np.arange(64), np.arange(64))
  image = np.stack([np.ones((64, 64)), tiles, np.zeros((64, 64))], 2)
  images = jnp.broadcast_to(jnp.asarray(image, jnp.float32), (1000, 64, 64, 3))
  found = np.asarray(augment(images, KEY, 1.0, 'filter'))
  draws = 2 ** np.random.default_rng(1).normal(size=(200_000, 4))
  gains = np.ones((200_000, 4))
  for band, power in enumerate(np.array([10, 1, 1, 1]) / 13):
    amplified = np.ones((200_000, 4))
    amplified[:, band] = draws[:, band]
    gains *= amplified / np.sqrt(1 - power + power * draws[:, band : band + 1] ** 2)
  for channel, band in ((0, 0), (1, 3)):
    measured = np.log2(np.abs(found[:, 0, 0, channel])) / 2
    expected = np.log2(gains[:, band])
    np.testing.assert_allclose(
      np.quantile(measured, [0.1, 0.3, 0.5, 0.7, 0.9]),
      np.quantile(expected, [0.1, 0.3, 0.5, 0.7, 0.9]),
      atol=0.12,
    )
    np.testing.assert_allclose(
      found[..., channel], found[:, :1, :1, channel] * image[..., channel], atol=1e-3
    )


def test_noise_has_a_half_normal_deviation():
  images = jnp.zeros((1000, 16, 16, 3))
  noise = np.asarray(augment(images, KEY, 1.0, 'noise'))
  deviation = noise.std((1, 2, 3))
  np.testing.assert_allclose(deviation.mean(), 0.1 * (2 / np.pi) ** 0.5, rtol=0.07)
  np.testing.assert_allclose((deviation**2).mean() ** 0.5, 0.1, rtol=0.07)
  scaled = (noise / deviation[:, None, None, None]).reshape(1000, -1)
  np.testing.assert_allclose(scaled.mean(), 0, atol=0.01)
  np.testing.assert_allclose(np.mean(np.abs(scaled) < 1), 0.683, atol=0.01)
  assert np.abs(np.corrcoef(scaled[:20]) - np.eye(20)).max() < 0.2


def test_cutout_blackens_half_of_each_side():
  found = np.asarray(augment(jnp.ones((2000, 16, 8, 2 + 1)), KEY, 1.0, 'cutout')) == 0
  assert (found == found[..., :1]).all()
  rows, columns = found[..., 0].any(2), found[..., 0].any(1)
  np.testing.assert_array_equal(found[..., 0], rows[:, :, None] & columns[:, None])
  for hit, side in ((rows, 16), (columns, 8)):
    lengths, first = hit.sum(1), hit.argmax(1)
    last = first + lengths - 1
    assert (hit == (np.arange(side) >= first[:, None]) * (np.arange(side) <= last[:, None])).all()
    inner = (first > 0) & (last < side - 1)
    assert (lengths[inner] == side // 2).all()
    assert lengths.min() == side // 4 and lengths.max() == side // 2
    # Each end of the image cuts a quarter of the rectangles, uniform in where.
    np.testing.assert_allclose(np.mean(first == 0), 1 / 4, atol=0.09)
    np.testing.assert_allclose(np.mean(last == side - 1), 1 / 4, atol=0.09)
  assert_independent(rows @ np.arange(16) / rows.sum(1), columns @ np.arange(8) / columns.sum(1))


# Derivatives and devices.


@pytest.mark.slow
def test_derivatives_against_finite_differences():
  """First order of a smooth D, and second order: the derivative of |gradient|^2, as a penalty has it."""
  with jax.enable_x64(True):
    images = jnp.asarray(IMAGES[:2, :6], jnp.float64)
    weights = jnp.asarray(RNG.normal(size=images.shape[1:]), jnp.float64)
    seen = lambda x: ada.augment(x, jax.random.key(2), 0.9, 'bgcfnc')
    value = lambda x, w: jnp.sum(jnp.tanh(jnp.sum(seen(x) * w, (1, 2, 3)) / 4))
    squares = lambda x, w: jnp.sum(jax.grad(value)(x, w) ** 2)
    for function in (value, squares):
      function = jax.jit(jax.value_and_grad(function, (0, 1)))
      _, slopes = function(images, weights)
      steps = [RNG.normal(size=x.shape) for x in (images, weights)]
      ends = [function(images + h * steps[0], weights + h * steps[1])[0] for h in (1e-5, -1e-5)]
      slope = sum(np.sum(a * b) for a, b in zip(slopes, steps))
      assert all(np.abs(s).max() > 1e-3 for s in slopes)
      np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_reading_by_products_is_reading_by_index():
  """The form for TPUs, with its gradient and the gradient of that, on corners all over the canvas."""
  rng = np.random.default_rng(0)
  canvas, change = rng.normal(size=(2, 2, 13, 9, 3))
  corners = rng.integers(0, [12, 8], (2, 40, 2))
  rest = rng.uniform(size=(2, 40, 2))

  def both(read):
    loss = lambda canvas: jnp.sum(jnp.sin(read(canvas, corners, rest)))
    slope = jax.grad(loss)
    return (
      read(canvas, corners, rest),
      slope(canvas),
      jax.grad(lambda c: jnp.sum(slope(c) * change))(canvas),
    )

  with jax.enable_x64(True):
    found, expected = jax.jit(lambda: (both(ada._read_by_product), both(ada._read_by_index)))()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, expected)


@pytest.mark.parametrize('own, parts', [(98, 1), (16, 1), (15, 2), (3, 8)])
def test_large_products_go_in_parts(monkeypatch, own, parts):
  """With all gradients, and as many as a device's memory is to hold weights of."""
  rng = np.random.default_rng(0)
  canvas, rest = rng.normal(size=(16, 13, 9, 3)), rng.uniform(size=(16, 40, 2))
  corners = rng.integers(0, [12, 8], (16, 40, 2))
  monkeypatch.setattr(ada, '_WEIGHT_BYTES', own * 40 * (13 + 9) * 8)
  loss = lambda read: lambda canvas: jnp.sum(jnp.sin(read(canvas, corners, rest)))
  with jax.enable_x64(True):
    slopes = jax.jit(jax.grad(loss(ada._read_by_product)))
    text = str(jax.make_jaxpr(loss(ada._read_by_product))(canvas))
    np.testing.assert_allclose(
      slopes(canvas), jax.jit(jax.grad(loss(ada._read_by_index)))(canvas), atol=1e-12
    )
  assert len(re.findall(r'= (?:checkpoint|remat2?)\[', text)) == (parts if parts > 1 else 0)


def test_nothing_is_scattered_on_tpus():
  """XLA makes a loop over all places of a scatter there: no gradient of the pipeline may hold one."""

  def lowered(platform):
    loss = lambda images: jnp.sum(ada.augment(images, jax.random.key(0), 0.5, 'bgcfnc') ** 2)
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)  # devices that are not there hold none
    with jax.sharding.use_abstract_mesh(sharding.abstract_mesh(1, platform)):
      traced = jax.jit(jax.grad(loss)).trace(images)
      return traced.lower(lowering_platforms=(platform.replace('gpu', 'cuda'),)).as_text()

  assert 'stablehlo.scatter' not in lowered('tpu') and 'stablehlo.scatter' in lowered('gpu')


@pytest.mark.slow
def test_devices_do_not_matter():
  with jax.enable_x64(True):
    images = RNG.uniform(-1, 1, (8, 6, 6, 3))

    def both(x, p):
      loss = lambda x: (jnp.sum(jnp.sin(y := ada.augment(x, KEY, p, 'bgcfnc'))), y)
      return jax.grad(loss, has_aux=True)(x)

    found = {}
    for count in (1, 4):
      mesh = sharding.make_mesh(jax.devices()[:count])
      with jax.set_mesh(mesh):
        batch = sharding.place_batch(images, mesh)
        compiled = jax.jit(both).lower(batch, 0.7).compile()
        found[count] = compiled(batch, 0.7)
    for one, four in zip(found[1], found[4]):
      assert four.sharding.num_devices == 4 and not four.is_fully_replicated
      np.testing.assert_allclose(one, four, rtol=1e-9, atol=1e-9)
    # Each device sees to its own images: none are sent.
    text = compiled.as_text()
    assert 'all-gather' not in text and 'all-to-all' not in text


# The strength.


def test_p_moves_as_a_loop_in_numpy_does():
  state, p, seen = ada.start(0.01), np.float32(0.01), []
  assert {k: float(v) for k, v in state.items()} == {'p': np.float32(0.01), 'signs': 0, 'count': 0}
  note, move = jax.jit(ada.note), jax.jit(lambda s, t: ada.move(s, t, images=400))
  for step in range(40):
    # D is sure at first, then not: p climbs to 1 and comes down to 0.
    mean = 2.0 if step < 20 else 0.2
    for logits in RNG.normal(mean, 1, (1 + step % 2, 25)):
      state = note(state, jnp.asarray(logits, jnp.float32).reshape(5, 5))
      seen.extend(np.sign(logits))
    state = move(state, jnp.int32(step))
    if step % 4 == 3:
      p = np.clip(p + np.sign(np.mean(seen) - 0.6) * len(seen) / 400, 0, 1)
      seen = []
    assert all(x.dtype == jnp.float32 for x in state.values())
    np.testing.assert_allclose(state['p'], p, atol=1e-5)
    np.testing.assert_allclose([state['signs'], state['count']], [np.sum(seen), len(seen)])
    assert step != 19 or p == 1
  assert p == 0


def test_p_stays_where_nothing_was_noted_and_at_the_target():
  state = ada.start(0.5)
  assert ada.move(state, 3)['p'] == 0.5
  state = ada.note(state, jnp.asarray([1.0, 1, 1, 1, -1]))
  state = ada.note(state, jnp.asarray([3.0, 2, 1, 0.5, -7]))
  assert ada.move(state, 3, target=0.6)['p'] == pytest.approx(0.5, abs=1e-6)
  assert ada.move(state, 3, target=0.5, images=100)['p'] == pytest.approx(0.6)
  assert ada.move(state, 5, target=0.5, images=100, interval=3)['p'] == pytest.approx(0.6)
  assert ada.move(state, 4, target=0.5, images=100) == state


def test_p_counts_images_where_D_judges_packs():
  """100 images take p from 0 to 1, whether D judges them one by one or by four."""
  for packing, packs in ((1, 20), (4, 5)):
    seen = view.build(packing, ada=dict(target=0.5, interval=1, images=100))
    state = TrainState(jnp.int32(0), (), {}, {}, {}, {}, seen.extra)
    state, metrics = seen.move(seen.note(state, jnp.ones(packs)))
    assert metrics['ada_p'] == state.extra['ada']['p'] == pytest.approx(0.2)
  with pytest.raises(UserError, match='method.ada does not take packing'):
    view.build(ada=dict(packing=2))


def test_notes_pass_no_gradient():
  slope = jax.grad(lambda x: ada.note(ada.start(), x)['signs'])(jnp.ones(4))
  np.testing.assert_array_equal(slope, 0)
