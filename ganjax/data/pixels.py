"""From any picture to a square uint8 array: the one preprocessing of every data set.

Alpha is composited on white, 16-bit grey is rounded to 8 bits, every colour space becomes RGB or grey
(ITU-R 601-2 luma), the centre square is cut out and resized with Pillow's Lanczos filter, whose support
grows with the reduction (antialiased). Lanczos is what StyleGAN2-ADA's dataset tool (arXiv:2006.06676)
takes; metrics depend on this filter (arXiv:2104.11222), so it is recorded with every run.
A picture that already has the size and the mode passes through bit for bit.
"""

import numpy as np
import PIL.Image
import PIL.ImageOps

NAME = 'alpha on white, centre square, Lanczos, version 1'  # part of every cache key: change both


def prepare(image, resolution, channels, rotate=False):
  """Returns `image` as uint8 [resolution, resolution, channels], or [its height, its width, channels].

  Args:
    image: a PIL.Image of any mode but 'F' (whose range is unknown: ValueError).
    resolution: side in pixels, or None for a picture that is neither cut nor resized.
    channels: 3 (RGB) or 1 (grey).
    rotate: whether to turn the picture as its EXIF orientation says: right for photographs, not for
      catalogue data sets, whose own readers do not.
  """
  if rotate:
    image = PIL.ImageOps.exif_transpose(image)
  if image.mode == 'F':
    raise ValueError('floating point pixels have no known range')
  if image.mode.startswith('I'):  # 'I;16' and its byte orders; 'I' is how Pillow opens 16-bit PGM
    wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
    image = PIL.Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert('RGBA')
    image = PIL.Image.alpha_composite(PIL.Image.new('RGBA', image.size, 'white'), image)
  mode = {1: 'L', 3: 'RGB'}[channels]
  if image.mode != mode:
    image = image.convert(mode)
  width, height = image.size
  if resolution is None:
    return np.asarray(image).reshape(height, width, channels)
  side = min(width, height)
  if width != height:
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
  if side != resolution:
    image = image.resize((resolution, resolution), PIL.Image.Resampling.LANCZOS)
  return np.asarray(image).reshape(resolution, resolution, channels)
