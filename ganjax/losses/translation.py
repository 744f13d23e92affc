"""Adversarial losses as image-to-image translation weighs them: D's is the mean of its two terms, G's is whole.

D so learns at half of G's pace (pix2pix, arXiv:1611.07004, section 3.3), but for optimizers that take no notice of a
loss's scale, such as Adam.
"""

from collections.abc import Callable

import jax

from ganjax import UserError
from ganjax.losses import adversarial
from ganjax.wording import closest

# What D's and G's losses of `adversarial` are multiplied by; least squares are halved there.
WEIGHTS = {'non_saturating': (0.5, 1.0), 'least_squares': (1.0, 2.0)}


def pair(
  name: str,
) -> tuple[
  Callable[[jax.Array, jax.Array], dict[str, jax.Array]], Callable[[jax.Array], jax.Array]
]:
  """(loss_D, loss_G) of 'non_saturating' (cross-entropy) or 'least_squares', called as those of `adversarial`.

  Raises:
    UserError: another name.
  """
  if name not in WEIGHTS:
    raise UserError(
      f'method.loss={name!r} is not known{closest(name, WEIGHTS)}; losses are {", ".join(WEIGHTS)}'
    )
  of_D, of_G = (getattr(adversarial, f'{name}_{net}') for net in 'DG')
  weight_D, weight_G = WEIGHTS[name]
  return (
    lambda real, fake: {k: weight_D * term for k, term in of_D(real, fake).items()},
    lambda fake: weight_G * of_G(fake),
  )
