"""Differentiable augmentation of what the discriminator sees, real and fake alike (DiffAugment, arXiv:2006.10738)."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ganjax import UserError

POLICIES = 'color', 'translation', 'cutout'


def check(policy: str) -> None:
  """Raises UserError where `policy` is no list of names in `POLICIES`, joined by commas and each there once."""
  names = str(policy).split(',')
  if set(names) - set(POLICIES) or len(set(names)) < len(names):
    raise UserError(
      f'the DiffAugment policy {policy!r} must be one or more of {", ".join(POLICIES)}, '
      "joined by commas: 'color,translation,cutout'"
    )


def diffaugment(images: jax.Array, key: jax.Array, policy: str, cutout: float = 0.5) -> jax.Array:
  """Images as D is to see them: each is changed by draws of its own (arXiv:2006.10738, section 3).

  In the order of `POLICIES`, whatever the order in `policy`:

    color: brightness, + U(-1/2, 1/2); then saturation, times U(0, 2) about each pixel's mean over channels; then
      contrast, times U(1/2, 3/2) about the image's mean. Nothing is clipped: values may leave [-1, 1].
    translation: by whole pixels, up to 1/8 of each side, zeros coming in.
    cutout: a rectangle of half of each side, or of the share `cutout`, becomes 0. Its centre is uniform over the image,
      so part of it may lie outside.

  The draws of one do not depend on which others are on. The authors' BigGAN on CIFAR-10 runs 'translation,cutout',
  their StyleGAN2 all three. Eighths and halves of a side are rounded to whole pixels.

  Args:
    images: float [B, H, W, C] in [-1, 1].
    key: a random key; the draws are over the whole batch.
    policy: names joined by commas, see `check`.
    cutout: share of each side that a cutout takes (0.2 in Projected GAN's copy).

  Returns:
    images [B, H, W, C].

  Raises:
    UserError: an unknown policy.
  """
  check(policy)
  for number, (name, change) in enumerate(
    zip(POLICIES, (_color, translate, functools.partial(_cutout, share=cutout)))
  ):
    if name in policy.split(','):
      images = change(images, jax.random.fold_in(key, number))
  return images


def translate(
  images: jax.Array,
  key: jax.Array,
  mode: str = 'constant',
  most: Callable[[int], int] = lambda side: int(side / 8 + 0.5),
) -> jax.Array:
  """Moves each image by a whole number of pixels, up to `most(side)`; `mode`, as in jnp.pad, is what comes in."""
  b, h, w, c = images.shape
  reach = [most(side) for side in (h, w)]
  padded = jnp.pad(images, ((0, 0), *((n, n) for n in reach), (0, 0)), mode)
  starts = jax.random.randint(key, (b, 2), 0, 2 * jnp.array(reach) + 1)
  cut = lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), (h, w, c))
  return jax.vmap(cut)(padded, starts)


def _color(images, key):
  uniform = lambda k: jax.random.uniform(k, (len(images), 1, 1, 1), images.dtype)
  brightness, saturation, contrast = map(uniform, jax.random.split(key, 3))
  images = images + brightness - 0.5
  grey = images.mean(3, keepdims=True)
  images = grey + 2 * saturation * (images - grey)
  grey = images.mean((1, 2, 3), keepdims=True)
  return grey + (contrast + 0.5) * (images - grey)


def _cutout(images, key, share):
  inside = True
  for axis, k in zip((1, 2), jax.random.split(key)):
    side = images.shape[axis]
    size = int(side * share + 0.5)
    # An even size has its centre between pixels: there is one place more.
    first = jax.random.randint(k, (len(images), 1), 0, side + 1 - size % 2) - size // 2
    place = jnp.arange(side)
    covered = (place >= first) & (place < first + size)
    inside &= jnp.expand_dims(covered, 3 - axis)
  return jnp.where(inside[..., None], 0, images)
