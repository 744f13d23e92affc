"""Real-ESRGAN's degradation of second order (Wang et al. 2021, arXiv:2107.10833, section 3; options of its code).

Blur, resizing, noise and JPEG, twice, all drawn for each picture. The second time resizing to the final size and a
sinc filter, in this order, come before JPEG or behind it. Within pictures are in [0, 1].

The authors draw factors of resizing, its mode and the kind of noise for a whole batch, and mix pairs of several
batches for that. Grey noise is one field a batch there. They degrade crops of 400 pixels and learn from 256 of those.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.degradations import Degradation
from ganjax.layers import degrade, jpeg

SIDE = 21  # of kernels
SIZES = np.arange(7, 22, 2)
# Kinds of kernels: whether round, whether exponents are drawn, whether plateaus; and their shares.
KINDS = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
SHARES = 0.45, 0.25, 0.12, 0.03, 0.12, 0.03
EXPONENTS = (0.5, 4.0), (1.0, 2.0)  # of others, and of plateaus
SINC = 0.1  # share of sinc filters among kernels
LARGEST = 1.5, 1.2  # factors of resizing, in the first and the second round
SMALLEST = 0.15, 0.3
RESIZED = (0.2, 0.7, 0.1), (0.3, 0.4, 0.3)  # shares of larger, smaller, as it is
SIGMAS = (0.2, 3.0), (0.2, 1.5)  # of kernels, in pixels
GAUSSIAN = (1.0, 30.0), (1.0, 25.0)  # deviations of noise, of 255
POISSON = (0.05, 3.0), (0.05, 2.5)  # how many times as strong as it would be
GREY = 0.4  # share of noise that is the same in all channels
QUALITIES = 30.0, 95.0
SECOND_BLUR, LAST_SINC = 0.8, 0.8
BRIGHTNESS = np.array([0.2989, 0.587, 0.114])
# The unsharp mask of what is learnt: OpenCV's Gaussian of 51 pixels, half of the detail, where it is above 10 of 255.
MASK_SIDE, MASK_SIGMA, MASK_SHARE, MASK_LEAST = 51, 8.0, 0.5, 10.0


def build(scale: int) -> Degradation:
  """The degradation to sides 1 / scale as long."""

  def low(images, keys):
    x = (images + 1) / 2
    one = lambda x, key: _degrade(sharpen(x), key, scale)
    return 2 * jax.vmap(one)(x, keys) - 1

  return Degradation(low, lambda images: 2 * jax.vmap(sharpen)((images + 1) / 2) - 1)


def sharpen(x: jax.Array) -> jax.Array:
  """The unsharp mask of [H, W, C]."""
  kernel = degrade.ellipse(MASK_SIDE, MASK_SIDE, (MASK_SIGMA, MASK_SIGMA))
  blur = lambda x: degrade.convolve(x, kernel, x.shape[:2])
  detail = x - blur(x)
  soft = blur((255 * jnp.abs(detail) > MASK_LEAST).astype(x.dtype))
  return soft * jnp.clip(x + MASK_SHARE * detail, 0, 1) + (1 - soft) * x


def _degrade(x, key, scale):
  """A picture [H, W, C] -> [H / scale, W / scale, C], with 256 levels."""
  shape = x.shape[:2]
  final = tuple(n // scale for n in shape)
  kernels, sizes, noises, rest, *own = jax.random.split(key, 6)
  kernels = jax.random.uniform(kernels, (2, 8))
  sizes = jax.random.uniform(sizes, (2, 3))
  noises = jax.random.uniform(noises, (2, 3))
  blurs, order, mode, last, *lasts, first, second = jax.random.uniform(rest, (8,))

  x = degrade.convolve(x, draw_kernel(kernels[0], *SIGMAS[0]), shape)
  x, sides = _resize(sizes[0], x, shape, shape, 0)
  x = _compress(first, add_noise(own[0], noises[0], x, sides, 0), sides)

  kernel = draw_kernel(kernels[1], *SIGMAS[1])
  x = degrade.convolve(x, jnp.where(blurs < SECOND_BLUR, kernel, degrade.pulse(SIDE)), sides)
  x, sides = _resize(sizes[1], x, sides, final, 1)
  x = add_noise(own[1], noises[1], x, sides, 1)

  kernel = degrade.sinc(SIDE, _choose(lasts[0], SIZES), _between(lasts[1], np.pi / 3, np.pi))
  kernel = jnp.where(last < LAST_SINC, kernel, degrade.pulse(SIDE))

  def finish(x):
    x = degrade.resize(x, sides, final, final, _choose(mode, np.arange(3)))
    return degrade.convolve(x, kernel, final)

  padded = jnp.pad(finish(x), [(0, -n % 16) for n in final] + [(0, 0)])
  before = _compress(second, padded, final)[: final[0], : final[1]]
  after = finish(_compress(second, x, sides))
  x = jnp.where(order < 0.5, before, after)
  return jnp.round(255 * jnp.clip(x, 0, 1)) / 255


def _between(u, low, high):
  """A number in [0, 1) stretched to [low, high)."""
  return low + (high - low) * u


def _choose(u, values, shares=None):
  """One of an array's values, by their shares if they have any, of a number in [0, 1)."""
  if shares is None:
    return jnp.asarray(values)[(u * len(values)).astype(int)]
  return jnp.asarray(values)[jnp.sum(u >= np.cumsum(shares)[:-1])]


