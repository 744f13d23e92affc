"""Exponential moving averages of networks, by a half-life in images (Karras et al. 2017, arXiv:1710.10196)."""

import jax
import jax.numpy as jnp

from ganjax.optim import schedules


def decay(
  nimg: int | jax.Array,
  batch_size: int,
  half_life_images: schedules.Schedule,
  rampup: float = 0.0,
  start_steps: int = 0,
  step: int | jax.Array = 0,
) -> jax.Array:
  """The factor that the old average keeps at one step.

  Args:
    nimg: images the generator has been trained on so far, an int or a traced scalar.
    batch_size: images of this step.
    half_life_images: after so many images an old value's weight is one half. A number, or a ramp of `schedules`.
    rampup: if positive, the half-life is at most `rampup * nimg`, so that early averages forget the initial weights
      (StyleGAN2-ADA uses 0.05).
    start_steps: before this step nothing is kept: the average is the newest value (BigGAN-PyTorch starts at 1,000).
    step: the training step, an int or a traced scalar.

  Returns:
    A float32 scalar in [0, 1).
  """
  half_life = jnp.asarray(schedules.ramp(half_life_images, step), jnp.float32)
  if rampup:
    half_life = jnp.minimum(half_life, rampup * nimg)
  kept = 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8))
  return jnp.where(step < start_steps, 0.0, kept)


def step(average: dict, new: dict, factor: jax.Array) -> dict:
  """average * factor + new * (1 - factor) of a network's parameters and batch statistics; all else is the new value.

  Copied are buffers such as the mean style, noise, magnitudes and vectors of spectral norm, and counters.

  Args:
    average, new: {'params', 'stats'} of a network; `stats` holds its other collections by name.
    factor: what the average keeps, of `decay`.
  """

  def leaf(a, b):
    if not jnp.issubdtype(a.dtype, jnp.floating):
      return b
    return b + (a - b) * factor.astype(a.dtype)

  mix = lambda a, b: jax.tree.map(leaf, a, b)
  kept = {k: mix(average['stats'][k], v) for k, v in new['stats'].items() if k == 'batch_stats'}
  return {'params': mix(average['params'], new['params']), 'stats': {**new['stats'], **kept}}
