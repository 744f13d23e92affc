"""The pitch of sounds by YIN (de Cheveigne and Kawahara 2002, J. Acoust. Soc. Am. 111), which knows no synthesis."""

import re
from collections.abc import Sequence

import numpy as np

from ganjax import UserError

THRESHOLD = (
  0.15  # of the normalised difference, at which a lag counts as a period; the paper's is 0.1
)
NOTES = {'C': 0, 'D': 2, 'E': 4, 'F': 5, 'G': 7, 'A': 9, 'B': 11}


def midi(name: str) -> int:
  """'A4' -> 69, 'C#5' -> 73. Raises UserError for another name."""
  found = re.fullmatch(r'([A-G])(#?)(-?\d+)', name)
  if not found:
    raise UserError(f'pitch needs classes that are notes, such as A4 or C#5, and there is {name!r}')
  letter, sharp, octave = found.groups()
  return NOTES[letter] + len(sharp) + 12 * (int(octave) + 1)


def track(
  x: np.ndarray, rate: float, lowest: float = 50.0, highest: float | None = None
) -> np.ndarray:
  """The median pitch of sounds float [N, T], in Hertz, 0 where nothing repeats: float64 [N].

  Args:
    x: sounds of one channel.
    rate: samples a second.
    lowest, highest: Hertz between which periods are looked for; by default up to a quarter of the rate.
  """
  longest = min(int(rate / lowest), x.shape[1] // 3)
  shortest = max(2, int(rate / (highest or rate / 4)))
  frame = 2 * longest
  starts = np.arange(0, x.shape[1] - frame + 1, max(1, longest // 2))
  return np.array([_median(one, starts, frame, shortest, longest, rate) for one in x])


def _median(x, starts, frame, shortest, longest, rate):
  frames = np.stack([x[start : start + frame] for start in starts]).astype(np.float64)
  energy = (frames**2).sum(1)
  # Those a hundredth as strong as the strongest say nothing.
  frames = frames[energy > 1e-2 * max(energy.max(), 1e-12)]
  if not len(frames):
    return 0.0
  periods = [_period(one, shortest, longest) for one in frames]
  heard = [period for period in periods if period]
  return float(rate / np.median(heard)) if 2 * len(heard) > len(periods) else 0.0


def _period(x, shortest, longest):
  """Samples of the first period, between whole ones, or 0 (the paper's steps 2 to 5)."""
  half = len(x) - longest
  size = 2 ** int(np.ceil(np.log2(2 * len(x))))
  product = np.fft.irfft(np.fft.rfft(x, size) * np.conj(np.fft.rfft(x[:half], size)), size)
  squares = np.concatenate([[0], np.cumsum(x**2)])
  lags = np.arange(longest)
  difference = squares[half] + squares[lags + half] - squares[lags] - 2 * product[:longest]
  difference = np.maximum(difference, 0)
  mean = np.cumsum(difference) / np.maximum(lags, 1)
  normalized = np.where(lags > 0, difference / np.maximum(mean, 1e-12), 1)
  below = np.flatnonzero(normalized[shortest:-1] < THRESHOLD) + shortest
  if not len(below):
    return 0
  lag = below[0]
  while lag + 2 < longest and normalized[lag + 1] < normalized[lag]:
    lag += 1
  a, b, c = normalized[lag - 1 : lag + 2]
  bend = a - 2 * b + c
  return lag + (0.5 * (a - c) / bend if bend > 1e-12 else 0)


def accuracy(x: np.ndarray, rate: float, wanted: Sequence[int] | np.ndarray) -> float:
  """The share of sounds float [N, T] whose nearest semitone is that of `wanted`, MIDI numbers [N]."""
  hertz = track(x, rate)
  found = 69 + 12 * np.log2(np.maximum(hertz, 1) / 440)
  return float(np.mean(np.round(found) == np.asarray(wanted)))
