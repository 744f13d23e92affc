"""Kinds of data: one file a kind says how it is stored, computed with, shown and written.

  kind     stored                  in losses              a grid shows             files
  image    uint8 [H, W, C]         float32 in [-1, 1]     the pictures             PNG
  clip     uint8 [T, H, W, C]      float32 in [-1, 1]     the frames in a row      GIF
  sound    int16 [T, C]            float32 in [-1, 1)     waveform, spectrogram    WAV
  solid    bool [X, Y, Z, C]       float32, -1 or 1       a view                   OBJ
  roll     bool [T, P, V]          float32, -1 or 1       the piano roll           MIDI, WAV
  molecule bool [N, A + 4 N]       float32, 0 to 1        drawings                 SMILES
  line     uint8 [L], ASCII        float32 [L, 96]        the text                 text
  text     int32 [L]               the same (letters)     the text
  label    int32 []                the same
  vector   float32 [...]           the same (embeddings)
  flow     float32 [T, H, W, 2]    the same (pixels)

A file has STORED, its dtype; `to_float(x)` and `mirror(x)`, traced, of batches. Kinds that a network makes also have
`to_stored(x)`, the reverse on the host; `show(x)`, pictures uint8 [N, H, W, C] of stored ones [N, ...]; ENDING, and
`save(path, x, text, rate)`, which writes a stored one as such a file with metadata.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ganjax import UserError

MOST_PIXELS = 2**14


class Field(NamedTuple):
  """What one field of an example is."""

  kind: str  # a file in this folder
  shape: tuple[int, ...]  # of one example
  # Samples of a sound, or frames of a clip, a second; steps of a roll a beat.
  rate: int | None = None

  @property
  def dtype(self) -> np.dtype:
    """As it is stored and read."""
    return np.dtype(find(self.kind).STORED)


def find(kind: str) -> ModuleType:
  """The module of a kind."""
  return importlib.import_module(f'ganjax.media.{kind}')


def sides(resolution: int | Sequence[int]) -> tuple[int, int]:
  """(height, width) in pixels of a `resolution`: a whole number, the side of a square, or such a pair.

  Raises:
    UserError: neither.
  """
  pair = resolution if isinstance(resolution, (tuple, list)) else (resolution, resolution)
  whole = [isinstance(n, (int, np.integer)) and 0 < n <= MOST_PIXELS for n in pair]
  if len(pair) != 2 or not all(whole):
    raise UserError(
      f'data.resolution={resolution!r} must be a number of pixels from 1 to {MOST_PIXELS}, or a pair of such, '
      '(height, width)'
    )
  return tuple(map(int, pair))


def simplest(resolution: int | Sequence[int]) -> int | tuple[int, int]:
  """A `resolution` as configurations and records have it: a number where it is square, else (height, width)."""
  height, width = sides(resolution)
  return height if height == width else (height, width)
