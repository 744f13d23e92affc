"""Latent consistency, zCR (`ganjax.losses.consistency`)."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ganjax.losses import consistency
from ganjax.losses.terms import Term, fields
from ganjax.method import named


def build(given: Mapping[str, float] | ConfigDict | None, nets: Mapping[str, Any]) -> Term:
  """Adds loss_zcr to D's loss and loss_G_zcr to G's.

  Args:
    given: latent consistency (arXiv:2002.04724, section 3.2). None, or {'sigma': standard deviation of the difference
      between two latents; 'D', 'G': weights lambda_dis and lambda_gen}.
    nets: not needed.

  Raises:
    UserError: other fields.
  """
  given = fields('zcr', given, sigma=None, D=None, G=None)
  if not given:
    return Term()

  def beside(game):
    """The images of latents near by."""
    e = given['sigma'] * game.draw(named(game.key, 'near'))
    return game.generate(game.z + e)

  def of_D(game):
    # By the D that saw the fakes: at sigma 0 there is no difference.
    moved, _ = game.judge(beside(game))
    return {'loss_zcr': given['D'] * consistency.zcr_D(game.of_fake[0], moved)}

  def of_G(game):
    return {'loss_G_zcr': given['G'] * consistency.zcr_G(game.fakes, beside(game))}

  return Term(D=of_D, G=of_G)
