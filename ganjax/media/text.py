"""Texts: the numbers of their characters in Unicode, int32 [L], 0 after their end."""

import textwrap
from collections.abc import Iterable

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from ganjax.media.label import mirror, to_float  # noqa: F401

STORED = np.int32
WIDTH, HEIGHT, LETTERS, LINES = (
  96,
  64,
  17,
  5,
)  # of a picture of a text, in pixels, and what it has room for


def from_str(texts: Iterable[str], length: int) -> np.ndarray:
  """Strings -> int32 [n, length]; what is longer is cut."""
  rows = [np.frombuffer(text[:length].encode('utf-32-le'), np.int32) for text in texts]
  return np.stack([np.pad(row, (0, length - len(row))) for row in rows])


def to_str(x: np.ndarray) -> list[str]:
  """int32 [n, L] -> strings."""
  return [''.join(map(chr, row[row > 0])) for row in np.asarray(x)]


def show(x: np.ndarray) -> np.ndarray:
  """Black on white in a small type, uint8 [N, HEIGHT, WIDTH, 1]; a text that is too long ends in dots."""
  font = PIL.ImageFont.load_default(10)

  def draw(text):
    lines = textwrap.wrap(text, LETTERS, max_lines=LINES, placeholder='...')
    picture = PIL.Image.new('L', (WIDTH, HEIGHT), 255)
    PIL.ImageDraw.Draw(picture).multiline_text((3, 1), '\n'.join(lines), 0, font, spacing=1)
    return np.asarray(picture)

  return np.stack([draw(text) for text in to_str(x)])[..., None]
