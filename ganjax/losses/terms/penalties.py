"""Penalties that keep the discriminator smooth (`ganjax.losses.penalties`)."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ganjax import UserError, component
from ganjax.losses import penalties
from ganjax.losses.terms import Term, check_mapping
from ganjax.method import named
from ganjax.optim import schedules
from ganjax.wording import closest


def build(
  given: Mapping[str, schedules.Schedule] | ConfigDict | None, nets: Mapping[str, Any]
) -> Term:
  """Adds loss_NAME to D's loss for each penalty.

  D runs in train mode, and its statistics are dropped.

  Args:
    given: {NAME in `ganjax.losses.penalties`: weight}, added to D's loss. The weight is the lambda or gamma of that
      penalty's paper, a number or a `schedules.ramp` over steps.
    nets: not needed.

  Raises:
    UserError: an unknown name, or no weight.
  """
  if not given:
    return Term()
  check_mapping('penalties', given)
  weights, known = dict(given), component.functions(penalties)
  for name, weight in weights.items():
    if name not in known:
      raise UserError(
        f'method.penalties.{name} is not known{closest(name, known)}; penalties are {", ".join(known)}'
      )
    schedules.check(f'method.penalties.{name}', weight)

  def loss(game):
    logits = lambda x: game.critic(x, named(game.key, 'penalties'))
    # A key of each penalty's own, whatever the others are.
    return {
      f'loss_{name}': schedules.ramp(weight, game.state.step)
      * known[name](logits, game.images, game.fakes, named(game.key, name))
      for name, weight in weights.items()
    }

  return Term(D=loss)
