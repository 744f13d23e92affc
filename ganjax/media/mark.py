"""An invisible watermark in the pixels of pictures, which survives the loss of metadata, and its detector.

The watermark is a tile of 32x32 pixels: waves of medium length with fixed phases. It is added to the brightness
repeatedly, more strongly where a picture is busy. It is the spread spectrum of Cox et al. 1997 (10.1109/83.650120) with
a tile that repeats, so that correlation finds a crop (Kalker et al. 1999, 10.1117/12.344660). It shows that ganjax made
a picture, and nothing else. It does not resist somebody who wants to remove it.

The detector sums the tiles of a picture, and compares the phases of the sum with the watermark's, at every shift. In a
picture without it the differences are random, and the sum of their cosines is a normal variable. Its tail is the
probability that a picture without the watermark looks as marked as this one.
"""

from typing import NamedTuple

import numpy as np
import scipy
from PIL import Image

SIDE = 32  # pixels of the tile
SHORTEST, LONGEST = (
  32 / 9,
  32 / 3,
)  # wave lengths in pixels: JPEG drops shorter ones, pictures are full of longer ones
FLAT, BUSY, MOST = (
  2.0,
  0.15,
  8.0,
)  # strength in grey levels, per standard deviation of 7x7 pixels, at most
CHANCE = 1e-6  # of a picture without the mark that is called marked
LARGEST, SEARCHED = (
  512,
  256,
)  # pixels of a side that are looked at: of the picture's own size, and of others
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class Found(NamedTuple):
  """Attributes:
  chance: that a picture without the mark looks as marked as this one, in all sizes that were tried.
  scale: of the size at which the mark was sought to that of the picture.
  """

  chance: float
  scale: float

  @property
  def marked(self) -> bool:
    return self.chance < CHANCE


def _waves():
  """(whether a frequency of the tile is one of the mark's, bool [SIDE, SIDE], a half plane; its spectrum)."""
  along = np.fft.fftfreq(SIDE)
  y, x = np.meshgrid(along, along, indexing='ij')
  length = 1 / np.maximum(np.hypot(y, x), 1e-9)
  chosen = (length > SHORTEST) & (length <= LONGEST) & ((y > 0) | ((y == 0) & (x > 0)))
  # NumPy promises the same raw stream of a bit generator for ever.
  draws = np.random.Philox(key=np.array([2026, 0], np.uint64)).random_raw(SIDE * SIDE)
  turns = draws.reshape(SIDE, SIDE) / 2.0**64
  return chosen, np.where(chosen, np.exp(2j * np.pi * turns), 0)


_CHOSEN, _SPECTRUM = _waves()
_TILE = np.fft.ifft2(_SPECTRUM).real
_TILE /= _TILE.std()


def add(pictures: np.ndarray) -> np.ndarray:
  """Marks pictures uint8 [..., H, W, C] of 1, 3 or 4 channels; opacity stays."""
  x = pictures.astype(np.float64)
  grey = _grey(x)
  mean = lambda y: scipy.ndimage.uniform_filter(y, (*(0,) * (y.ndim - 2), 7, 7))
  spread = np.sqrt(np.maximum(mean(grey**2) - mean(grey) ** 2, 0))
  strength = np.minimum(FLAT + BUSY * spread, MOST)
  height, width = grey.shape[-2:]
  tiles = np.tile(_TILE, (-(-height // SIDE), -(-width // SIDE)))[:height, :width]
  x[..., : min(3, x.shape[-1])] += (strength * tiles)[..., None]
  return np.clip(np.round(x), 0, 255).astype(np.uint8)


def find(picture: np.ndarray, resized: bool = False) -> Found:
  """Looks for the mark in a picture uint8 [H, W, C]; of large ones in the middle.

  Args:
    resized: also at every size from half to twice the picture's, a pixel of its longer side apart, in case it was
      resized since: seconds for each picture.
  """
  grey = _grey(picture.astype(np.float64))
  tried = [(_score(_middle(grey, LARGEST)), 1.0)]
  if resized:
    part = _middle(grey, SEARCHED)
    longest = max(part.shape)
    scales = [n / longest for n in range(max(SIDE, longest // 2), 2 * longest + 1)]
    tried += [(_score(_resize(part, scale)), scale) for scale in scales]
  best, scale = max(tried)
  chance = SIDE**2 * len(tried) * scipy.stats.norm.sf(best)
  return Found(float(min(1.0, chance)), scale)


def _middle(grey, most):
  top, left = (max(0, (n - most) // 2) for n in grey.shape)
  return grey[top : top + most, left : left + most]


def _grey(x):
  return x[..., :3] @ _LUMA if x.shape[-1] >= 3 else x[..., 0]


def _resize(grey, scale):
  size = [max(1, round(n * scale)) for n in grey.shape[::-1]]
  image = Image.fromarray(grey.astype(np.float32))
  return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float64)


def _score(grey) -> float:
  """The largest of the normal variables of all shifts of the tile."""
  fine = np.clip(grey - scipy.ndimage.gaussian_filter(grey, 3), -8, 8)  # no edge outshouts the mark
  short = [(0, -n % SIDE) for n in fine.shape]
  height, width = (n + more for n, (_, more) in zip(fine.shape, short))
  tiles = np.pad(fine, short).reshape(height // SIDE, SIDE, width // SIDE, SIDE)
  spectrum = np.fft.fft2(tiles.sum((0, 2)))
  phases = spectrum / np.maximum(np.abs(spectrum), 1e-9) * _SPECTRUM.conj()
  sums = np.fft.ifft2(phases).real * SIDE**2  # of as many cosines as there are frequencies
  return sums.max() / np.sqrt(_CHOSEN.sum() / 2)
