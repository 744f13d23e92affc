"""Perceptual path length: how far the image moves for a small step of the latent.

Karras et al. 2019, arXiv:1812.04948, section 4.1, with StyleGAN2's trimmed mean (arXiv:1912.04958, its published code).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.sampling import latents


def lerp(a: jax.Array, b: jax.Array, t: float | jax.Array) -> jax.Array:
  """The straight line from `a` (t=0) to `b` (t=1), both [B, ...], t [B] or a number: the path for styles w."""
  t = jnp.asarray(t)
  return a + (b - a) * t.reshape(*t.shape, *[1] * (a.ndim - t.ndim))


def lengths(
  sample: Callable[[jax.Array], jax.Array],
  lpips: Callable[[jax.Array, jax.Array], jax.Array],
  z: jax.Array,
  other: jax.Array,
  t: float | jax.Array,
  *,
  epsilon: float = 1e-4,
  path: Callable[..., jax.Array] = latents.slerp,
  crop: bool = False,
  size: int = 256,
) -> jax.Array:
  """lpips(G(path(t)), G(path(t + epsilon))) / epsilon^2 of pairs of latents, [B].

  Args:
    sample: latents [B, Z] -> images [B, H, W, C] in [-1, 1], not quantised: the step moves them by less than a grey
      level. Both calls must draw the same noise. Computed in float32 at least, where rounding t + epsilon moves a
      length by 0.2 % at most and their mean by 0.01 % (measured on a small network).
    lpips: two batches of images -> distances [B] that grow with the square: `lpips.distance` with net 'vgg16'.
    z, other: ends of the paths, [B, Z] or styles [B, L, W]. For generators that normalise z, normalise it before.
    t: where on the path, [B]: uniform in [0, 1] ('full'), or 0 ('end').
    epsilon: the step along t.
    path: `latents.slerp` for z, `lerp` for w.
    crop: compare rows 3/8 to 7/8 and columns 1/4 to 3/4 alone (faces).
    size: larger images are reduced to it, in pixels, by the mean of whole blocks of H // size.

  Raises:
    UserError: an image that does not divide into such blocks.
  """
  shorten = lambda images: _reduce(_crop(images) if crop else images, size)
  here, there = (shorten(sample(path(z, other, t + step))) for step in (0, epsilon))
  return lpips(here, there) / epsilon**2


def mean(lengths: np.ndarray) -> float:
  """The mean of path lengths [N] without those outside the 1st and 99th percentile.

  Raises:
    UserError: no lengths, or not finite.
  """
  lengths = np.asarray(lengths, np.float64)
  if not lengths.size or not np.isfinite(lengths).all():
    raise UserError('perceptual path length: there are no lengths, or some are not finite')
  low = np.percentile(lengths, 1, method='lower')
  high = np.percentile(lengths, 99, method='higher')
  return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def _crop(images):
  h, w = (n // 8 for n in images.shape[1:3])
  return images[:, 3 * h : 7 * h, 2 * w : 6 * w]


def _reduce(images, size):
  b, h, w, c = images.shape
  factor = max(1, h // size)
  if h % factor or w % factor:
    raise UserError(f'images of {h} x {w} do not divide into blocks of {factor} x {factor}')
  return images.reshape(b, h // factor, factor, w // factor, factor, c).mean((2, 4))
