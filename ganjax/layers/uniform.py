"""Latents of networks whose papers draw them evenly."""

import jax


def to_uniform(z: jax.Array) -> jax.Array:
  """z ~ N(0, I) -> U(-1, 1) of each coordinate, 2 Phi(z) - 1; truncation and interpolation stay those of z."""
  return jax.scipy.special.erf(z / 2**0.5)
