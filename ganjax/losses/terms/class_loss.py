"""A loss of the discriminator's class scores (`ganjax.losses.classes`)."""

import inspect
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.losses import classes
from ganjax.losses.terms import Term, check_mapping
from ganjax.wording import closest


def build(given: Mapping[str, Any] | ConfigDict | None, nets: Mapping[str, Any]) -> Term:
  """Adds loss_class and loss_class_fake to D's loss, and loss_G_class to G's.

  Args:
    given: a loss of D's class scores. None, or {'name': NAME in `ganjax.losses.classes`; 'D', 'D_fake', 'G': its
      weights on reals and on fakes in D's loss, and in G's loss (1, 0, 1); arguments of that loss}.
    nets: D's head must be the one that the loss needs, 'classifier' or 'proxy'.

  Raises:
    UserError: fields that do not fit.
  """
  head, known = getattr(nets['D'], 'head', 'projection'), ', '.join(classes.HEADS)
  if not given:
    if head in classes.HEADS.values():
      raise UserError(f'networks.head={head!r} needs a method.class_loss: {known}')
    return Term()
  check_mapping('class_loss', given)
  arguments = dict(given)
  name = arguments.pop('name', None)
  if name not in classes.HEADS:
    raise UserError(
      f'method.class_loss.name={name!r} is not known{closest(name, classes.HEADS)}; there are {known}'
    )
  if head != classes.HEADS[name]:
    raise UserError(
      f'method.class_loss {name} needs networks.head={classes.HEADS[name]!r}, not {head!r}'
    )
  weight = {k: arguments.pop(k, default) for k, default in dict(D=1.0, D_fake=0.0, G=1.0).items()}
  loss = getattr(classes, name)
  numbers = {**weight, **arguments}
  if not all(isinstance(x, (int, float)) and x >= 0 for x in numbers.values()):
    raise UserError(f'method.class_loss {name} takes numbers from 0, not {numbers}')
  if arguments.get('temperature', 1) == 0:
    raise UserError(f'method.class_loss {name} needs a temperature above 0')
  extra = arguments.keys() - inspect.signature(loss).parameters
  if extra:
    raise UserError(f'method.class_loss {name} does not take {", ".join(sorted(extra))}')

  def weighted(kind, metric, out, label):
    return {metric: weight[kind] * loss(out[1], label, **arguments)} if weight[kind] else {}

  def of_D(game):
    return weighted('D', 'loss_class', game.of_real, game.label) | weighted(
      'D_fake', 'loss_class_fake', game.of_fake, game.label
    )

  def of_G(game):
    return weighted('G', 'loss_G_class', game.of_fake, game.label)

  return Term(D=of_D, G=of_G)
