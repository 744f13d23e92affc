"""Penalties of a discriminator that is told what the picture should show."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def matching_aware(
  D: Callable[[jax.Array, jax.Array], jax.Array],
  image: jax.Array,
  sentence: jax.Array,
  power: float,
) -> jax.Array:
  """E |(dD/dx, dD/de)|^p at real pictures x with their texts e (DF-GAN, arXiv:2008.05865, equation 2).

  As in the authors' code, |.| is the length of both gradients joined; the paper adds up their lengths. D treats its
  pictures apart: gradients are those of the sum of its logits.

  Args:
    D: (pictures [B, ...], vectors [B, E]) -> logits [B].
    image, sentence: real ones that go together.
    power: p.
  """
  total = lambda x, e: jnp.sum(D(x, e))
  slopes = jax.grad(total, (0, 1))(image, sentence)
  squares = sum(jnp.sum(s.reshape(len(s), -1) ** 2, 1) for s in slopes)
  # |.|^2 is smooth where there is no slope, |.| is not.
  return jnp.mean(squares ** (power / 2))
