"""DF-GAN (Tao et al. 2022, arXiv:2008.05865): pictures from texts.

A batch has `image` [B, H, W, C] and `sentence` [B, E], the vector of its caption. D's logit says whether a picture is
real and matches the text. So real pictures with the texts of other pictures count as fakes.
"""

import jax.numpy as jnp
from flax import linen
from jax import nn

from ganjax import UserError
from ganjax.losses import conditional
from ganjax.method import Aux, Method, Phase, Stage, apply
from ganjax.sampling import latents


def build(
  nets: dict[str, linen.Module], *, z_dim: int = 100, gp_weight: float = 2.0, gp_power: float = 6.0
) -> Method:
  """A step is an update of D and one of G, on the same fakes.

  Args:
    nets: {'G': (z, sentence) -> pictures, 'D': (pictures, sentence) -> logits [B], with the two halves `look` and
      `judge`}.
    z_dim: length of the latent, drawn from N(0, I).
    gp_weight, gp_power: k and p of the matching-aware gradient penalty (equation 2).
  """
  G, D = nets['G'], nets['D']
  latents.check_length(z_dim)
  if min(gp_weight, gp_power) < 0:
    raise UserError(
      f'method.gp_weight={gp_weight} and method.gp_power={gp_power} must be numbers from 0'
    )

  def judge(state, features, sentence):
    return apply(D, state, features, sentence, method='judge', train=True)[0]

  def look(state, image):
    return apply(D, state, image, method='look', train=True)[0]

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics loss_* (equation 1)."""
    image, sentence = batch['image'], batch['sentence']
    z = latents.normal(key, len(image), z_dim)
    fakes, _ = apply(G, state, z, sentence, train=True)
    features = look(state, image)
    real = judge(state, features, sentence)
    mismatched = judge(state, jnp.roll(features, -1, 0), sentence)
    fake = judge(state, look(state, fakes), sentence)
    logit = lambda image, sentence: apply(D, state, image, sentence, train=True)[0]
    terms = {
      'loss_real': jnp.mean(nn.relu(1 - real)),
      'loss_fake': jnp.mean(nn.relu(1 + fake)) / 2,
      'loss_mismatched': jnp.mean(nn.relu(1 + mismatched)) / 2,
      'loss_ma_gp': gp_weight * conditional.matching_aware(logit, image, sentence, gp_power),
    }
    means = {'D_real': real, 'D_mismatched': mismatched, 'D_fake': fake}
    means = {name: jnp.mean(x) for name, x in means.items()}
    # G's phase draws the same fakes, so that XLA makes them once.
    return sum(terms.values()), Aux(state, {**terms, **means}, {'z': z})

  def generator(state, batch, key):
    """G's loss."""
    fakes, state = apply(G, state, batch['z'], batch['sentence'], train=True)
    loss = -jnp.mean(judge(state, look(state, fakes), batch['sentence']))
    return loss, Aux(state, {'loss_G': loss})

  def inputs(batch):
    image, sentence = batch['image'], batch['sentence']
    return {'G': (jnp.zeros((len(image), z_dim)), sentence), 'D': (image, sentence)}

  def rows(seeds, examples, truncation=0.0, scale=1.0):
    """A latent for each seed, times `scale`, and the vector of its text."""
    z = scale * latents.per_seed(seeds, z_dim, truncation=truncation)
    return {'z': z, 'sentence': examples['sentence']}

  def sample(state, row, **mode):
    return apply(G, state, row['z'], row['sentence'], **mode)

  phases = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0, 'scale': 1.0},
    stages=(Stage(phases, sample),),
    ema=('G',),
    examples=('text', 'sentence'),
  )
