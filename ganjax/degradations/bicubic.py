"""MATLAB's antialiased bicubic, as in the tables of the super-resolution literature."""

import jax.numpy as jnp

from ganjax.degradations import Degradation
from ganjax.layers.resample import resize_bicubic


def build(scale: int) -> Degradation:
  """The degradation by 1 / scale; it draws nothing."""

  def low(images, keys):
    x = jnp.clip(resize_bicubic(images, 1 / scale), -1, 1)
    return jnp.round((x + 1) * 127.5) / 127.5 - 1

  return Degradation(low)
