"""What MuseGAN counts in piano rolls (Dong et al. 2018, arXiv:1709.06298, section 5), of rolls bool [N, T, P, V].

Each is to be compared with that of the data: neither high nor low is good. Tonal distance is that of Harte, Sandler and
Gasser 2006 (Detecting harmonic change in musical audio, section 2.2).
"""

import itertools

import numpy as np

from ganjax.media import roll

MAJOR = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))
SCALES = np.array([np.roll(MAJOR, key) for key in range(12)])


def bars_of(x: np.ndarray, steps: int) -> np.ndarray:
  """Rolls of `steps` steps a beat -> bars [N, bars, steps of a bar, P, V]."""
  bar = steps * roll.BEATS
  return x.reshape(len(x), x.shape[1] // bar, bar, *x.shape[2:])


def chroma(x: np.ndarray) -> np.ndarray:
  """How often each pitch class sounds, [..., P, V] -> [..., 12, V]. The first pitch is a C."""
  return x.reshape(*x.shape[:-2], -1, 12, x.shape[-1]).sum(-3)


def empty_bars(x: np.ndarray, steps: int) -> float:
  """The share of the bars of a voice in which it is silent."""
  return float(1 - bars_of(x, steps).any((2, 3)).mean())


def pitch_classes(x: np.ndarray, steps: int) -> float:
  """Pitch classes of a voice in a bar that is not empty, on average: 1 to 12; NaN where all are."""
  bars = bars_of(roll.pitched(x), steps)
  used = (chroma(bars.any(2)) > 0).sum(-2)
  return _mean(used[used > 0])


def qualified(x: np.ndarray, steps: int) -> float:
  """The share of notes of a 32nd note, an eighth of a beat, and of two steps at least; NaN without notes."""
  least, lengths = max(2, -(-steps // 8)), []
  for one in x:
    _, _, start, end = roll.notes(one).T
    lengths.append(end - start)
  return _mean(np.concatenate(lengths) >= least)


def in_scale(x: np.ndarray) -> float:
  """The share of a roll's sounding steps that lie in the major scale which holds most of them, averaged over rolls."""
  counts = chroma(roll.pitched(x)).sum((1, 3))
  total = counts.sum(1)
  best = (counts @ SCALES.T.astype(int)).max(1)
  return _mean(best[total > 0] / total[total > 0])


def tonal_distance(x: np.ndarray, steps: int) -> float:
  """The distance of two voices in tonal space, averaged over beats in which both sound, and over pairs of voices.

  0 is the same pitch classes. NaN where there are no two voices that sound together.
  """
  n = np.arange(12)[:, None] * np.pi
  turns, radii = np.array([7 / 6, 3 / 2, 2 / 3]), np.array([1, 1, 0.5])
  space = np.concatenate([radii * np.sin(turns * n), radii * np.cos(turns * n)], 1)
  x = roll.pitched(x)
  beats = chroma(x).reshape(-1, steps, 12, x.shape[-1]).sum(1)
  total = beats.sum(1)
  places = np.einsum('bcv,cd->bvd', beats / np.maximum(total, 1)[:, None], space)
  found = []
  for i, k in itertools.combinations(range(x.shape[-1]), 2):
    both = (total[:, i] > 0) & (total[:, k] > 0)
    found.append(np.linalg.norm(places[both, i] - places[both, k], axis=-1))
  return _mean(np.concatenate(found)) if found else float('nan')


def _mean(x) -> float:
  return float(np.mean(x)) if len(x) else float('nan')
