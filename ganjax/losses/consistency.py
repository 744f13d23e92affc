"""Latent consistency, zCR (Zhao et al. 2020, arXiv:2002.04724, section 3.2): z and z + e, a small step apart.

e is N(0, sigma^2) of each coordinate. D is to say the same of G(z) and G(z + e), and G is to draw them apart, which
keeps it from ignoring z. The weights in their losses are lambda_dis and lambda_gen. With `penalties.bcr`, which weighs
10, this is ICR; for CIFAR-10 StudioGAN sets sigma 0.05, lambda_dis 20 and lambda_gen 0.5.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ganjax.dtypes import widen
from ganjax.losses.term import Term, fields, named


def build(given: Mapping[str, float] | ConfigDict | None) -> Term:
  """Terms loss_zcr of D and loss_G_zcr of G.

  Args:
    given: None, or {'sigma': of e, 'D': lambda_dis, 'G': lambda_gen}.
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
    return {'loss_zcr': given['D'] * zcr_D(game.of_fake[0], moved)}

  def of_G(game):
    return {'loss_G_zcr': given['G'] * zcr_G(game.fakes, beside(game))}

  return Term(D=of_D, G=of_G)


def zcr_D(logits: jax.Array, moved_logits: jax.Array) -> jax.Array:
  """E (D(G(z)) - D(G(z + e)))^2 over logits of any shape, for D's loss."""
  return _distance(logits, moved_logits)


def zcr_G(images: jax.Array, moved_images: jax.Array) -> jax.Array:
  """-E (G(z) - G(z + e))^2 over images [B, H, W, C], the mean over all values, for G's loss: at most 0."""
  return -_distance(images, moved_images)


def _distance(a, b):
  """E (a - b)^2 over all values, in float32 at least."""
  return jnp.mean((widen(a) - widen(b)) ** 2)
