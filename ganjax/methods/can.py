"""CAN, the creative adversarial network (Elgammal et al. 2017, arXiv:1706.07068, section 3): art that fits no style.

A batch has `image` [B, H, W, C] and `label` [B], its style. D separates real pictures from fakes, and classifies the
style of real ones. G wants its pictures to look real, and D to be undecided between the styles: the style ambiguity
loss.
"""

import jax
import jax.numpy as jnp
from flax import linen
from jax import nn

from ganjax import UserError
from ganjax.losses import adversarial
from ganjax.method import Aux, Method, Phase, Stage, apply
from ganjax.sampling import latents

LOSSES = 'cross_entropy', 'binary'


def build(
  nets: dict[str, linen.Module],
  *,
  z_dim: int = 100,
  ambiguity: float = 1.0,
  ambiguity_loss: str = 'cross_entropy',
) -> Method:
  """A step is an update of D and one of G.

  Args:
    nets: {'G': z -> pictures, 'D': (pictures, labels) -> (logits [B], scores of the styles [B, K])}.
    z_dim: length of the latent, drawn from N(0, I).
    ambiguity: weight of the style ambiguity loss, the paper's lambda.
    ambiguity_loss: 'cross_entropy': between the style probabilities and the uniform distribution. 'binary': the sum of
      K binary cross-entropies with 1/K (equation 2).
  """
  G, D = nets['G'], nets['D']
  latents.check_length(z_dim)
  if ambiguity_loss not in LOSSES or not ambiguity >= 0:
    raise UserError(
      f'method.ambiguity_loss={ambiguity_loss!r} must be {" or ".join(LOSSES)}, and ambiguity={ambiguity} a number '
      'from 0'
    )

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics loss_*. Keeps D's statistics of both passes, real then fake; G's are dropped."""
    image, label = batch['image'], batch['label']
    fakes, _ = apply(G, state, latents.normal(key, len(image), z_dim), train=True)
    (real, styles), state = apply(D, state, image, label, train=True)
    (fake, _), state = apply(D, state, fakes, label, train=True)
    terms = adversarial.non_saturating_D(real, fake)
    own = jnp.take_along_axis(nn.log_softmax(styles), label[:, None], 1)
    terms['loss_style'] = -jnp.mean(own)
    right = jnp.mean(jnp.argmax(styles, 1) == label)
    return sum(terms.values()), Aux(state, {**terms, 'D_style_accuracy': right})

  def generator(state, batch, key):
    """G's loss. Keeps G's statistics; D runs in train mode and its statistics are dropped."""
    image, label = batch['image'], batch['label']
    fakes, state = apply(G, state, latents.normal(key, len(image), z_dim), train=True)
    (fake, styles), _ = apply(D, state, fakes, label, train=True)
    terms = {
      'loss_G': adversarial.non_saturating_G(fake),
      'loss_ambiguity': ambiguity * undecided(styles, ambiguity_loss),
    }
    # 1 where D is undecided, 0 where it is sure.
    p = nn.softmax(styles)
    entropy = -jnp.mean(jnp.sum(p * nn.log_softmax(styles), 1)) / jnp.log(styles.shape[1])
    return sum(terms.values()), Aux(state, {**terms, 'G_style_entropy': entropy})

  def inputs(batch):
    n, label = len(batch['image']), batch['label']
    return {'G': (jnp.zeros((n, z_dim)),), 'D': (batch['image'], label)}

  def rows(seeds, examples, truncation=0.0):
    return latents.per_seed(seeds, z_dim, truncation=truncation)

  def sample(state, z, **mode):
    return apply(G, state, z, **mode)

  phases = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0},
    stages=(Stage(phases, sample),),
    ema=('G',),
    num_classes=D.num_classes,
  )


def undecided(scores: jax.Array, loss: str) -> jax.Array:
  """How far D is from taking all of K styles for equally likely, of its scores [B, K]; a scalar of LOSSES."""
  count = scores.shape[1]
  if loss == 'cross_entropy':
    return -jnp.mean(nn.log_softmax(scores))
  log_p = nn.log_softmax(scores)
  # log(1 - p) of a softmax, exact where p is nearly 1.
  others = jnp.where(jnp.eye(count, dtype=bool), -jnp.inf, scores[:, None])
  log_rest = nn.logsumexp(others, axis=2) - nn.logsumexp(scores, axis=1, keepdims=True)
  return -jnp.mean(jnp.sum(log_p / count + (1 - 1 / count) * log_rest, 1))
