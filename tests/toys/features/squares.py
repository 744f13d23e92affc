"""A frozen network of two maps, of squares of 4 and of 8 pixels, for style transfer."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.features import layers
from ganjax.weights import files as weights

FILE = weights.File('squares.npz', '')
SIZE, RESIZE, SCALE = 16, 'pil_bilinear', (127.5, 1 / 127.5)
TAPS = {'four': 4, 'eight': 5}


class Network(nn.Module):
  dtype: Any = jnp.float32
  taps: tuple = tuple(TAPS)

  @nn.compact
  def __call__(self, x, train=False):
    four = layers.Conv(4, (4, 4), 4, name='four')(x.astype(self.dtype))
    return [four, layers.Conv(5, (2, 2), 2, name='eight')(four)]


def convert(tensors):
  return layers.convert(Network(), SIZE, tensors, lambda path: (path, None), eps=0)
