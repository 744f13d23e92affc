"""Lines of text: uint8 [L], codes of ASCII with 0 after their end; in losses float32 [L, 96], shares of each character.

Column 0 is the end, column k the character of code 31 + k: real lines have a single 1 at each place.
"""

import json
import unicodedata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganjax import UserError
from ganjax.media.label import mirror  # noqa: F401
from ganjax.workdir.files import replace_file

STORED, ENDING, SYMBOLS = np.uint8, '.txt', 96
HEIGHT, WIDTH = 14, 7  # of a character in a picture of a line, in pixels


def encode(text: str, length: int) -> np.ndarray:
  """uint8 [length]: accents are dropped, what is then no printable ASCII is '?', and what is too long is cut off."""
  plain = unicodedata.normalize('NFKD', text)
  plain = ''.join(c for c in plain if not unicodedata.combining(c)).replace('\t', ' ')[:length]
  codes = [ord(c) if 32 <= ord(c) < 127 else ord('?') for c in plain]
  return np.pad(np.array(codes, np.uint8), (0, length - len(codes)))


def decode(x: np.ndarray) -> str:
  """The text of a stored line, up to its first end."""
  text = bytes(np.asarray(x, np.uint8)).partition(b'\0')[0]
  return text.decode('ascii')


def to_float(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """uint8 [..., L] -> float32 [..., L, 96] of 0 and 1; floats stay."""
  if x.dtype != jnp.uint8:
    return x
  return jax.nn.one_hot(jnp.maximum(x.astype(jnp.int32) - 31, 0), SYMBOLS, dtype=jnp.float32)


def to_stored(x: jax.Array | np.ndarray) -> np.ndarray:
  """float [..., L, 96] -> uint8 [..., L], the likeliest characters. Raises UserError at NaN or infinity."""
  x = np.asarray(x, np.float32)
  if not np.isfinite(x).all():
    raise UserError('generated lines hold NaN or Inf: the generator has diverged')
  best = x.argmax(-1)
  return np.where(best, best + 31, 0).astype(np.uint8)


def show(x: np.ndarray) -> np.ndarray:
  """Written out, dark on light, uint8 [N, HEIGHT, WIDTH (L + 2), 1]."""
  font, out = ImageFont.load_default(), []
  for one in x:
    picture = Image.new('L', (WIDTH * (x.shape[1] + 2), HEIGHT), 255)
    draw = ImageDraw.Draw(picture)
    for i, letter in enumerate(decode(one)):
      draw.text(((i + 1) * WIDTH, 1), letter, 0, font)
    out.append(np.asarray(picture)[..., None])
  return np.stack(out)


def save(path: Path, x: np.ndarray, text: dict, rate: int | None = None) -> None:
  """A text file: the line, then `text` as JSON after a '#'. Raises UserError where it cannot be written."""
  with replace_file(path) as file:
    file.write(f'{decode(x)}\n# {json.dumps(text)}\n'.encode())
