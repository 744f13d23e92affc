"""Whether pictures have the colours of the data as often: the bias of a generator that counting can see.

Colours fall into boxes, equal parts of the RGB cube or of the shades of grey.
"""

import numpy as np

SIDE = {1: 16, 3: 6}  # boxes along an axis, of grey and of RGB


def shares(x: np.ndarray) -> np.ndarray:
  """The share of the pixels of uint8 [N, H, W, C] in each box, float64 [16], or [216] of RGB. Alpha is left out."""
  channels = 1 if x.shape[3] == 1 else 3
  side = SIDE[channels]
  levels = x[..., :channels].astype(np.int64) * side // 256
  boxes = levels @ side ** np.arange(channels)[::-1]
  return np.bincount(boxes.ravel(), minlength=side**channels) / boxes.size


def distance(a: np.ndarray, b: np.ndarray) -> float:
  """The share of pixels that would have to change: total variation of two `shares`, from 0 to 1."""
  return float(np.abs(a - b).sum() / 2)


def largest(a: np.ndarray, b: np.ndarray, count: int = 5) -> dict[str, float]:
  """{'#ff8055': a's share minus b's} of the boxes that differ most, by the colours of their centres."""
  order = np.argsort(-np.abs(a - b), kind='stable')[:count]
  return {_name(box, len(a)): float(a[box] - b[box]) for box in order if a[box] != b[box]}


def _name(box, boxes) -> str:
  grey = boxes == SIDE[1]
  side = SIDE[1 if grey else 3]
  levels = [box] * 3 if grey else [box // side**2, box // side % side, box % side]
  return '#' + ''.join(f'{int((level + 0.5) * 256 / side):02x}' for level in levels)
