"""Samples that start from pictures of any size, in tiles where those are large.

A picture is mirrored beyond its right and lower borders up to a multiple of what the networks take, and what is made of
that is cut off again. Tiles overlap by a quarter of their sides. Of the overlap the outer quarters, where a network
sees the end of the tile, are left out, and the inner half blends one tile into the next.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

OVERLAP = 4  # tiles share one part in so many of their sides


def enlarge(
  make: Callable[[np.ndarray], jax.Array | np.ndarray],
  picture: np.ndarray,
  *,
  multiple: int,
  tile: int,
) -> np.ndarray:
  """What `make` makes of a picture, tile by tile.

  Args:
    make: [h, w, C] -> [f h, f w, D], f a whole number, for sides that are multiples of `multiple`.
    picture: [H, W, C].
    multiple: see `make`.
    tile: the longest side that `make` is given, rounded up to a multiple.

  Returns:
    float32 [f H, f W, D].
  """
  height, width = picture.shape[:2]
  padded = mirror(picture, [-(-n // multiple) * multiple for n in (height, width)])
  side = -(-tile // multiple) * multiple
  sides = [min(side, n) for n in padded.shape[:2]]
  tops, lefts = (
    starts(n, own, own // OVERLAP, multiple) for n, own in zip(padded.shape[:2], sides)
  )
  done = total = None
  for top in tops:
    for left in lefts:
      made = np.asarray(make(padded[top : top + sides[0], left : left + sides[1]]), np.float32)
      factor = made.shape[0] // sides[0]
      if done is None:
        shape = [factor * n for n in padded.shape[:2]]
        done, total = np.zeros((*shape, made.shape[2]), np.float32), np.zeros(shape, np.float32)
      rows, columns = (
        ramp(factor * own, factor * (own // OVERLAP), at > 0, at + own < n)
        for at, own, n in zip((top, left), sides, padded.shape[:2])
      )
      weight = np.outer(rows, columns)
      place = tuple(slice(factor * at, factor * (at + own)) for at, own in zip((top, left), sides))
      done[place] += weight[..., None] * made
      total[place] += weight
  done /= total[..., None]
  return done[: factor * height, : factor * width]


def mirror(picture: np.ndarray, sides: Sequence[int]) -> np.ndarray:
  """The picture [h, w, C] with mirrored pixels to the right and below, of the sides given."""
  for axis, side in enumerate(sides):
    n = picture.shape[axis]
    period = np.arange(side) % max(2 * n - 2, 1)
    picture = picture.take(np.minimum(period, 2 * n - 2 - period) if n > 1 else period, axis)
  return picture


def starts(size: int, side: int, overlap: int, multiple: int) -> list[int]:
  """Where tiles of a side begin that cover `size`, with at least `overlap` in common; multiples where that can be."""
  step = (side - overlap) // multiple * multiple or side - overlap
  return [*range(0, size - side, step), size - side]


def ramp(side: int, overlap: int, before: bool, after: bool) -> np.ndarray:
  """Weights float32 [side] of a tile's pixels, which rise and fall where there is a tile `before` and `after`."""
  rise = np.clip((np.arange(side) + 0.5 - overlap / 4) / max(overlap / 2, 1), 0, 1)
  ones = np.ones(side)
  weights = np.minimum(rise if before else ones, rise[::-1] if after else ones)
  return weights.astype(np.float32)
