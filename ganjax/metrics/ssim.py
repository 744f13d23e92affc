"""PSNR and SSIM of pairs of images, as super-resolution reports them.

Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", sections III.B and C: the
Gaussian window where it fits wholly, as MATLAB's ssim_index.m and BasicSR compute it. In float64.
"""

import numpy as np

from ganjax import UserError

WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(a: np.ndarray, b: np.ndarray, *, crop: int = 0, luma: bool = False) -> np.ndarray:
  """Peak signal-to-noise ratio in dB, float64 [B]; infinity for equal images.

  a, b: uint8 [B, H, W, C]. crop: pixels taken off each border first, in super-resolution the scale. luma: on Y of
  BT.601, 16 to 235, of RGB images, not rounded. UserError if shapes or types are others.
  """
  a, b = _prepare(a, b, crop, luma, 1)
  error = np.mean((a - b) ** 2, (1, 2, 3))
  with np.errstate(divide='ignore'):
    return 10 * np.log10(255**2 / error)


def ssim(a: np.ndarray, b: np.ndarray, *, crop: int = 0, luma: bool = False) -> np.ndarray:
  """Structural similarity, float64 [B]: the mean over positions and channels. Arguments as for psnr.

  UserError also where less than 11 pixels are left a side.
  """
  a, b = _prepare(a, b, crop, luma, WINDOW)
  luminance, structure = compare(a, b, WINDOW)
  return (luminance * structure).mean((1, 2, 3))


def compare(a: np.ndarray, b: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
  """(luminance, contrast times structure), the factors of equation (13): each [B, H - size + 1, W - size + 1, C].

  a, b: float64 [B, H, W, C] of 0 to 255; size: pixels of the Gaussian window's side.
  """
  taps = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / SIGMA) ** 2)
  taps /= taps.sum()
  blur = lambda x: _filter(_filter(x, taps, 1), taps, 2)
  mean_a, mean_b = blur(a), blur(b)
  both, squares = 2 * mean_a * mean_b, mean_a**2 + mean_b**2
  structure = (2 * blur(a * b) - both + C2) / (blur(a * a + b * b) - squares + C2)
  return (both + C1) / (squares + C1), structure


def _filter(x, taps, axis):
  n = x.shape[axis] - len(taps) + 1
  part = lambda i: x[:, i : i + n] if axis == 1 else x[:, :, i : i + n]
  return sum(tap * part(i) for i, tap in enumerate(taps))


def _prepare(a, b, crop, luma, least):
  a, b = np.asarray(a), np.asarray(b)
  if a.shape != b.shape or a.ndim != 4 or a.dtype != np.uint8 or b.dtype != np.uint8:
    raise UserError(
      f'pairs of images must be uint8 [B, H, W, C] of one shape; got {a.dtype} {a.shape} and {b.dtype} {b.shape}'
    )
  if min(a.shape[1:3]) - 2 * crop < least:
    raise UserError(
      f'images of {a.shape[1]}x{a.shape[2]} less {crop} pixels a side are under {least} pixels'
    )
  if luma and a.shape[3] != 3:
    raise UserError(f'luma is of RGB images; these have {a.shape[3]} channels')
  inside = slice(crop, -crop or None)
  a, b = (x[:, inside, inside].astype(np.float64) for x in (a, b))
  if luma:
    weights = np.array([65.481, 128.553, 24.966]) / 255
    a, b = (x @ weights[:, None] + 16 for x in (a, b))
  return a, b
