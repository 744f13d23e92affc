"""EQ-T and EQ-R: whether a shift or a turn of a generator's input is one of its picture (in decibels, more is better).

Karras et al. 2021, arXiv:2106.12423, section 2.2 and appendix E; windows and filters are those of the authors' code.
Pictures are compared as floats, neither rounded nor clipped, where both of them are known.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.sampling import latents

LARGEST_SHIFT = 1 / 8  # of a side, either way
LANCZOS = 3  # pixels that the window reaches
REACH, FINE, FILTER = (
  2 * LANCZOS,
  4,
  64,
)  # of a filter in pixels; its finer grid; what it is computed over


def transforms(kind: str, draws: jax.Array, side: int) -> jax.Array:
  """What the generator's input goes through, [B, 3, 3], of draws [B, 2] from U(-1, 1): see `latents.transform`."""
  x, y = _shift(kind, draws, side) / side
  degrees = 180 * draws[:, 0] if kind == 'eq_r' else jnp.zeros(len(draws))
  return jax.vmap(latents.transform)(x, y, degrees)


def differences(
  kind: str, still: jax.Array, moved: jax.Array, draws: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """(sums of squared differences [B], numbers of values in them [B]).

  Args:
    kind: 'eq_t', shifts by whole pixels; 'eq_t_frac', by any; 'eq_r', turns by any angle.
    still, moved: images [B, side, side, C] without and with `transforms`.
    draws: [B, 2] of these.
  """
  if kind == 'eq_r':
    one = lambda args: _turned(*args)
    wanted, found, mask = jax.lax.map(one, (still, moved, jnp.pi * draws[:, 0]))
  else:
    pixels = _shift(kind, draws, still.shape[1])
    move = _roll if kind == 'eq_t' else _interpolate
    wanted, mask = jax.vmap(move)(still, *pixels)
    found = moved
  mask = mask[..., None].astype(still.dtype)
  squares = jnp.sum(mask * (wanted - found) ** 2, (1, 2, 3))
  return squares, jnp.sum(mask, (1, 2, 3)) * still.shape[3]


def decibels(squares: jax.Array | np.ndarray, counts: jax.Array | np.ndarray) -> float:
  """The peak signal-to-noise ratio of all samples' differences together; pictures span 2.

  Raises:
    UserError: nothing to compare.
  """
  squares, counts = (np.sum(np.asarray(x, np.float64)) for x in (squares, counts))
  if not counts or not np.isfinite(squares):
    raise UserError('equivariance: no pixel is known in both pictures, or some are not finite')
  with np.errstate(divide='ignore'):
    return float(20 * np.log10(2) - 10 * np.log10(squares / counts))


def _shift(kind, draws, side):
  """(x, y) [B] in pixels."""
  if kind == 'eq_r':
    return jnp.zeros((2, len(draws)))
  pixels = LARGEST_SHIFT * side * draws.T
  return jnp.round(pixels) if kind == 'eq_t' else pixels


def _roll(image, x, y):
  """An image moved by whole pixels, and where it is known."""
  side = image.shape[0]
  x, y = x.astype(int), y.astype(int)
  inside = lambda by: (jnp.arange(side) >= by) & (jnp.arange(side) < side + by)
  return jnp.roll(image, (y, x), (0, 1)), inside(y)[:, None] & inside(x)


def _interpolate(image, x, y):
  """An image moved by any number of pixels with Lanczos's kernel, and where all of its taps lie within."""

  def axis(by):
    at = jnp.arange(image.shape[0])
    whole, near = jnp.floor(by), jnp.arange(1 - LANCZOS, LANCZOS + 1)
    kernel = lambda d: jnp.sinc(d) * jnp.sinc(d / LANCZOS)
    tap = at[:, None] - at - whole
    used = (tap >= near[0]) & (tap <= near[-1])
    matrix = jnp.where(used, kernel(tap - (by - whole)), 0) / kernel(near - (by - whole)).sum()
    return matrix, (at - whole >= near[-1]) & (at - whole < len(at) + near[0])

  (rows, high), (columns, wide) = axis(y), axis(x)
  return jnp.einsum('ij,kl,jlc->ikc', rows, columns, image), high[:, None] & wide


def _turned(still, moved, angle):
  """(the first image turned, the second as if it had been, where both are known)."""
  wanted, inside = _turn(still, angle)
  found = _convolve(moved, oriented_filter(-angle, 1))[
    REACH - 1 : -REACH + 1, REACH - 1 : -REACH + 1
  ]
  at = jnp.arange(len(still))
  known = (at >= REACH - 1) & (at < len(still) - REACH + 1)
  return wanted, found, inside & known[:, None] & known


def oriented_filter(angle: float | jax.Array, fine: int) -> jax.Array:
  """What cuts off the frequencies that the pixels of a picture cannot hold before and after a turn, [n, n].

  Two ideal filters of the pixels' squares, one of them turned, convolved; and so their windows.

  Args:
    angle: in radians.
    fine: points to a pixel. n = 2 REACH fine - 1. A constant stays, from any of the `fine` places.
  """
  reach = FILTER * fine
  line = jnp.roll((jnp.arange(2 * reach - 1) + 1) / fine - FILTER, 1 - reach)
  y, x = jnp.meshgrid(line, line, indexing='ij')
  c, s = jnp.cos(angle), jnp.sin(angle)
  u, v = c * x + s * y, c * y - s * x
  both = lambda f: jnp.fft.ifft2(jnp.fft.fft2(f(x) * f(y)) * jnp.fft.fft2(f(u) * f(v))).real
  window = lambda d: jnp.where(jnp.abs(d) < LANCZOS, jnp.sinc(d / LANCZOS), 0)
  filters = jnp.roll(both(jnp.sinc) * both(window), (reach - 1, reach - 1), (0, 1))
  cut = (FILTER - REACH) * fine
  cells = jnp.pad(filters[cut:-cut, cut:-cut], ((0, 1), (0, 1)))
  cells = cells.reshape(2 * REACH, fine, 2 * REACH, fine)
  cells = cells / cells.sum((0, 2), keepdims=True)
  return cells.reshape(2 * REACH * fine, -1)[:-1, :-1]


def _convolve(image, kernel):
  """[H, W, C] with [n, n], zeros outside -> [H + n - 1, W + n - 1, C]."""
  shape = [a + b - 1 for a, b in zip(image.shape, kernel.shape)]
  spectrum = jnp.fft.rfft2(image, shape, (0, 1)) * jnp.fft.rfft2(kernel, shape)[..., None]
  return jnp.fft.irfft2(spectrum, shape, (0, 1))


def _turn(image, angle):
  """An image turned about its centre, counter-clockwise as y points down, and where it is known."""
  side, half = len(image), REACH * FINE - 1
  fine = jnp.zeros((side, FINE, side, FINE, image.shape[2]), image.dtype).at[:, 0, :, 0].set(image)
  fine = _convolve(fine.reshape(side * FINE, side * FINE, -1), oriented_filter(angle, FINE))
  at = jnp.arange(side) + 0.5 - side / 2
  y, x = jnp.meshgrid(at, at, indexing='ij')
  c, s = jnp.cos(angle), jnp.sin(angle)
  # Pixel i lies at FINE i + half of the finer grid.
  read = jnp.stack([s * x + c * y, c * x - s * y]) + side / 2 - 0.5
  read = FINE * read + half
  sample = lambda channel: jax.scipy.ndimage.map_coordinates(channel, read, 1)
  turned = jnp.stack([sample(fine[..., i]) for i in range(image.shape[2])], -1)
  near = jnp.round(read)
  known = (near >= 2 * half - 1) & (near < FINE * side - 1 - 2)
  return turned, known.all(0)
