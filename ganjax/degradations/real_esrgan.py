"""Real-ESRGAN's degradation of second order (Wang et al. 2021, arXiv:2107.10833, section 3; options of its code).

Blur, resizing, noise and JPEG, twice, all drawn for each picture. The second time resizing to the final size and a
sinc filter, in this order, come before JPEG or behind it. Within pictures are in [0, 1].

The authors draw factors of resizing, its mode and the kind of noise for a whole batch, and mix pairs of several
batches for that. Grey noise is one field a batch there. They degrade crops of 400 pixels and learn from 256 of those.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.degradations import Degradation
from ganjax.layers import degrade, jpeg

SIDE = 21  # of kernels
SIZES = np.arange(7, 22, 2)
# Kinds of kernels and their shares: (form, whether round, whether beta is drawn, share).
KERNELS = (
  ('gaussian', True, False, 0.45),
  ('gaussian', False, False, 0.25),
  ('gaussian', True, True, 0.12),
  ('gaussian', False, True, 0.03),
  ('plateau', True, True, 0.12),
  ('plateau', False, True, 0.03),
)
BETAS = {'gaussian': (0.5, 4.0), 'plateau': (1.0, 2.0)}
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


def sharpen(x):
  """The unsharp mask of [H, W, C]."""
  kernel = degrade.gaussian(MASK_SIDE, MASK_SIDE, (MASK_SIGMA, MASK_SIGMA))
  blur = lambda x: degrade.convolve(x, kernel, x.shape[:2])
  detail = x - blur(x)
  soft = blur((255 * jnp.abs(detail) > MASK_LEAST).astype(x.dtype))
  return soft * jnp.clip(x + MASK_SHARE * detail, 0, 1) + (1 - soft) * x


def _degrade(x, key, scale):
  """A picture [H, W, C] -> [H / scale, W / scale, C], with 256 levels."""
  keys = iter(jax.random.split(key, 12))
  shape = x.shape[:2]
  final = tuple(n // scale for n in shape)
  x = degrade.convolve(x, draw_kernel(next(keys), *SIGMAS[0]), shape)
  x, sides = _resize(next(keys), x, shape, shape, 0)
  x = _compress(next(keys), add_noise(next(keys), x, sides, 0), sides)

  kernel = draw_kernel(next(keys), *SIGMAS[1])
  blurs = jax.random.bernoulli(next(keys), SECOND_BLUR)
  x = degrade.convolve(x, jnp.where(blurs, kernel, degrade.pulse(SIDE)), sides)
  x, sides = _resize(next(keys), x, sides, final, 1)
  x = add_noise(next(keys), x, sides, 1)
  mode, kernel, own = _draw_mode(next(keys)), _draw_last(next(keys)), next(keys)

  def finish(x):
    x = degrade.resize(x, sides, final, final, mode)
    return degrade.convolve(x, kernel, final)

  before = _compress(own, _pad(finish(x)), final)[: final[0], : final[1]]
  after = finish(_compress(own, x, sides))
  x = jnp.where(jax.random.bernoulli(next(keys)), before, after)
  return jnp.round(255 * jnp.clip(x, 0, 1)) / 255


def draw_kernel(key, least, most):
  """A kernel [21, 21] of one of `KERNELS`, with deviations from `least` to `most`, or a sinc filter."""
  of_kind, of_size, of_sinc, *keys = jax.random.split(key, 8)
  size = jax.random.choice(of_size, jnp.asarray(SIZES))
  between = lambda key, a, b: jax.random.uniform(key, minval=a, maxval=b)
  across, along, angle = (
    between(keys[0], least, most),
    between(keys[1], least, most),
    between(keys[2], -np.pi, np.pi),
  )
  found = []
  for form, is_round, is_drawn, _ in KERNELS:
    low, high = BETAS[form]
    ends = jnp.where(jax.random.bernoulli(keys[3]), jnp.array([low, 1.0]), jnp.array([1.0, high]))
    beta = between(keys[4], *ends) if is_drawn else 1.0
    sigmas = (across, across if is_round else along)
    found.append(degrade.gaussian(SIDE, size, sigmas, 0.0 if is_round else angle, form, beta))
  shares = jnp.asarray([share for *_, share in KERNELS])
  kind = jax.random.choice(of_kind, len(KERNELS), p=shares)
  # Small filters with a low cutoff would be but a Gaussian.
  cutoff = between(keys[0], jnp.where(size < 13, np.pi / 3, np.pi / 5), np.pi)
  is_sinc = jax.random.bernoulli(of_sinc, SINC)
  return jnp.where(is_sinc, degrade.sinc(SIDE, size, cutoff), jnp.stack(found)[kind])


def _draw_last(key):
  """The sinc filter at the end, or a pulse."""
  own, of_size, of_cutoff = jax.random.split(key, 3)
  size = jax.random.choice(of_size, jnp.asarray(SIZES))
  cutoff = jax.random.uniform(of_cutoff, minval=np.pi / 3, maxval=np.pi)
  there = jax.random.bernoulli(own, LAST_SINC)
  return jnp.where(there, degrade.sinc(SIDE, size, cutoff), degrade.pulse(SIDE))


def _draw_mode(key):
  return jax.random.randint(key, (), 0, len(degrade.MODES))


def _resize(key, x, sides, to, number: int):
  """(x resized to a random multiple of `to`, its new sides): in the round of the number."""
  of_mode, of_kind, of_factor = jax.random.split(key, 3)
  least, most = SMALLEST[number], LARGEST[number]
  kind = jax.random.choice(of_kind, 3, p=jnp.asarray(RESIZED[number]))
  ends = jnp.asarray([[1.0, most], [least, 1.0], [1.0, 1.0]])[kind]
  factor = jax.random.uniform(of_factor, minval=ends[0], maxval=ends[1])
  new = tuple(jnp.maximum(1, jnp.floor(n * factor).astype(int)) for n in to)
  shape = tuple(-(-int(n * most) // 16) * 16 for n in to)  # whole blocks of JPEG
  return degrade.resize(x, sides, shape, new, _draw_mode(of_mode)), new


def _inside(x, sides):
  """x with zeros outside of its sides."""
  rows, columns = (np.arange(n) < side for n, side in zip(x.shape, sides))
  return jnp.where(rows[:, None, None] & columns[:, None], x, 0.0)


def _pad(x):
  """To whole blocks of JPEG."""
  return jnp.pad(x, [(0, -n % 16) for n in x.shape[:2]] + [(0, 0)])


def _compress(key, x, sides):
  quality = jax.random.uniform(key, minval=QUALITIES[0], maxval=QUALITIES[1])
  return jpeg.compress(_inside(jnp.clip(x, 0, 1), sides), quality)


def add_noise(key, x, sides, number: int):
  """x with Gaussian or with Poisson noise, each with probability 1/2, clipped; in the round of the number."""
  of_kind, of_grey, of_strength, own = jax.random.split(key, 4)
  grey = jax.random.bernoulli(of_grey, GREY)
  strength = jax.random.uniform(of_strength)
  between = lambda ends: ends[0] + (ends[1] - ends[0]) * strength
  shared = lambda noise: jnp.where(grey, noise[..., :1], noise)
  gaussian = shared(jax.random.normal(own, x.shape)) * between(GAUSSIAN[number]) / 255
  poisson = shared(_poisson(own, x, sides, grey)) * between(POISSON[number])
  noise = jnp.where(jax.random.bernoulli(of_kind), gaussian, poisson)
  return jnp.clip(x + noise, 0, 1)


def _poisson(key, x, sides, grey):
  """Shot noise of as many photons as the next power of two of x's different levels; of its brightness if `grey`."""
  weights = BRIGHTNESS if x.shape[-1] == 3 else np.ones(1)
  x = jnp.where(grey, jnp.sum(x * weights, -1, keepdims=True), x)
  levels = jnp.round(255 * jnp.clip(x, 0, 1)).astype(int)
  # Those outside of the picture count as one that is there: that of the first pixel.
  rows, columns = (np.arange(n) < side for n, side in zip(x.shape, sides))
  seen = jnp.where(rows[:, None, None] & columns[:, None], levels, levels[0, 0])
  count = jnp.sum(jnp.zeros(256).at[seen.reshape(-1)].set(1.0))
  photons = 2 ** jnp.ceil(jnp.log2(count))
  rate = levels / 255
  return jax.random.poisson(key, rate * photons) / photons - rate
