"""Sounds as pictures of their spectra, and back: short-time Fourier transforms, and phases by Griffin and Lim (1984).

SpecGAN's form (Donahue et al. 2019, arXiv:1802.04208, section 3.3): a Hann window of twice as many samples as there are
frequencies, moved by half of it, no Nyquist frequency; logarithms of magnitudes, of each frequency brought to mean 0
and deviation 1 over the data, cut off at 3 deviations and divided by them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

FLOOR = 1e-6  # added to magnitudes before the logarithm
DEVIATIONS = 3


def stft(x: jax.Array, size: int) -> jax.Array:
  """Windows of `size` samples of x [B, T], half of it apart, and zeros -> complex [B, 2 T / size, size / 2 + 1]."""
  hop = size // 2
  frames = x.shape[1] // hop
  x = jnp.pad(x, ((0, 0), (0, size - hop)))
  at = np.arange(frames)[:, None] * hop + np.arange(size)
  return jnp.fft.rfft(x[:, at] * _window(size))


def istft(spectra: jax.Array, size: int) -> jax.Array:
  """Sounds [B, T] of spectra [B, 2 T / size, size / 2 + 1]: windows laid over one another, weighed once more.

  It is the inverse of `stft` but for the first half of a window, which fades in, as TensorFlow's does.
  """
  hop, window = size // 2, _window(size)
  frames = jnp.fft.irfft(spectra, size) * window
  first, second = frames[:, :, :hop], frames[:, :, hop:]
  x = first + jnp.pad(second, ((0, 0), (1, 0), (0, 0)))[:, :-1]
  return (x / (window[:hop] ** 2 + window[hop:] ** 2)).reshape(len(x), -1)


def griffin_lim(magnitude: jax.Array, size: int, rounds: int) -> jax.Array:
  """Sounds [B, T] of magnitudes [B, 2 T / size, size / 2 + 1], from phases of 0 on."""

  def better(_, spectra):
    found = stft(istft(spectra, size), size)
    return magnitude * found / jnp.maximum(jnp.abs(found), 1e-8)

  return istft(
    lax.fori_loop(0, rounds, better, magnitude.astype(jnp.result_type(magnitude, 1j))), size
  )


def _window(size):
  return np.hanning(size + 1)[:size]  # periodic, as TensorFlow's


class Spectrum(nn.Module):
  """Between sounds [B, side^2, 1] and pictures [B, side, side, 1] in [-1, 1]: rows are times, columns frequencies.

  Mean and deviation of each frequency are those of all sounds that were encoded in training, in the collection
  `spectrum`.
  """

  side: int
  rounds: int = 16  # of Griffin and Lim

  def setup(self) -> None:
    zeros = lambda: jnp.zeros(self.side)
    self.mean = self.variable('spectrum', 'mean', zeros)
    self.var = self.variable('spectrum', 'var', lambda: zeros() + 1)
    self.count = self.variable('spectrum', 'count', lambda: jnp.zeros(()))

  def encode(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Sounds -> pictures; where `train`, and the collection may change, after they were counted in."""
    level = jnp.log(jnp.abs(stft(x[..., 0], 2 * self.side))[..., :-1] + FLOOR)
    if train and self.is_mutable_collection('spectrum'):
      mean, n = level.mean((0, 1)), level.shape[0]
      var = level.var((0, 1))
      total = self.count.value + n
      share = n / total
      apart = mean - self.mean.value
      self.var.value += share * (var - self.var.value + (1 - share) * apart**2)
      self.mean.value += share * apart
      self.count.value = total
    scale = DEVIATIONS * jnp.sqrt(self.var.value)
    return jnp.clip((level - self.mean.value) / scale, -1, 1)[..., None]

  def decode(self, x: jax.Array) -> jax.Array:
    """Pictures -> sounds."""
    level = x[..., 0] * DEVIATIONS * jnp.sqrt(self.var.value) + self.mean.value
    magnitude = jnp.pad(jnp.exp(level), ((0, 0), (0, 0), (0, 1)))
    return griffin_lim(magnitude, 2 * self.side, self.rounds)[..., None]
