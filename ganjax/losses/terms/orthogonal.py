"""Orthogonal regularization of the generator's weights."""

from collections.abc import Mapping
from typing import Any

from ganjax.losses import regularizers
from ganjax.losses.terms import Term
from ganjax.optim import schedules


def build(given: schedules.Schedule | None, nets: Mapping[str, Any]) -> Term:
  """Adds loss_G_orthogonal to G's loss.

  Args:
    given: None, or the weight of `regularizers.orthogonal` (BigGAN, arXiv:1809.11096, equation 3) in G's loss: a number
      or a `schedules.ramp` over steps.
    nets: not needed.

  Raises:
    UserError: no weight.
  """
  weight = given or 0.0
  schedules.check('method.orthogonal', weight)
  if not weight:
    return Term()

  def loss(game):
    now = schedules.ramp(weight, game.state.step)
    return {'loss_G_orthogonal': now * regularizers.orthogonal(game.state.params['G'])}

  return Term(G=loss)
