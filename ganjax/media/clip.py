"""Clips of pictures: uint8 [T, H, W, C]; floats in [-1, 1] in losses."""

from pathlib import Path

import numpy as np

from ganjax.media import image
from ganjax.media.image import STORED, mirror, to_float, to_stored  # noqa: F401

ENDING = '.gif'


def show(x: np.ndarray) -> np.ndarray:
  """Filmstrips: the frames of a clip side by side, uint8 [N, H, T W, C]."""
  n, t, h, w, c = x.shape
  return np.swapaxes(x, 1, 2).reshape(n, h, t * w, c)


def save(path: Path, x: np.ndarray, text: dict, rate: int | None = None) -> None:
  """A GIF that repeats for ever, of `rate` frames a second (by default 20), see `image.save_gif`."""
  image.save_gif(path, x, text, 1000 / (rate or 20))
