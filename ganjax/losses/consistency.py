"""Latent consistency, zCR (Zhao et al. 2020, arXiv:2002.04724, section 3.2): z and z + e, a small step apart.

e is N(0, sigma^2) of each coordinate. D is to say the same of G(z) and G(z + e), and G is to draw them apart, which
keeps it from ignoring z. The weights in their losses are lambda_dis and lambda_gen. With `penalties.bcr`, which weighs
10, this is ICR; for CIFAR-10 StudioGAN sets sigma 0.05, lambda_dis 20 and lambda_gen 0.5.
"""

import jax
import jax.numpy as jnp

from ganjax.dtypes import widen


def zcr_D(logits: jax.Array, moved_logits: jax.Array) -> jax.Array:
  """E (D(G(z)) - D(G(z + e)))^2 over logits of any shape, for D's loss."""
  return _distance(logits, moved_logits)


def zcr_G(images: jax.Array, moved_images: jax.Array) -> jax.Array:
  """-E (G(z) - G(z + e))^2 over images [B, H, W, C], the mean over all values, for G's loss: at most 0."""
  return -_distance(images, moved_images)


def _distance(a, b):
  """E (a - b)^2 over all values, in float32 at least."""
  return jnp.mean((widen(a) - widen(b)) ** 2)
