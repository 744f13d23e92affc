"""Adversarial losses: pure functions of logits.

A loss NAME is the pair `NAME_D(real, fake)`, which returns the terms of D's loss by name (D minimises their sum), and
`NAME_G(fake)`, which returns a scalar. Logits have any one shape [B, ...].
"""

import jax
import jax.numpy as jnp


def _float(logits):
  """Losses are computed in float32 at least, whatever the networks' dtype."""
  return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def non_saturating_D(real, fake):
  """-E log sigmoid(real) - E log(1 - sigmoid(fake)): the discriminator's value (arXiv:1406.2661, equation 1).

  Args:
    real: logits of real images [B, ...].
    fake: logits of generated images, of the same shape.

  Returns:
    {'loss_real', 'loss_fake'}: scalars, each log 2 where the discriminator cannot tell.

  Raises:
    ValueError: the shapes differ, so a broadcast would average the wrong things.
  """
  if real.shape != fake.shape:
    raise ValueError(
      f'real logits {real.shape} and fake logits {fake.shape} must have equal shapes'
    )
  return {
    'loss_real': jnp.mean(jax.nn.softplus(-_float(real))),
    'loss_fake': jnp.mean(jax.nn.softplus(_float(fake))),
  }


def non_saturating_G(fake):
  """-E log sigmoid(fake): the generator's loss with the strong early gradient (arXiv:1406.2661, section 3)."""
  return jnp.mean(jax.nn.softplus(-_float(fake)))
