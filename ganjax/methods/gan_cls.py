"""GAN-INT-CLS (Reed et al. 2016, arXiv:1605.05396, sections 4.2 and 4.3): pictures from texts.

A batch has `image` [B, H, W, C] and `sentence` [B, E], the vector of its caption. D also learns to reject real pictures
with the texts of other pictures. G also learns from interpolated texts, halfway between two.
"""

import jax.numpy as jnp
from flax import linen

from ganjax import UserError
from ganjax.losses import adversarial
from ganjax.method import Aux, Method, Phase, Stage, apply, named
from ganjax.sampling import latents


def build(nets: dict[str, linen.Module], *, z_dim: int = 100, between: float = 1.0) -> Method:
  """A step is an update of D and one of G.

  Args:
    nets: {'G': (z, sentence) -> pictures, 'D': (pictures, sentence) -> logits [B]}.
    z_dim: length of the latent, drawn from N(0, I).
    between: weight of interpolated texts in G's loss (equation 5), half as many as the batch has; 0: GAN-CLS without
      them.
  """
  G, D = nets['G'], nets['D']
  latents.check_length(z_dim)
  if not between >= 0:
    raise UserError(f'method.between={between} must be a number from 0')

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics loss_* (algorithm 1). Keeps D's statistics of all passes; G's are dropped."""
    image, sentence = batch['image'], batch['sentence']
    z = latents.normal(named(key, 'z'), len(image), z_dim)
    fakes, _ = apply(G, state, z, sentence, train=True)
    real, state = apply(D, state, image, sentence, train=True)
    mismatched, state = apply(D, state, jnp.roll(image, -1, 0), sentence, train=True)
    fake, state = apply(D, state, fakes, sentence, train=True)
    terms = adversarial.non_saturating_D(real, fake)
    terms['loss_fake'] = terms['loss_fake'] / 2
    terms['loss_mismatched'] = adversarial.non_saturating_D(real, mismatched)['loss_fake'] / 2
    means = {'D_real': real, 'D_mismatched': mismatched, 'D_fake': fake}
    means = {name: jnp.mean(x) for name, x in means.items()}
    return sum(terms.values()), Aux(state, {**terms, **means})

  def generator(state, batch, key):
    """G's loss. Keeps G's statistics of both passes; D runs in train mode and its statistics are dropped."""
    sentence = batch['sentence']

    def judge(state, sentence, purpose):
      z = latents.normal(named(key, purpose), len(sentence), z_dim)
      fakes, state = apply(G, state, z, sentence, train=True)
      logits, _ = apply(D, state, fakes, sentence, train=True)
      return adversarial.non_saturating_G(logits), state

    terms = {}
    terms['loss_G'], state = judge(state, sentence, 'z')
    if between:
      half = len(sentence) // 2
      middle = (sentence[:half] + sentence[half : 2 * half]) / 2
      loss, state = judge(state, middle, 'z between')
      terms['loss_between'] = between * loss
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    image, sentence = batch['image'], batch['sentence']
    return {'G': (jnp.zeros((len(image), z_dim)), sentence), 'D': (image, sentence)}

  def rows(seeds, examples, truncation=0.0):
    """A latent for each seed, and the vector of its text."""
    z = latents.per_seed(seeds, z_dim, truncation=truncation)
    return {'z': z, 'sentence': examples['sentence']}

  def sample(state, row, **mode):
    return apply(G, state, row['z'], row['sentence'], **mode)

  phases = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0},
    stages=(Stage(phases, sample),),
    ema=('G',),
    examples=('text', 'sentence'),
  )
