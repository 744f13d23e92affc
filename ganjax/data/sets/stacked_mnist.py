"""Stacked MNIST: three digits as the red, green and blue channels of a picture. It has 1,000 modes.

Metz et al. 2016, arXiv:1611.02163, section 3.3.1; 128,000 stacks as in VEEGAN (Srivastava et al. 2017,
arXiv:1705.07761, section 4.2) and PacGAN (Lin et al. 2018, arXiv:1712.04086, section 4.2). The digits of each stack are
fixed, so that everybody trains on the same data set. Only their indices are stored.
"""

from collections.abc import Sequence

import numpy as np

from ganjax import UserError, media
from ganjax.data.sets import catalogue
from ganjax.data.source import Source, picture

COUNT = 128_000
NUM_CLASSES = 1000


def fields(*, resolution: int | Sequence[int], channels: int) -> dict:
  """The stack, and its label: 100 red + 10 green + blue. Raises UserError unless there are three channels."""
  if channels != 3:
    raise UserError(f'stacked_mnist has a digit in each of 3 channels: data.channels is {channels}')
  return {'image': picture(resolution, channels), 'label': media.Field('label', ())}


def build(
  *, resolution: int | Sequence[int], channels: int, data_dir: str | None, split: str, cache: bool
) -> Source:
  """Stacks of the digits of TFDS's mnist."""
  known = fields(resolution=resolution, channels=channels)
  digits = catalogue.build(
    dataset='mnist', resolution=resolution, channels=1, data_dir=data_dir, split=split, cache=cache
  )
  # Purposes 0 and 1 of a random stream are taken by the order and the subset, see `data.source`.
  stream = np.random.Philox(key=np.zeros(2, np.uint64), counter=np.array([0, 0, 0, 2], np.uint64))
  members = (stream.random_raw(3 * COUNT) % digits.num_examples).astype(np.int64).reshape(-1, 3)

  def read_rows(rows, names):
    found = digits.read(members[rows].ravel(), names)
    if 'image' in found:
      image = found['image']
      found['image'] = np.moveaxis(image.reshape(-1, 3, *image.shape[1:3]), 1, 3)
    if 'label' in found:
      found['label'] = (found['label'].reshape(-1, 3) @ [100, 10, 1]).astype(np.int32)
    return found

  return Source(
    read_rows=read_rows,
    rows=np.arange(COUNT),
    fields={name: field for name, field in known.items() if name in digits.fields},
    class_names=[f'{label:03}' for label in range(NUM_CLASSES)],
    info={**digits.info, 'dataset': f'stacked_{digits.info["dataset"]}', 'channels': channels},
    here=digits.content,
  )