def draw_kernel(u: jax.Array, least: float, most: float) -> jax.Array:
  """A kernel [21, 21] of one of `KINDS`, with deviations from `least` to `most`, or a sinc filter.

  u is [8] random numbers in [0, 1).
  """
  size = _choose(u[0], SIZES)
  across, along = _between(u[1], least, most), _between(u[2], least, most)
  angle = _between(u[3], -np.pi, np.pi)
  is_round, is_drawn, plateau = _choose(u[6], KINDS, SHARES)
  low, high = jnp.where(plateau, *map(np.array, EXPONENTS[::-1]))
  beta = jnp.where(u[4] < 0.5, _between(u[5], low, 1.0), _between(u[5], 1.0, high))
  sigmas = across, jnp.where(is_round, across, along)
  found = degrade.ellipse(SIDE, size, sigmas, angle, jnp.where(is_drawn, beta, 1.0), plateau)
  # A small filter with a lower cutoff would be no more than a Gaussian.
  cutoff = _between(u[1], jnp.where(size < 13, np.pi / 3, np.pi / 5), np.pi)
  return jnp.where(u[7] < SINC, degrade.sinc(SIDE, size, cutoff), found)


def _resize(u, x, sides, to, number: int):
  """(x resized to a random multiple of `to`, its new sides), in the round of the number; u is [3] random numbers."""
  least, most = SMALLEST[number], LARGEST[number]
  low, high = _choose(u[0], np.array([[1.0, most], [least, 1.0], [1.0, 1.0]]), RESIZED[number])
  factor = _between(u[1], low, high)
  new = tuple(jnp.maximum(1, jnp.floor(n * factor).astype(int)) for n in to)
  shape = tuple(-(-int(n * most) // 16) * 16 for n in to)  # whole blocks of JPEG
  return degrade.resize(x, sides, shape, new, _choose(u[2], np.arange(3))), new


def _inside(x, sides):
  """x with zeros outside of its sides."""
  rows, columns = (np.arange(n) < side for n, side in zip(x.shape, sides))
  return jnp.where(rows[:, None, None] & columns[:, None], x, 0.0)


def _compress(u, x, sides):
  return jpeg.compress(_inside(jnp.clip(x, 0, 1), sides), _between(u, *QUALITIES))


def add_noise(
  key: jax.Array, u: jax.Array, x: jax.Array, sides: Sequence[int | jax.Array], number: int
) -> jax.Array:
  """x with Gaussian or with Poisson noise, each with probability 1/2, clipped; in the round of the number.

  u is [3] random numbers in [0, 1).
  """
  grey = u[0] < GREY
  draws = jax.random.normal(key, x.shape, x.dtype)
  draws = jnp.where(grey, draws[..., :1], draws)
  gaussian = draws * _between(u[1], *GAUSSIAN[number]) / 255
  poisson = shot_noise(draws, x, sides, grey) * _between(u[1], *POISSON[number])
  return jnp.clip(x + jnp.where(u[2] < 0.5, gaussian, poisson), 0, 1)


def shot_noise(
  draws: jax.Array, x: jax.Array, sides: Sequence[int | jax.Array], grey: bool | jax.Array
) -> jax.Array:
  """Noise of as many photons as the next power of two of x's different levels; of its brightness where `grey`.

  Photons are made of standard normal draws [H, W, C], by two terms of the Cornish-Fisher expansion of Poisson's
  quantiles: for a mean of 1 or more the distribution is right to 0.01.
  """
  weights = BRIGHTNESS if x.shape[-1] == 3 else np.ones(1)
  x = jnp.where(grey, jnp.sum(x * weights, -1, keepdims=True), x)
  levels = jnp.round(255 * jnp.clip(x, 0, 1)).astype(int)
  # Those outside of the picture count as one that is there: that of the first pixel.
  rows, columns = (np.arange(n) < side for n, side in zip(x.shape, sides))
  seen = jnp.where(rows[:, None, None] & columns[:, None], levels, levels[0, 0])
  count = jnp.sum(jnp.zeros(256).at[seen.reshape(-1)].set(1.0))
  photons = 2 ** jnp.ceil(jnp.log2(count))
  mean = levels / 255 * photons
  found = jnp.round(mean + jnp.sqrt(mean) * draws + (draws**2 - 1) / 6)
  return (jnp.where(mean > 0, jnp.maximum(found, 0), 0) - mean) / photons
