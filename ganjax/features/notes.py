"""Features of sounds: a small network that classifies pitch and instrument of notes from log-mel spectrograms.

`benchmarks/notes_classifier.py` trains it on procedural notes (data/sets/notes.py) and writes `FILE`. The
metadata have its accuracy, the command and the commit. The features are the input of its last two layers. `fd_notes` is
the Frechet distance on them. Its values are comparable only with each other.
"""

import functools
import hashlib
import math
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import scipy
from flax import traverse_util

from ganjax.layers.conv import Conv

FILE = Path(__file__).with_suffix('.safetensors')
RATE = 16_000  # samples a second
WINDOW, HOP = 1024, 256  # samples of a spectrum, and from one to the next
BANDS = 64  # of the mel scale
FLOOR = 1e-3  # added to magnitudes before the logarithm, of a full scale of 1
PITCHES, INSTRUMENTS = 48, 3
LOWEST = 48  # MIDI number of the first pitch


def spectrogram(x: jax.Array) -> jax.Array:
  """Log-mel levels [B, 1 + ceil(T / HOP), BANDS] of sounds [B, T] of RATE: log10(magnitude + FLOOR) + 2.

  Spectra are those of `scipy.signal.stft`: periodic Hann windows, zeros around the sound, half its amplitude for a
  sine. Magnitudes are added up by triangles of equal width in mel, 2595 log10(1 + f / 700), from 0 Hz to RATE / 2.
  """
  frames = 1 + -(-x.shape[1] // HOP)
  after = (frames - 1) * HOP - x.shape[1] + WINDOW // 2
  x = jnp.pad(x, ((0, 0), (WINDOW // 2, after)))
  window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)
  x = x[:, np.arange(frames)[:, None] * HOP + np.arange(WINDOW)] * (window / window.sum())
  magnitude = jnp.abs(jnp.fft.rfft(x)) @ _triangles()
  return jnp.log10(magnitude + FLOOR) + 2


def _triangles():
  """Float32 [WINDOW / 2 + 1, BANDS]: how much of each frequency a band takes."""
  mel = 2595 * np.log10(1 + np.arange(WINDOW // 2 + 1) * RATE / WINDOW / 700)
  at = mel * (BANDS + 1) / mel[-1]  # band k has its peak at k + 1
  return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(1, BANDS + 1))).astype(np.float32)


class Classifier(nn.Module):
  """Sounds [B, T] of RATE in [-1, 1] -> 'features' [B, 64], 'pitch' [B, PITCHES], 'instrument' [B, INSTRUMENTS]."""

  @nn.compact
  def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
    x = spectrogram(x)[..., None]
    for channels in (16, 32, 64):
      kernel_init = nn.initializers.he_normal()
      x = nn.relu(Conv(channels, 3, stride=2, padding=1, kernel_init=kernel_init)(x))
    x = x.mean(1)  # over time, so that sounds may be of any length
    features = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
    return {
      'features': features,
      'pitch': nn.Dense(PITCHES, name='pitch')(features),
      'instrument': nn.Dense(INSTRUMENTS, name='instrument')(features),
    }


@functools.cache
def load() -> tuple[dict, dict]:
  """(parameters, float32; {'network', 'weights_sha256', 'rate'}, for records)."""
  content = FILE.read_bytes()
  params = {k: x.astype(np.float32) for k, x in safetensors.numpy.load(content).items()}
  about = {'network': 'notes', 'weights_sha256': hashlib.sha256(content).hexdigest(), 'rate': RATE}
  return traverse_util.unflatten_dict(params, sep='/'), about


def resample(x: np.ndarray, rate: int) -> np.ndarray:
  """Sounds float [N, T] of `rate` samples a second -> float32 [N, ceil(T RATE / rate)]."""
  common = math.gcd(RATE, rate)
  return scipy.signal.resample_poly(x, RATE // common, rate // common, axis=1).astype(np.float32)
