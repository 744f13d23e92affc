"""LeCam regularization of the discriminator (Tseng et al. 2021, arXiv:2104.03310): logits kept near past means."""

import jax
import jax.numpy as jnp


def start() -> dict[str, jax.Array]:
  """The moving averages of D's logits, for TrainState.extra: {'real', 'fake'}, float32 scalars from 0.

  The authors' BigGAN code lets them follow D without lag for the first 1,000 steps and adds the penalty after that.
  """
  return {'real': jnp.float32(0), 'fake': jnp.float32(0)}


def penalty(
  averages: dict[str, jax.Array], real_logits: jax.Array, fake_logits: jax.Array
) -> jax.Array:
  """E relu(D(real) - average of fake)^2 + E relu(average of real - D(fake))^2, a float32 scalar, at least 0.

  This is the authors' code. Equation 3 of section 3.2 has the squares without relu: the two agree where D tells reals
  from fakes, and elsewhere the code leaves D alone. The weight is the paper's lambda, 0.3 on CIFAR-10 with BigGAN. The
  averages are taken as they are and get no gradient; the authors' code puts the batch into them first, here that comes
  after (`update`).

  Args:
    averages: as from `start` or `update`.
    real_logits, fake_logits: any shapes; each mean is over all of them.
  """
  averages = jax.lax.stop_gradient(averages)
  square = lambda x: jnp.mean(jax.nn.relu(x) ** 2)
  return square(real_logits - averages['fake']) + square(averages['real'] - fake_logits)


def update(
  averages: dict[str, jax.Array],
  real_logits: jax.Array,
  fake_logits: jax.Array,
  decay: float | jax.Array = 0.99,
) -> dict[str, jax.Array]:
  """The averages after this batch: decay * average + (1 - decay) * mean of its logits. No gradient passes."""
  old = averages
  logits = jax.lax.stop_gradient({'real': real_logits, 'fake': fake_logits})
  return {k: decay * old[k] + (1 - decay) * jnp.mean(logits[k], dtype=old[k].dtype) for k in old}
