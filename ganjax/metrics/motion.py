"""How the drawing of a clip moves, held against paths that fly straight and bounce off the borders.

The paths are those of Srivastava et al. 2015 (arXiv:1502.04681, section 3.1), of one drawing, see
`data/sets/moving.py`. Places are in pixels, rows before columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ganjax.data.sets.moving import reflect

FAINT = 32  # grey levels: what differs from the ground by no more is ground
STEADY = 1.0  # pixels that a step at constant velocity may be off, as drawings lie on whole pixels
_START = 0.25  # pixels between paths that are tried
_CHUNK = 64  # clips at a time


class Motion(NamedTuple):
  """What is said of the motion in a set of clips.

  Attributes:
    speed: the mean length of a step, in pixels a frame.
    steady: the share of steps off the borders that equal those of the nearest path, to STEADY pixels.
    bounce_error: the distance from the nearest path, in pixels, as the root mean square over a clip; the mean of clips.
    blank: the share of clips with a frame that has no drawing. The other three leave these clips out.
  """

  speed: float
  steady: float
  bounce_error: float
  blank: float


def measure(paths: np.ndarray, room: Sequence[float], speed: Sequence[float]) -> Motion:
  """The motion of drawings.

  Args:
    paths: float64 [N, T, 2], of `positions`; T >= 3.
    room, speed: as in `fit`.

  Returns:
    Motion. Its first three are NaN where all clips are blank.
  """
  seen = np.isfinite(paths).all((1, 2))
  blank, paths = float(1 - seen.mean()), paths[seen]
  if not len(paths):
    return Motion(np.nan, np.nan, np.nan, blank)
  nearest, turns = fit(paths, room, speed)
  steps = np.diff(paths, axis=1)
  wrong = np.linalg.norm(steps - np.diff(nearest, axis=1), axis=2)
  distances = np.sqrt(((paths - nearest) ** 2).sum(2).mean(1))
  return Motion(
    float(np.linalg.norm(steps, axis=2).mean()),
    float((wrong[~turns] <= STEADY).mean()) if not turns.all() else np.nan,
    float(distances.mean()),
    blank,
  )


def positions(clips: np.ndarray, ground: int) -> np.ndarray:
  """Clips uint8 [N, T, H, W, C] -> centres of what differs from the ground, float64 [N, T, 2]; NaN where nothing does.

  A pixel weighs as much as the channel that differs most.
  """
  out = np.full((*clips.shape[:2], 2), np.nan)
  for at, clip in zip(out, clips):
    mass = np.abs(clip.astype(np.int16) - ground).max(-1)
    mass = np.where(mass > FAINT, mass, 0).astype(float)
    rows, columns = mass.sum(2), mass.sum(1)
    whole = rows.sum(1)
    there = whole > 0
    for axis, along in enumerate((rows, columns)):
      at[there, axis] = along[there] @ np.arange(along.shape[1]) / whole[there]
  return out


def fit(
  paths: np.ndarray, room: Sequence[float], speed: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
  """The nearest paths that reflect at borders.

  A centre has its own offset from the corner of its drawing, so borders are `room` apart and may lie anywhere. Paths
  are tried on a grid: of velocities that part by half a pixel over the clip, and of starts.

  Args:
    paths: float [N, T, 2].
    room: pixels between the borders, of rows and of columns: the frame's sides less the drawing's.
    speed: pixels a frame that a path may have, from the slowest to the fastest.

  Returns:
    The nearest paths [N, T, 2], and bool [N, T - 1], the steps in which they turn.
  """
  length = paths.shape[1]
  speeds = np.linspace(0, speed[1], int(np.ceil(2 * speed[1] * length)) + 1)
  both = np.hypot(speeds[:, None], speeds)
  slack = speeds[1] / 2
  forbidden = (both < speed[0] - slack) | (both > speed[1] + slack)
  free = [
    np.arange(0, 2 * side, _START)[:, None] + speeds[:, None, None] * np.arange(length)
    for side in room
  ]  # [speeds, starts, T]
  tried = [reflect(x, side) for x, side in zip(free, room)]
  tried = [x - x.mean(-1, keepdims=True) for x in tried]
  nearest, turns = np.empty_like(paths), np.empty((len(paths), length - 1), bool)
  for start in range(0, len(paths), _CHUNK):
    rows = slice(start, start + _CHUNK)
    some = paths[rows]
    middle = some.mean(1, keepdims=True)
    errors, starts = zip(*(_errors((some - middle)[..., k], tried[k]) for k in (0, 1)))
    total = errors[0][:, :, None] + errors[1][:, None]
    total[:, forbidden] = np.inf
    chosen = np.unravel_index(total.reshape(len(some), -1).argmin(1), both.shape)
    turned = False
    for k, speed_at in enumerate(chosen):
      at = speed_at, starts[k][np.arange(len(some)), speed_at]
      nearest[rows, :, k] = tried[k][at] + middle[..., k]
      turned |= np.diff(np.floor(free[k][at] / room[k]), axis=1) != 0
    turns[rows] = turned
  return nearest, turns


def _errors(paths, tried):
  """Squared distances of paths [n, T] from those [V, A, T]: the least over A and where it is, two arrays [n, V]."""
  flat = tried.reshape(-1, tried.shape[-1]).astype(np.float32)
  found = (flat**2).sum(1) - 2 * paths.astype(np.float32) @ flat.T
  found = found.reshape(len(paths), *tried.shape[:2])
  return found.min(2), found.argmin(2)
