"""Sounds: int16 [T, C], samples of one channel or two; floats in [-1, 1) in losses."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # whose parts load where they are used: `signal` takes as long as JAX

from ganjax import UserError
from ganjax.media import xmp
from ganjax.workdir.files import replace_file

STORED, ENDING = np.int16, '.wav'
WIDTH, HEIGHT, WINDOW = (
  192,
  64,
  256,
)  # of a picture of a sound, in pixels; of its spectrogram, in samples


def to_float(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """int16 -> float32 in [-1, 1), x / 32768; floats stay."""
  return x.astype(jnp.float32) / 32768 if x.dtype == jnp.int16 else x


def mirror(x: jax.Array) -> jax.Array:
  """A sound has no left and right that may be exchanged."""
  return x


def to_stored(x: jax.Array | np.ndarray) -> np.ndarray:
  """float [..., T, C] -> int16, x 32768 rounded; beyond [-1, 1) it saturates. Raises UserError at NaN or infinity."""
  x = np.asarray(x, np.float32)
  if not np.isfinite(x).all():
    raise UserError('generated sounds hold NaN or Inf: the generator has diverged')
  return np.clip(np.round(x * 32768), -32768, 32767).astype(np.int16)


def show(x: np.ndarray) -> np.ndarray:
  """Waveform above spectrogram, uint8 [N, 2 HEIGHT, WIDTH, 1]; time runs to the right, frequency up.

  A spectrogram has 80 dB from black to white, which is its loudest place. Channels are added up.
  """
  return np.stack([np.concatenate([_wave(one), _spectrogram(one)]) for one in x])[..., None]


def _wave(x):
  """White between the least and the greatest sample of each of WIDTH stretches."""
  x = x.astype(np.float32).mean(-1) / 32768
  stretches = (
    np.array_split(x, WIDTH)
    if len(x) >= WIDTH
    else [x[i : i + 1] for i in np.arange(WIDTH) * len(x) // WIDTH]
  )
  low, high = (np.array([f(part) for part in stretches]) for f in (np.min, np.max))
  level = 1 - 2 * (np.arange(HEIGHT)[:, None] + 0.5) / HEIGHT
  half = 1 / HEIGHT  # a line is a pixel thick
  return np.where((level <= high + half) & (level >= low - half), 255, 24).astype(np.uint8)


def _spectrogram(x):
  x = x.astype(np.float32).mean(-1)
  window = min(WINDOW, len(x))
  power = np.abs(scipy.signal.stft(x, nperseg=window, noverlap=window * 3 // 4)[2])
  decibels = 20 * np.log10(power / max(power.max(), 1e-9) + 1e-9)
  rows = np.arange(HEIGHT)[::-1] * len(power) // HEIGHT
  columns = np.arange(WIDTH) * power.shape[1] // WIDTH
  return np.clip(255 * (1 + decibels[rows][:, columns] / 80), 0, 255).astype(np.uint8)


def save(path: Path, x: np.ndarray, text: dict, rate: int | None = None) -> None:
  """A WAV of `rate` samples a second (by default 16,000); `text` is its comment (RIFF's INFO, ICMT), as JSON.

  Raises UserError where it cannot be written; `path` is never left half written.
  """
  comment = json.dumps(text).encode() + b'\0'
  comment += b'\0' * (len(comment) % 2)
  size = lambda content: len(content).to_bytes(4, 'little') + content
  with replace_file(path) as file:
    scipy.io.wavfile.write(file, rate or 16_000, x)
    file.seek(0, 2)
    file.write(b'LIST' + size(b'INFOICMT' + size(comment)) + xmp.wav_chunk(text))
    end = file.tell()
    file.seek(4)
    file.write((end - 8).to_bytes(4, 'little'))
    file.seek(end)
