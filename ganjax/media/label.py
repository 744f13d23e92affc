"""Labels: int32 [], the number of a class, -1 where there is none."""

import numpy as np

STORED = np.int32


def to_float(x):
  """A number stays what it is."""
  return x


def mirror(x):
  """A class does not turn."""
  return x
