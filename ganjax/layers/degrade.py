"""Parts of degradations: kernels that blur, their convolution, and resizing to sizes that are drawn while a step runs.

Such a picture lies in the upper left of an array of the largest size that it may have. `sides`, (height, width), says
how much of it there is, and may be traced. All are functions of one picture [H, W, C]; take `jax.vmap` for more.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

MODES = 'area', 'bilinear', 'bicubic'  # of `resize`


def ellipse(
  side: int,
  size: int | jax.Array,
  sigmas: Sequence[float] | jax.Array,
  angle: float | jax.Array = 0.0,
  beta: float | jax.Array = 1.0,
  plateau: bool | jax.Array = False,
) -> jax.Array:
  """A kernel [side, side] of a function of q = d' S^-1 d at the place d; zero outside of size x size pixels; sums to 1.

  Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833, section 3.2). All arguments but the first may be traced.

  Args:
    side: of the array, odd.
    size: of the kernel, odd, up to `side`.
    sigmas: deviations along both axes of the ellipse, in pixels.
    angle: by which it is turned, in radians.
    beta: of exp(-q^beta / 2), which is a Gaussian with 1.
    plateau: whether the function is 1 / (1 + q^beta) instead.
  """
  y, x, inside = _places(side, size)
  along, across = jnp.cos(angle) * x + jnp.sin(angle) * y, jnp.cos(angle) * y - jnp.sin(angle) * x
  q = (along / sigmas[0]) ** 2 + (across / sigmas[1]) ** 2
  # A power of 0 has no finite logarithm, which it is computed by.
  power = jnp.where(q > 0, jnp.maximum(q, 1e-30) ** beta, 0.0)
  found = jnp.where(plateau, 1 / (1 + power), jnp.exp(-power / 2))
  return _normalise(jnp.where(inside, found, 0.0))


def sinc(side: int, size: int | jax.Array, cutoff: float | jax.Array) -> jax.Array:
  """The circular low pass [side, side] of a cutoff in radians a pixel; arguments as in `ellipse`. Sums to 1.

  cutoff J1(cutoff r) / (2 pi r) at the distance r.
  """
  y, x, inside = _places(side, size)
  r = jnp.sqrt(x**2 + y**2)
  far = jnp.maximum(r, 1.0)
  found = jnp.where(r > 0, cutoff * j1(cutoff * far) / (2 * jnp.pi * far), cutoff**2 / (4 * jnp.pi))
  return _normalise(jnp.where(inside, found, 0.0))


def pulse(side: int) -> jax.Array:
  """The kernel that changes nothing."""
  return jnp.zeros((side, side)).at[side // 2, side // 2].set(1.0)


def j1(x: jax.Array) -> jax.Array:
  """Bessel's function of the first kind and order 1, to float32's precision for |x| up to 60: Bessel's integral."""
  t = np.linspace(0, np.pi, 97)
  weights = np.full(97, 1 / 96)
  weights[[0, -1]] /= 2  # the trapezoid rule, which converges fast over a period
  return jnp.sum(jnp.cos(t - x[..., None] * np.sin(t)) * weights, -1)


def _places(side, size):
  """(y, x, whether they are within size x size), each [side, side], from the middle."""
  at = np.arange(side) - side // 2
  inside = jnp.abs(at) <= (size - 1) / 2
  y, x = np.meshgrid(at.astype(np.float32), at.astype(np.float32), indexing='ij')
  return y, x, inside[:, None] & inside


def _normalise(kernel):
  return kernel / jnp.sum(kernel)


def convolve(x: jax.Array, kernel: jax.Array, sides: Sequence[int] | jax.Array) -> jax.Array:
  """[H, W, C] convolved with [k, k], mirrored at the borders of its `sides`, without the border pixel twice."""
  (h, w), r = x.shape[:2], kernel.shape[0] // 2
  rows, columns = (_mirror(np.arange(-r, n + r), side) for n, side in zip((h, w), sides))
  padded = x[rows][:, columns]
  shape = padded.shape[:2]
  spectrum = jnp.fft.rfft2(padded, axes=(0, 1)) * jnp.fft.rfft2(kernel, shape)[..., None]
  found = jnp.fft.irfft2(spectrum, shape, axes=(0, 1))
  return found[2 * r :, 2 * r :].astype(x.dtype)


def _mirror(places, side):
  """Places within 0 to side - 1, mirrored there and back."""
  period = jnp.maximum(2 * (side - 1), 1)
  places = places % period
  return jnp.minimum(places, period - places)


def resize(
  x: jax.Array,
  sides: Sequence[int] | jax.Array,
  shape: Sequence[int],
  new_sides: Sequence[int] | jax.Array,
  mode: int | jax.Array,
) -> jax.Array:
  """[H, W, C] -> [*shape, C], as torch.nn.functional.interpolate has it without antialiasing.

  Args:
    x: a picture of `sides`.
    shape: of the result, static.
    new_sides: of the picture in it; the rest is 0.
    mode: number in `MODES`.
  """
  rows, columns = (
    lax.switch(mode, [_area, _bilinear, _bicubic], np.arange(size), n, np.arange(most)[:, None], m)
    for size, n, most, m in zip(x.shape, sides, shape, new_sides)
  )
  how = dict(precision=lax.Precision.HIGHEST)
  return jnp.einsum('uh,hwc,vw->uvc', rows.astype(x.dtype), x, columns.astype(x.dtype), **how)


def _area(old, n, new, m):
  """Weights [M, N] of the pixels `old` [N], of which there are n, for each of `new` [M, 1], of which there are m.

  Means of the pixels from floor(i n / m) to ceil((i + 1) n / m).
  """
  first, last = new * n // m, -(-(new + 1) * n // m)
  inside = (old >= first) & (old < last)
  return jnp.where((new < m) & inside, 1 / jnp.maximum(last - first, 1), 0.0)


def _bilinear(old, n, new, m):
  at = jnp.clip((new + 0.5) * n / m - 0.5, 0, n - 1)
  return jnp.where(new < m, jnp.maximum(1 - jnp.abs(at - old), 0), 0.0)


def _bicubic(old, n, new, m):
  """Cubic weights, a = -3/4, of the four nearest pixels; the border's stand for those outside."""
  at = (new + 0.5) * n / m - 0.5
  first, total = jnp.floor(at), 0.0
  for tap in range(-1, 3):
    d = jnp.abs(at - first - tap)
    near, far = (1.25 * d - 2.25) * d**2 + 1, ((-0.75 * d + 3.75) * d - 6) * d + 3
    place = jnp.clip(first + tap, 0, n - 1)
    total += jnp.where(place == old, jnp.where(d <= 1, near, far), 0.0)
  return jnp.where(new < m, total, 0.0)
