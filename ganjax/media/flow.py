"""Flows of clips: float32 [T, H, W, 2], in pixels to the right and down, of each pixel where it was a frame before."""

import jax
import jax.numpy as jnp
import numpy as np

STORED = np.float32


def to_float(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """A number of pixels stays what it is."""
  return x


def mirror(x: jax.Array) -> jax.Array:
  """Left is right, and what moved to the right moves to the left."""
  return jnp.flip(x, axis=-2) * jnp.array([-1, 1], x.dtype)
