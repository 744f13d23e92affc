"""Blur of what a discriminator sees (StyleGAN3, Karras et al. 2021, arXiv:2106.12423, appendix F.3).

It hides high frequencies in the first images of training, until those of configuration R have settled.
"""

import jax
import jax.numpy as jnp
from jax import lax

MOST = 100.0  # pixels


def blur(images: jax.Array, sigma: float | jax.Array) -> jax.Array:
  """Images [B, H, W, C] filtered along both axes by weights 2^-(d / sigma)^2 of distances d up to 3 sigma.

  Outside are zeros.

  Args:
    images: float.
    sigma: in pixels, a scalar from 0 to MOST, traced or not; below 1/3 images stay as they are.
  """

  def weights(d):
    near = jnp.abs(d) <= jnp.floor(3 * sigma)
    return jnp.where(near, jnp.exp2(-((d / jnp.maximum(sigma, 1e-3)) ** 2)), 0)

  total = weights(jnp.arange(-3 * MOST, 3 * MOST + 1)).sum()
  for axis, product in (1, 'uh,bhwc->buwc'), (2, 'vw,bhwc->bhvc'):
    at = jnp.arange(images.shape[axis])
    matrix = (weights(at - at[:, None]) / total).astype(images.dtype)
    images = jnp.einsum(product, matrix, images, precision=lax.Precision.HIGHEST)
  return images
