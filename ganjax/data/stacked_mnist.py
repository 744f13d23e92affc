"""Stacked MNIST: three digits as the red, green and blue of one picture, 1,000 modes to find.

Metz et al. 2016, arXiv:1611.02163, section 3.3.1; 128,000 stacks as in VEEGAN (Srivastava et al. 2017,
arXiv:1705.07761, section 4.2) and PacGAN (Lin et al. 2018, arXiv:1712.04086, section 4.2). Which digits make a stack is
fixed for good, so that everybody trains on the same data set; only their indices are kept.
"""

import numpy as np

from ganjax import UserError

COUNT = 128_000
NUM_CLASSES = 1000


def stack(digits, channels):
  """Returns (read_rows, fields) of `COUNT` stacks of the pictures of `digits`.

  Args:
    digits: Source of grey digits [R, R, 1], labelled 0 to 9.
    channels: of the stacks.

  Returns:
    read_rows: (rows int [n], names) -> {'image': uint8 [n, R, R, 3], 'label': int32 [n]}; the label is
      100 red + 10 green + blue.
    fields: as in Source.

  Raises:
    UserError: not three channels.
  """
  if channels != 3:
    raise UserError(f'stacked_mnist has a digit in each of 3 channels: data.channels is {channels}')
  # Purposes 0 and 1 of a random stream are taken by the order and the subset, see ganjax.data.
  stream = np.random.Philox(key=np.zeros(2, np.uint64), counter=np.array([0, 0, 0, 2], np.uint64))
  members = (stream.random_raw(3 * COUNT) % digits.num_examples).astype(np.int64).reshape(-1, 3)
  size = digits.fields['image'][0][0]

  def read_rows(rows, names):
    found = digits.read(members[rows].ravel(), names)
    if 'image' in found:
      found['image'] = np.moveaxis(found['image'].reshape(-1, 3, size, size), 1, 3)
    if 'label' in found:
      found['label'] = (found['label'].reshape(-1, 3) @ [100, 10, 1]).astype(np.int32)
    return found

  return read_rows, {**digits.fields, 'image': ((size, size, 3), np.dtype(np.uint8))}
