"""Adversarial losses: pure functions of logits.

A loss NAME is the pair `NAME_D(real, fake)`, which returns the terms of D's loss by name (D minimises their sum), and
`NAME_G(fake, real)`, which returns a scalar. Logits have any one shape [B, ...]. Only a relativistic loss of G looks
at `real`, logits of real images of the same shape; the others may go without. All compute in float32 at least.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.dtypes import widen
from ganjax.wording import closest


def _check(real, fake):
  if real.shape != fake.shape:
    raise ValueError(
      f'real logits {real.shape} and fake logits {fake.shape} must have equal shapes'
    )


def non_saturating_D(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
  """-E log sigmoid(real) - E log(1 - sigmoid(fake)): the discriminator's value (arXiv:1406.2661, equation 1).

  Args:
    real: logits of real images [B, ...].
    fake: logits of generated images, of the same shape.

  Returns:
    {'loss_real', 'loss_fake'}: scalars, each log 2 if the discriminator cannot decide.

  Raises:
    ValueError: the shapes differ, so a broadcast would average the wrong things.
  """
  _check(real, fake)
  return {
    'loss_real': jnp.mean(jax.nn.softplus(-widen(real))),
    'loss_fake': jnp.mean(jax.nn.softplus(widen(fake))),
  }


def non_saturating_G(fake: jax.Array, real: jax.Array | None = None) -> jax.Array:
  """-E log sigmoid(fake): the generator's loss with the strong early gradient (arXiv:1406.2661, section 3)."""
  return jnp.mean(jax.nn.softplus(-widen(fake)))


def minimax_D(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
  """The same as `non_saturating_D`: the two losses differ only in G."""
  return non_saturating_D(real, fake)


def minimax_G(fake: jax.Array, real: jax.Array | None = None) -> jax.Array:
  """E log(1 - sigmoid(fake)): the zero-sum game (arXiv:1406.2661, equation 1). Its gradient vanishes if D is sure."""
  return -jnp.mean(jax.nn.softplus(widen(fake)))


def least_squares_D(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
  """E (real - 1)^2 / 2 + E fake^2 / 2: LSGAN with targets 1 and 0 (arXiv:1611.04076, equation 9).

  Arguments, terms and errors as in `non_saturating_D`.
  """
  _check(real, fake)
  return {
    'loss_real': jnp.mean((widen(real) - 1) ** 2) / 2,
    'loss_fake': jnp.mean(widen(fake) ** 2) / 2,
  }


def least_squares_G(fake: jax.Array, real: jax.Array | None = None) -> jax.Array:
  """E (fake - 1)^2 / 2 (arXiv:1611.04076, equation 9)."""
  return jnp.mean((widen(fake) - 1) ** 2) / 2


def hinge_D(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
  """E max(0, 1 - real) + E max(0, 1 + fake) (arXiv:1705.02894; SNGAN, arXiv:1802.05957, equation 16).

  Arguments, terms and errors as in `non_saturating_D`.
  """
  _check(real, fake)
  return {
    'loss_real': jnp.mean(jax.nn.relu(1 - widen(real))),
    'loss_fake': jnp.mean(jax.nn.relu(1 + widen(fake))),
  }


def hinge_G(fake: jax.Array, real: jax.Array | None = None) -> jax.Array:
  """-E fake (arXiv:1802.05957, equation 17)."""
  return -jnp.mean(widen(fake))


def wasserstein_D(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
  """-E real + E fake: minus the distance that a 1-Lipschitz D estimates (arXiv:1701.07875, equation 3).

  It is unbounded: D must be kept Lipschitz by clipped weights or a penalty. Arguments, terms and errors as in
  `non_saturating_D`.
  """
  _check(real, fake)
  return {'loss_real': -jnp.mean(widen(real)), 'loss_fake': jnp.mean(widen(fake))}


def wasserstein_G(fake: jax.Array, real: jax.Array | None = None) -> jax.Array:
  """-E fake (arXiv:1701.07875, algorithm 1)."""
  return -jnp.mean(widen(fake))


def relativistic_D(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
  """-E log sigmoid(real - fake) of pairs (relativistic GAN, arXiv:1807.00734; RpGAN, arXiv:2501.05441, equation 2).

  Real and fake logits are paired by position. Arguments and errors as in `non_saturating_D`.

  Returns:
    {'loss_relativistic'}: a scalar, log 2 if the discriminator cannot decide.
  """
  _check(real, fake)
  return {'loss_relativistic': jnp.mean(jax.nn.softplus(widen(fake) - widen(real)))}


def relativistic_G(fake: jax.Array, real: jax.Array) -> jax.Array:
  """-E log sigmoid(fake - real) of pairs (arXiv:2501.05441, equation 2); errors as in `relativistic_D`."""
  return relativistic_D(fake, real)['loss_relativistic']


def relativistic_average_D(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
  """Is a picture more realistic than the average other? (arXiv:1807.00734, section 4.1; ESRGAN, arXiv:1809.00219.)

  (-E log sigmoid(real - E fake) - E log sigmoid(E real - fake)) / 2, without a gradient through the means, as in
  ESRGAN's published code. Arguments, terms and errors as in `non_saturating_D`; each term is log(2) / 2 where the
  discriminator cannot tell.
  """
  _check(real, fake)
  means = [jax.lax.stop_gradient(jnp.mean(widen(x))) for x in (real, fake)]
  return {
    'loss_real': jnp.mean(jax.nn.softplus(means[1] - widen(real))) / 2,
    'loss_fake': jnp.mean(jax.nn.softplus(widen(fake) - means[0])) / 2,
  }


def relativistic_average_G(fake: jax.Array, real: jax.Array) -> jax.Array:
  """(-E log sigmoid(E fake - real) - E log sigmoid(fake - E real)) / 2: as for D with exchanged roles.

  The gradient goes through the mean of `fake`; real logits are constants. Errors as in `non_saturating_D`.
  """
  _check(real, fake)
  real, fake = jax.lax.stop_gradient(widen(real)), widen(fake)
  of_real = jnp.mean(jax.nn.softplus(real - jnp.mean(fake)))
  return (of_real + jnp.mean(jax.nn.softplus(jnp.mean(real) - fake))) / 2


def pair(loss: str) -> tuple[Callable[..., dict[str, jax.Array]], Callable[..., jax.Array]]:
  """(NAME_D, NAME_G) of the loss of that name.

  Raises:
    UserError: no loss has that name.
  """
  known = sorted(n[:-2] for n in globals() if n.endswith('_D'))
  if loss not in known:
    raise UserError(
      f'method.loss={loss!r} is not known{closest(loss, known)}; losses are {", ".join(known)}'
    )
  return globals()[f'{loss}_D'], globals()[f'{loss}_G']
