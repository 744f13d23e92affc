"""Alias-free layers (StyleGAN3, Karras et al. 2021, arXiv:2106.12423): filters, and a nonlinearity between two of them.

Maps stand for continuous signals that hold frequencies up to a cutoff. A pointwise nonlinearity adds higher ones, so it
is applied at twice the rate or more, and what comes out is filtered before it is sampled again (section 3.2).

A filter along an axis, with the pixels that it puts in or leaves out, is a product with a banded matrix: matrix units
do that at the speed of memory, and its gradient is another product.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from scipy import signal, special

from ganjax.devices import backend
from ganjax.layers.conv import conv, depthwise_transpose
from ganjax.layers.equalized import Dense, activate


def lowpass(
  taps: int, cutoff: float, width: float, rate: float, radial: bool = False
) -> np.ndarray:
  """A Kaiser-windowed filter (appendix C.1), float64 [taps], or with `radial` [taps, taps]; its sum is 1.

  Args:
    taps: their number, even.
    cutoff: the frequency at which half of the amplitude is left.
    width: of the transition band around the cutoff.
    rate: samples in a unit of length, to which cutoff and width belong.
    radial: the response is that of a circle (a jinc) instead of a square, for rotation equivariance.
  """
  if not radial:
    return signal.firwin(taps, cutoff, width=width, fs=rate)
  x = (np.arange(taps) - (taps - 1) / 2) / rate
  r = np.pi * np.hypot(*np.meshgrid(x, x))
  window = np.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, width / (rate / 2))))
  f = special.j1(2 * cutoff * r) / r * np.outer(window, window)
  return f / f.sum()


def separate(taps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(rows, columns) [R, k] of a filter: its passes along both axes; one [k, k] of both is the sum of R such pairs."""
  if taps.ndim == 1:
    return taps[None], taps[None]
  u, s, v = np.linalg.svd(taps)
  kept = s > 1e-8 * s[0]
  root = s[kept, None] ** 0.5
  return u.T[kept] * root, v[kept] * root


def filtered_leaky_relu(
  x: jax.Array,
  size: int,
  up: int,
  down: int,
  up_taps: np.ndarray,
  down_taps: np.ndarray,
  clamp: float,
) -> jax.Array:
  """sqrt(2) LeakyReLU(0.2) at a higher rate, between two filters (equation 6): x [B, n, n, C] -> [B, size, size, C].

  The centres of both maps coincide; outside x are zeros.

  Args:
    x: at any size, larger by a margin or as large.
    size: of a side of what comes out.
    up, down: even factors to the higher rate, and from there.
    up_taps: a filter of `lowpass`, of one axis; it counts `up` times, so that a constant stays.
    down_taps: another, of one axis or two.
    clamp: values are held in [-clamp, clamp] at the higher rate; 0 for no limit.
  """
  (k,), (rows, columns) = up_taps.shape, separate(down_taps)
  middle = (size - 1) * down + rows.shape[1]
  crop = ((x.shape[1] - 1) * up + k - middle) // 2
  for axis in (1, 2):
    x = _spread(x, up * up_taps, axis, up, crop, middle)
  return _gather(activate(x, clamp=clamp), rows, columns, down, size)


# Both passes in two forms: a product with a banded matrix, and on CPUs, where that takes 2.6 times as long (84x84 at
# twice the rate, 32 channels, with the gradient), a convolution of each channel by itself.


def _spread(x, taps, axis, factor, crop, size):
  """y[i factor + a - crop] += taps[a] x[i] along an axis of [B, h, w, C], which becomes `size` long."""
  if backend.has_matrix_units():
    matrix = _band(taps, jnp.arange(size)[:, None] + crop - factor * jnp.arange(x.shape[axis]))
    product = 'uh,bhwc->buwc' if axis == 1 else 'vw,bhwc->bhvc'
    return jnp.einsum(product, matrix.astype(x.dtype), x, precision=lax.Precision.HIGHEST)
  sides = [size if i == axis else n for i, n in enumerate(x.shape)][1:3]
  how = dict(stride=_own(axis, factor, 1), padding=_own(axis, crop, 0), sides=tuple(sides))
  return depthwise_transpose(x, _kernel(x, taps, axis), **how)


