"""The plain adversarial game of one generator and one discriminator (Goodfellow et al. 2014, arXiv:1406.2661)."""

import jax.numpy as jnp
from jax import nn

from ganjax import UserError, latents, losses
from ganjax.update import Aux, Method, Phase, Stage, apply


def build(nets, *, z_dim: int, loss='non_saturating', n_critic=1, fakes_per_real=1):
  """A step is n_critic updates of D, then one of G.

  Args:
    nets: {'G': z [B, z_dim] -> images, 'D': images -> logits [B]}.
    z_dim: length of the latent, drawn from N(0, I).
    loss: NAME of the pair NAME_D, NAME_G in `ganjax.losses`.
    n_critic: updates of D a step, each on a batch of its own.
    fakes_per_real: G trains on so many times D's batch of fakes (2 in SNGAN, arXiv:1802.05957, and its descendants).
  """
  G, D = nets['G'], nets['D']
  try:
    loss_D, loss_G = getattr(losses, f'{loss}_D'), getattr(losses, f'{loss}_G')
  except AttributeError:
    known = sorted(n[:-2] for n in vars(losses) if n.endswith('_D'))
    raise UserError(f'method.loss={loss!r} is not known; losses are {", ".join(known)}') from None
  if min(z_dim, n_critic, fakes_per_real) < 1:
    raise UserError('method.z_dim, method.n_critic and method.fakes_per_real must be at least 1')

  def discriminator(state, batch, key):
    """D's loss. Keeps D's statistics of both passes, real then fake; G's are dropped."""
    images = batch['image']
    fakes, _ = apply(G, state, latents.normal(key, len(images), z_dim), train=True)
    real, state = apply(D, state, images, train=True)
    fake, state = apply(D, state, fakes, train=True)
    terms = loss_D(real, fake)
    # |logit| > 4.6: D(x) below 0.01 or above 0.99, where the minimax gradient has died.
    saturated = lambda logits: jnp.mean(jnp.abs(logits) > 4.6)
    return sum(terms.values()), Aux(
      state,
      {
        **terms,
        'D_real': jnp.mean(nn.sigmoid(real)),
        'D_fake': jnp.mean(nn.sigmoid(fake)),
        'D_saturated': (saturated(real) + saturated(fake)) / 2,
      },
    )

  def generator(state, batch, key):
    """G's loss. Keeps G's statistics; D runs in train mode and its statistics are dropped."""
    z = latents.normal(key, fakes_per_real * len(batch['image']), z_dim)
    fakes, state = apply(G, state, z, train=True)
    logits, _ = apply(D, state, fakes, train=True)
    value = loss_G(logits)
    return value, Aux(state, {'loss_G': value})

  def sample(state, z, **mode):
    return apply(G, state, z, **mode)

  return Method(
    nets=nets,
    inputs=lambda batch: {'G': (jnp.zeros((len(batch['image']), z_dim)),), 'D': (batch['image'],)},
    latents=lambda seeds: latents.per_seed(seeds, z_dim),
    stages=(
      Stage(
        (Phase('D', discriminator, ('D',), 'D', repeat=True), Phase('G', generator, ('G',), 'G')),
        sample,
      ),
    ),
    n_critic=n_critic,
    ema=('G',),
  )
