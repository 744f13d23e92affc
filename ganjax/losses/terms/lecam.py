"""LeCam regularization of the discriminator (`ganjax.losses.lecam`)."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.losses import lecam
from ganjax.losses.terms import Term, fields


def build(given: Mapping[str, float] | ConfigDict | None, nets: Mapping[str, Any]) -> Term:
  """Adds loss_lecam to D's loss, and keeps its averages, which move after each update of D.

  Args:
    given: LeCam regularization (arXiv:2104.03310). None, or {'weight'; 'decay' of the averages (0.99); 'start_steps'
      (0): until this step there is no penalty, and the averages are the newest values}. With microbatches the averages
      are updated and read once for each part.
    nets: not needed.

  Raises:
    UserError: other fields, or a decay of 1 or more.
  """
  given = fields('lecam', given, weight=None, decay=0.99, start_steps=0)
  if not given:
    return Term()
  if given['decay'] >= 1:
    raise UserError(f'method.lecam.decay={given["decay"]} must be below 1')

  def started(game):
    return game.state.step >= given['start_steps']

  def loss(game):
    averages = game.state.extra['lecam']
    value = lecam.penalty(averages, game.of_real[0], game.of_fake[0])
    return {'loss_lecam': started(game) * given['weight'] * value}

  def keep(game):
    decay = jnp.where(started(game), given['decay'], 0.0)
    averages = game.state.extra['lecam']
    return {'lecam': lecam.update(averages, game.of_real[0], game.of_fake[0], decay)}

  return Term(D=loss, keep=keep, extra={'lecam': lecam.start()})