def _gather(x, rows, columns, factor, size):
  """y[i] = sum over a of taps[a] x[i factor + a] along both axes of [B, h, w, C], summed over pairs [R, k]."""
  if backend.has_matrix_units():
    at = jnp.arange(x.shape[1]) - factor * jnp.arange(size)[:, None]
    bands = [jnp.stack([_band(f, at) for f in taps]).astype(x.dtype) for taps in (rows, columns)]
    how = dict(precision=lax.Precision.HIGHEST)
    x = jnp.einsum('ruh,bhwc->bruwc', bands[0], x, **how)
    return jnp.einsum('rvw,bruwc->buvc', bands[1], x, **how)

  def along(x, taps, axis):
    return conv(x, _kernel(x, taps, axis), _own(axis, factor, 1), groups=x.shape[3])

  return sum(along(along(x, a, 1), b, 2) for a, b in zip(rows, columns))


def _band(taps, at):
  """taps[at] of whole numbers [i, j], and 0 beyond the taps.

  Made where it is used, without an index: as constants those of large maps would fill a program.
  """
  return sum(f * (at == t) for t, f in enumerate(taps))


def _kernel(x, taps, axis):
  """Taps along an axis as the kernel of a convolution in groups of one channel."""
  shape = _own(axis, len(taps), 1)
  return jnp.broadcast_to(taps.astype(x.dtype).reshape(*shape, 1, 1), (*shape, 1, x.shape[3]))


def _own(axis, value, other):
  return (value, other) if axis == 1 else (other, value)


class FourierInput(nn.Module):
  """Styles [B, W] and transforms [B, 3, 3] -> waves [B, size, size, features], float32 at least (section 3.1, 3.3).

  Frequencies are drawn once, evenly over a disc, and stay in the collection 'fourier' with their phases. A wave is seen
  where the style moves and turns it, and then the transform: the inverse, in homogeneous coordinates (x, y, 1), of what
  happens to the picture. Its unit of length is the picture's side; the origin is its centre, y points down.

  Attributes:
    features: waves; a learned product mixes them.
    size: pixels of a side, with a margin around the picture.
    rate: pixels to a side of the picture.
    cutoff: the largest frequency. A turn or a stretch may raise it: waves fade until half of the rate.
  """

  features: int
  size: int
  rate: float
  cutoff: float
  param_dtype: str

  @nn.compact
  def __call__(self, w: jax.Array, transform: jax.Array | None = None) -> jax.Array:
    exact = lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
    draw = lambda f, *shape: lambda: f(self.make_rng('params'), shape, self.param_dtype)
    freqs = self.variable('fourier', 'freqs', draw(self._frequencies, self.features, 2)).value
    uniform = lambda *args: nn.initializers.uniform(1.0)(*args) - 0.5
    phases = self.variable('fourier', 'phases', draw(uniform, self.features)).value
    zeros = nn.initializers.zeros
    kernel = self.param('affine_kernel', zeros, (w.shape[1], 4), self.param_dtype)
    upright = lambda *args: zeros(*args).at[0].set(1)
    bias = self.param('affine_bias', upright, (4,), self.param_dtype)
    turn = exact(w, kernel * w.shape[1] ** -0.5) + bias
    turn = turn / jnp.linalg.norm(turn[:, :2], axis=1, keepdims=True)
    c, s, x, y = turn.T
    one, zero = jnp.ones_like(c), jnp.zeros_like(c)
    matrix = lambda *cells: jnp.stack(cells, -1).reshape(-1, 3, 3)
    own = exact(
      matrix(c, -s, zero, s, c, zero, zero, zero, one),
      matrix(one, zero, -x, zero, one, -y, zero, zero, one),
    )
    own = own if transform is None else exact(own, transform)
    phases = phases + exact(freqs, own[:, :2, 2:])[..., 0]
    freqs = exact(freqs, own[:, :2, :2])  # [B, features, 2]
    length = jnp.linalg.norm(freqs, axis=2)
    amplitudes = jnp.clip(1 - (length - self.cutoff) / (self.rate / 2 - self.cutoff), 0, 1)
    grid = jnp.asarray((np.arange(self.size) + 0.5 - self.size / 2) / self.rate, freqs.dtype)
    along = grid[:, None] * freqs[:, None, :, 0], grid[:, None] * freqs[:, None, :, 1]
    turns = along[0][:, None] + along[1][:, :, None] + phases[:, None, None]
    waves = amplitudes[:, None, None] * jnp.sin(2 * math.pi * turns)
    return Dense(self.features, use_bias=False, param_dtype=self.param_dtype, name='mix')(waves)

  def _frequencies(self, key, shape, dtype):
    v = nn.initializers.normal(1.0)(key, shape, dtype)
    squares = jnp.sum(v**2, 1, keepdims=True)
    # A normal vector of length r is longer than others with probability exp(-r^2 / 2): even over a disc.
    return self.cutoff * v / (jnp.sqrt(squares) * jnp.exp(squares / 4))
