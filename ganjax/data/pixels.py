"""From any picture to a uint8 array of one size: the one preprocessing of every data set.

Alpha is composited on white, 16-bit grey is rounded to 8 bits, every colour space becomes RGB or grey
(ITU-R 601-2 luma), the largest centre of the wanted proportions (a square, mostly) is cut out and resized
with Pillow's Lanczos filter, whose support grows with the reduction (antialiased). Lanczos is what
StyleGAN2-ADA's dataset tool (arXiv:2006.06676) takes; metrics depend on this filter (arXiv:2104.11222),
so it is recorded with every run. A picture that already has the size and the mode passes through bit for bit.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from ganjax import media

NAME = 'alpha on white, centre square, Lanczos, version 1'  # part of every cache key: change both

# Pillow warns of pictures that are large, and of odd ones that it reads; what it cannot read it raises.
warnings.filterwarnings('ignore', module=r'PIL\.')


def prepare(
  image: PIL.Image.Image,
  resolution: int | Sequence[int] | None,
  channels: int,
  rotate: bool = False,
) -> np.ndarray:
  """Returns `image` as uint8 [height, width, channels].

  Args:
    image: a PIL.Image as it was opened: of 8 or 16 bits a channel, or one bit (ValueError: of another, whose range is
      unknown).
    resolution: side in pixels, or (height, width), or None for a picture that is neither cut nor resized.
    channels: 3 (RGB), 1 (grey), or 4 (RGB and opacity, which is kept).
    rotate: whether to turn the picture as its EXIF orientation says: right for photographs, not for
      catalogue data sets, whose own readers do not.
  """
  bits = getattr(image, 'tag_v2', {}).get(258, (16,))[0]  # BitsPerSample of a TIFF file
  # Pillow opens 16-bit PGM files as 'I', which is 32 bits and signed elsewhere.
  refused = {'F': 'floating point'}
  if image.format != 'PPM':
    refused['I'] = 'signed or 32-bit'
  if bits != 16:
    refused['I;16'] = f'{bits}-bit'
  if kind := refused.get(image.mode):
    raise ValueError(f'{kind} pixels, whose range is not known: save it with 8 or 16 bits')
  if rotate:
    image = PIL.ImageOps.exif_transpose(image)
  if image.mode.startswith('I'):  # also 'I;16B' and others of 16 bits
    wide = np.asarray(image).astype(np.int64)
    image = PIL.Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
  if image.has_transparency_data and channels < 4:
    image = image.convert('RGBA')
    image = PIL.Image.alpha_composite(PIL.Image.new('RGBA', image.size, 'white'), image)
  mode = {1: 'L', 3: 'RGB', 4: 'RGBA'}[channels]
  if image.mode != mode:
    image = image.convert(mode)
  width, height = image.size
  if resolution is None:
    return np.asarray(image).reshape(height, width, channels)
  high, wide = media.sides(resolution)
  # The largest of the proportions high : wide that lies within, rounded to pixels.
  h, w = min(height, round(width * high / wide)), min(width, round(height * wide / high))
  h, w = max(h, 1), max(w, 1)
  if (w, h) != (width, height):
    left, top = (width - w) // 2, (height - h) // 2
    image = image.crop((left, top, left + w, top + h))
  if (w, h) != (wide, high):
    image = image.resize((wide, high), PIL.Image.Resampling.LANCZOS)
  return np.asarray(image).reshape(high, wide, channels)


def describe(resolution: int | Sequence[int], channels: int) -> dict[str, Any]:
  """What a Source's `info` says of its pictures."""
  return {
    'resolution': media.simplest(resolution),
    'channels': channels,
    'preprocessing': NAME,
    'pillow': PIL.__version__,
  }


def key(resolution: int | Sequence[int], channels: int) -> list[int]:
  """The size as cache keys have it: [side, channels], or [height, width, channels]."""
  return [*np.atleast_1d(media.simplest(resolution)).tolist(), channels]


def size_name(resolution: int | Sequence[int], channels: int) -> str:
  """The size in the name of a cache entry: '32x3', or '32x64x3'."""
  return 'x'.join(map(str, key(resolution, channels)))
