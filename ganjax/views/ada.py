"""Adaptive discriminator augmentation (ADA, arXiv:2006.06676): the pipeline, and how its strength p is moved.

Every transformation is drawn for each image by itself and happens with probability p (appendix B, algorithm 1). What
differs from the published pipeline is said where it does: an image that drew no transformation comes out as it was, and
reflections of the border go on for ever, so that shapes do not depend on the draws.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.devices import backend, sharding
from ganjax.wording import closest

# The parts of the pipeline, and how many numbers each draws.
PARTS = {'blit': 4, 'geom': 6, 'color': 5, 'filter': 4, 'noise': 1, 'cutout': 2}
# The published names: the first letters of what they hold.
PIPES = {name: (name,) for name in PARTS} | {
  name: tuple(PARTS)[:count]
  for count, name in enumerate(('bg', 'bgc', 'bgcf', 'bgcfn', 'bgcfnc'), 2)
}

# Low-pass filters of orthogonal wavelets, of sum sqrt(2): the least asymmetric of 6 vanishing moments, and that of 2.
SYM6 = np.array(
  [0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633]
  + [0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252]
  + [-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148]
)
SYM2 = np.array([1 - 3**0.5, 3 - 3**0.5, 3 + 3**0.5, 1 + 3**0.5]) / 32**0.5


def check(pipe: str) -> None:
  """Raises UserError where `pipe` is no name in `PIPES`."""
  if pipe not in PIPES:
    raise UserError(
      f'the ADA pipe {pipe!r} is not known{closest(pipe, PIPES)}; pipes are {", ".join(PIPES)}'
    )


def augment(
  images: jax.Array, key: jax.Array, p: float | jax.Array, pipe: str = 'bgc'
) -> jax.Array:
  """Images as D is to see them (arXiv:2006.06676, appendix B).

  With N(0, s) of deviation s, each with probability p unless said otherwise, in this order:

    blit: mirrored, or not; turned by 0, 90, 180 or 270 degrees; moved by whole pixels, up to 1/8 of each side.
    geom: scaled by 2^N(0, 0.2); turned; stretched by 2^N(0, 0.2) along one axis and shrunk along the other; turned;
      moved by N(0, 1/8) of each side. Angles are uniform, and each turn has probability 1 - sqrt(1 - p).
    color: + N(0, 0.2); times 2^N(0, 0.5); luma mirrored, or not; hue turned by any angle; saturation times 2^N(0, 1).
    filter: each of four octave bands amplified by 2^N(0, 1), at constant power of a typical image.
    noise: + N(0, |N(0, 0.1)|) for each value.
    cutout: a rectangle of half of each side becomes 0, its centre uniform over the image.

  Blit and geom are one affine map together, color is another. Values may leave [-1, 1]. The draws of a part do not
  depend on which others are on. With p = 0 the images come out bit for bit.

  Args:
    images: float [B, H, W, 1 or 3] in [-1, 1], H and W at least 2.
    key: a random key; the draws are over the whole batch.
    p: scalar in [0, 1], traced or not.
    pipe: a name in `PIPES`; 'bgc' is the published default.

  Returns:
    images [B, H, W, C].

  Raises:
    UserError: an unknown pipe, or images of neither 1 nor 3 channels.
  """
  check(pipe)
  if images.shape[3] not in (1, 3):
    raise UserError(f'ADA is for images of 1 or 3 channels, not {images.shape[3]}')
  key, noise = jax.random.split(key)
  # One draw for all, as each takes a CPU half a second to compile: coins in (0, 1), values in (-1, 1), [numbers, B].
  edge = np.nextafter(np.asarray(-1, images.dtype), 0)
  values = jax.random.uniform(key, (2, sum(PARTS.values()), len(images)), images.dtype, edge, 1)
  rows = np.split(np.arange(values.shape[1]), np.cumsum([*PARTS.values()])[:-1])
  draws = {part: ((values[0, i] + 1) / 2, values[1, i]) for part, i in zip(PARTS, rows)}
  parts = PIPES[pipe]
  # Coordinates and gains need all of float32, which accelerators do not give to products unasked.
  with jax.default_matmul_precision('highest'):
    sides = np.array([images.shape[2], images.shape[1]])[:, None]
    places = [f(*draws[n], p, sides) for n, f in (('blit', _blit), ('geom', _geom)) if n in parts]
    if places:
      images = _resample(images, functools.reduce(jnp.matmul, places))
    if 'color' in parts:
      images = _color(*draws['color'], p, images)
    if 'filter' in parts:
      images = _filter(*draws['filter'], p, images)
    if 'noise' in parts:
      images = _noise(*draws['noise'], p, images, noise)
    if 'cutout' in parts:
      images = _cutout(*draws['cutout'], p, images)
  return images


def _normal(values):
  """U(-1, 1) -> N(0, 1)."""
  return 2**0.5 * jax.scipy.special.erfinv(values)


# Places: matrices [B, 3, 3] that take (x, y, 1) of the result, in pixels from the centre, to where it is read from: the
# inverses of the transformations, so that the last of these stands to the right.


def _blit(coins, values, p, sides):
  flip, turn, move = coins[:3] < p
  quarters = jnp.where(turn, jnp.floor(2 * values[1] + 2).astype(int), 0)
  cos, sin = jnp.array([1, 0, -1, 0])[quarters], jnp.array([0, 1, 0, -1])[quarters]
  pixels = jnp.where(move, jnp.round(values[2:] / 8 * sides), 0)
  mirror = jnp.where(flip & (values[0] > 0), -1, 1)
  return _scale(mirror, 1) @ _turn(cos, sin) @ _shift(-pixels)


def _geom(coins, values, p, sides):
  turned = 1 - jnp.sqrt(1 - p)  # so that one turn or the other has probability p
  first, second = jnp.where(coins[1:4:2] < turned, jnp.pi * values[1:4:2], 0)
  size, stretch = jnp.exp2(jnp.where(coins[:4:2] < p, 0.2 * _normal(values[:4:2]), 0))
  pixels = jnp.where(coins[4] < p, _normal(values[4:]) / 8 * sides, 0)
  place = _scale(1 / size, 1 / size) @ _turn(jnp.cos(first), jnp.sin(first))
  place = place @ _scale(1 / stretch, stretch) @ _turn(jnp.cos(second), jnp.sin(second))
  return place @ _shift(-pixels)


def _matrix(*rows):
  cells = jnp.broadcast_arrays(*[jnp.asarray(x) for row in rows for x in row])
  return jnp.stack(cells, -1).reshape(*cells[0].shape, len(rows), len(rows[0]))


def _scale(x, y):
  return _matrix((x, 0, 0), (0, y, 0), (0, 0, 1))


def _turn(cos, sin):
  return _matrix((cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


def _shift(pixels):
  return _matrix((1, 0, pixels[0]), (0, 1, pixels[1]), (0, 0, 1))


def _resample(images, place):
  """Reads images at places [B, 3, 3]: twice the resolution, bilinear, and back, with one low-pass filter both ways.

  The published code pads by reflection as far as the farthest draw of the batch goes, up to a side less a pixel, beyond
  which it reads zeros. Shapes cannot follow draws here. But a reflected image is periodic, 2 (side - 1) pixels long, so
  one period holds all that any place can read: smaller than that padding, and no draw goes beyond it.
  """
  b, h, w, c = images.shape
  place = sharding.keep_split(place.astype(images.dtype))
  canvas = _apply(images, _upsampler(h), _upsampler(w))
  # All that the filter reads on the way back: 5 further on either side. A pixel lies at twice its number.
  y, x = np.mgrid[-5 : 2 * h + 5, -5 : 2 * w + 5] - np.array([h - 1, w - 1])[:, None, None]
  grid = jnp.array(np.stack([x, y, np.full_like(x, 2)]).reshape(3, -1), images.dtype)
  read = jnp.einsum('bij,jn->bni', place[:, 1::-1], grid) + jnp.array([h - 1, w - 1])
  floor = jnp.floor(read)
  corners = floor.astype(int) % jnp.array([4 * (h - 1), 4 * (w - 1)])
  form = _read_by_index if backend.has_scatter() else _read_by_product
  read = form(canvas, corners, read - floor)
  moved = _apply(read.reshape(b, *y.shape, c), _downsampler(h), _downsampler(w))
  # Without a move between them the filters cancel, but for round-off: of that too an image that stays is spared.
  still = (place == jnp.eye(3)).all((1, 2))
  return jnp.where(still[:, None, None, None], images, moved)


def _read_by_index(canvas, corners, rest):
  """Bilinear reading. Canvas [B, H, W, C], corners [B, N, 2] in it and what is left [B, N, 2] -> [B, N, C]."""
  size = 2, 2, canvas.shape[3]
  square = lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), size)
  squares = jax.vmap(jax.vmap(square, (None, 0)))(canvas, corners)
  shares = jnp.stack([1 - rest, rest], -1)
  return jnp.einsum('bnijc,bni,bnj->bnc', squares, shares[:, :, 0], shares[:, :, 1])


_WEIGHT_BYTES = 1 << 29  # that a device is to hold at once: those of 98 images of 32 pixels


def _read_by_product(canvas, corners, rest):
  """The same without an index: products with each place's weights of all rows and all columns.

  The gradient of reading by index adds to places that are computed, which on TPUs is a loop over all of them: 350,464
  turns for 64 images of 32 pixels. Products and their weights grow with the fourth and third power of an image's side:
  so it goes in parts of the batch, of which each has some images of every device.
  """
  b, h, w, _ = canvas.shape
  own = max(1, b // max(1, jax.sharding.get_abstract_mesh().size))  # images of a device
  most = _WEIGHT_BYTES // (corners.shape[1] * (h + w) * canvas.dtype.itemsize)
  parts = next(n for n in range(1, own + 1) if own % n == 0 and (own <= n * most or n == own))
  if parts == 1:
    return _product(canvas, corners, rest)
  dealt = tuple(sharding.to_parts(x, parts) for x in (canvas, corners, rest))
  _, read = backend.fold(lambda _, part: (None, jax.checkpoint(_product)(*part)), None, dealt)
  return sharding.join_parts(read)


def _product(canvas, corners, rest):
  """`_read_by_product` of images that go together."""

  def weights(axis):
    far = np.arange(canvas.shape[1 + axis]) - corners[:, :, axis, None]
    part = rest[:, :, axis, None]
    return jnp.where(far == 0, 1 - part, jnp.where(far == 1, part, 0))

  rows = jnp.einsum('bnj,bijc->bnic', weights(1), canvas)
  return jnp.einsum('bni,bnic->bnc', weights(0), rows)


def _apply(images, rows, columns):
  """Products with matrices [h, H] and [w, W] along both axes: [B, H, W, C] -> [B, h, w, C]."""
  images = jnp.einsum('ij,bjwc->biwc', jnp.array(rows, images.dtype), images)
  return jnp.einsum('ij,bhjc->bhic', jnp.array(columns, images.dtype), images)


def _reflect(places, side):
  """Which pixel of `side` is seen at each place: ... 2 1 0 1 2 ..., the border once."""
  places = places % (2 * (side - 1))
  return np.minimum(places, 2 * (side - 1) - places)


def _upsampler(side):
  """Matrix [4 (side - 1) + 1, side]: a period of the reflected axis at twice its resolution, and its first again."""
  matrix = np.zeros((4 * (side - 1) + 1, side))
  for tap, weight in enumerate(SYM6 * 2**0.5):
    places = np.arange(len(matrix)) + 5 - tap
    rows = np.flatnonzero(places % 2 == 0)  # zeros between pixels
    np.add.at(matrix, (rows, _reflect(places[rows] // 2, side)), weight)
  return matrix


def _downsampler(side):
  """Matrix [side, 2 side + 10], the transpose of the upsampler without reflection: together they are the identity."""
  matrix = np.zeros((side, 2 * side + 10))
  for row in range(side):
    matrix[row, 2 * row : 2 * row + 12] = SYM6 / 2**0.5
  return matrix


def _color(coins, values, p, images):
  on = coins < p
  light, contrast, saturation = jnp.where(on[::2], _normal(values[::2]), 0)
  flip = jnp.where(on[1] & (values[1] > 0), 2, 0)
  angle = jnp.where(on[3], jnp.pi * values[3], 0)
  # The only offset comes first, so that the rest is a matrix [B, 3, 3]. `grey` projects on the luma axis, `cross` is
  # the product with its direction.
  one, grey = np.eye(3), np.full((3, 3), 1 / 3)
  cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
  mix = lambda *terms: sum(x[:, None, None] * jnp.array(m, images.dtype) for x, m in terms)
  matrix = one + mix((jnp.exp2(saturation) - 1, one - grey))
  matrix @= one + mix((jnp.cos(angle) - 1, one - grey), (jnp.sin(angle), cross))
  matrix @= one - mix((flip, grey))
  matrix *= jnp.exp2(0.5 * contrast)[:, None, None]
  matrix = sharding.keep_split(matrix.astype(images.dtype))
  if images.shape[3] == 1:  # as a grey picture
    matrix = matrix.sum(2).mean(1)[:, None, None]
  changed = jnp.einsum('bij,bhwj->bhwi', matrix, images + 0.2 * light[:, None, None, None])
  return jnp.where(on.any(0)[:, None, None, None], changed, images)


def _bands(side):
  """Matrices [4, side, side] that filter an axis, reflected at its ends, to octave bands; they sum to the identity."""
  high = SYM2 * (-1) ** np.arange(4)
  low, high = (np.convolve(h, h[::-1]) / 2 for h in (SYM2, high))
  bands = np.eye(4, 1)
  for band in range(1, 4):
    sparse = np.zeros((4, 2 * bands.shape[1] - 1))
    sparse[:, ::2] = bands
    bands = np.stack([np.convolve(row, low) for row in sparse])
    middle = bands.shape[1] // 2
    bands[band, middle - 3 : middle + 4] += high
  matrices = np.zeros((4, side, side))
  rows = np.arange(side)
  for tap, weights in enumerate(bands.T):
    columns = _reflect(rows + tap - bands.shape[1] // 2, side)
    matrices[:, rows, columns] += weights[:, None]
  return matrices


def _filter(coins, values, p, images):
  on = coins < p
  power = np.array([10, 1, 1, 1]) / 13  # of a typical image, lowest band first
  gains = jnp.exp2(_normal(values))
  # Amplifying one band scales all of them so that the power stays.
  scales = 1 / jnp.sqrt(1 + jnp.array(power, images.dtype)[:, None] * (gains**2 - 1))
  gains = jnp.where(on, gains, 1) * jnp.where(on, scales, 1).prod(0)
  gains, out = sharding.keep_split(gains.T), images
  for spec, side in (('bij,bjwc->biwc', images.shape[1]), ('bij,bhjc->bhic', images.shape[2])):
    matrix = jnp.einsum('bk,kij->bij', gains, jnp.array(_bands(side), images.dtype))
    out = jnp.einsum(spec, matrix, out)
  return jnp.where(on.any(0)[:, None, None, None], out, images)


def _noise(coins, values, p, images, key):
  deviation = jnp.where(coins[0] < p, jnp.abs(0.1 * _normal(values[0])), 0)
  noise = sharding.keep_split(jax.random.normal(key, images.shape, images.dtype))
  return images + deviation[:, None, None, None] * noise


def _cutout(coins, values, p, images):
  y, x = (values + 1) / 2
  pixels = lambda side: (np.arange(side) + 0.5) / side
  near = lambda centre, side: jnp.abs(pixels(side) - centre[:, None]) < 1 / 4
  inside = near(y, images.shape[1])[:, :, None] & near(x, images.shape[2])[:, None]
  return jnp.where((inside & (coins[0] < p)[:, None, None])[..., None], 0, images)


# The strength.


def start(p: float = 0.0) -> dict[str, jax.Array]:
  """The state of ADA, for TrainState.extra: 'p', and the sum and number of signs of D(real) since p was moved."""
  return {name: jnp.float32(x) for name, x in (('p', p), ('signs', 0), ('count', 0))}


def note(ada: dict[str, jax.Array], real_logits: jax.Array) -> dict[str, jax.Array]:
  """Adds what D says of (augmented) real images, logits of any shape, to the state. Passes no gradient."""
  signs = jnp.sum(jnp.sign(jax.lax.stop_gradient(real_logits)), dtype=jnp.float32)
  return {**ada, 'signs': ada['signs'] + signs, 'count': ada['count'] + real_logits.size}


def move(
  ada: dict[str, jax.Array],
  step: int | jax.Array,
  *,
  target: float = 0.6,
  interval: int = 4,
  images: int = 500_000,
) -> dict[str, jax.Array]:
  """Moves p by the overfitting heuristic r_t = E[sign(D(real))] (arXiv:2006.06676, section 3.1, equation 1).

  At the last of every `interval` steps p goes up where r_t > target and down where it is less, so far that it takes
  `images` real images from 0 to 1, and stays in [0, 1] (the authors' code has no upper end; above 1 nothing changes but
  the time it takes to come back). The sums start again. At other steps, or where nothing was noted, nothing changes.

  Args:
    ada: the state, see `start`.
    step: number of the step that is ending, traced or not.
  """
  due = (step + 1) % interval == 0
  r = ada['signs'] / jnp.maximum(ada['count'], 1)
  p = jnp.clip(ada['p'] + jnp.sign(r - target) * ada['count'] / images, 0, 1)
  moved = {'p': p, 'signs': jnp.zeros_like(p), 'count': jnp.zeros_like(p)}
  return jax.tree.map(lambda new, old: jnp.where(due, new, old), moved, ada)
