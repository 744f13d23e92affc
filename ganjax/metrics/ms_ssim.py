"""Multi-scale SSIM, and the diversity of a set of images by it: near 1 where a generator has collapsed.

Wang et al. 2003, "Multi-scale structural similarity for image quality assessment", equation (7) and section 3.2;
over pairs of fakes: Odena et al. 2016, arXiv:1610.09585, section 4.2. In float64.
"""

import numpy as np

from ganjax import UserError
from ganjax.metrics import ssim

WEIGHTS = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333
BATCH = 64  # pairs compared at once


def ms_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Multi-scale similarity of pairs, float64 [B], the mean over channels.

  a, b: [B, H, W, C] of 0 to 255, any type. As compare_gan's: a scale halves the one before by 2x2 means, odd sides
  repeat their last row; means under 0 count as 0; at a scale smaller than the window of 11 pixels the window shrinks to
  fit. So any size has a value, but under 176 pixels one of this convention: others refuse such images.
  """
  if a.shape != b.shape or a.ndim != 4:
    raise UserError(
      f'pairs of images must be [B, H, W, C] of one shape; got {a.shape} and {b.shape}'
    )
  a, b = (np.asarray(x, np.float64) for x in (a, b))
  product = 1.0
  for scale, weight in enumerate(WEIGHTS):
    if scale:
      a, b = _halve(a), _halve(b)
    luminance, structure = ssim.compare(a, b, min(ssim.WINDOW, *a.shape[1:3]))
    found = luminance * structure if scale == len(WEIGHTS) - 1 else structure
    product = product * found.mean((1, 2)).clip(0) ** weight
  return product.mean(1)


def diversity(images: np.ndarray, pairs: int, seed: int) -> float:
  """Mean of ms_ssim over random pairs of different images, a float: the lower, the more diverse.

  images: uint8 [N, H, W, C]; pairs: how many; seed of the draws. UserError if there are fewer than 2 images.
  """
  n = len(images)
  if n < 2:
    raise UserError('diversity compares pairs: evaluate at least 2 images')
  rng = np.random.default_rng(seed)
  first = rng.integers(n, size=pairs)
  second = (first + 1 + rng.integers(n - 1, size=pairs)) % n
  found = [
    ms_ssim(images[first[i : i + BATCH]], images[second[i : i + BATCH]])
    for i in range(0, pairs, BATCH)
  ]
  return float(np.concatenate(found).mean())


def _halve(x):
  h, w = x.shape[1:3]
  x = np.pad(x, [(0, 0), (0, h % 2), (0, w % 2), (0, 0)], 'edge')
  return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
