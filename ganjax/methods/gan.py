"""The plain adversarial game of one generator and one discriminator (Goodfellow et al. 2014, arXiv:1406.2661)."""

import inspect
import zlib

import jax
import jax.numpy as jnp
from jax import nn

from ganjax import UserError, latents, losses
from ganjax import penalties as kinds
from ganjax.update import Aux, Method, Phase, Stage, apply


def build(
  nets,
  *,
  z_dim: int,
  loss='non_saturating',
  n_critic=1,
  fakes_per_real=1,
  penalties=None,
  penalties_every=1,
):
  """A step is n_critic updates of D, then one of G.

  Args:
    nets: {'G': z [B, z_dim] -> images, 'D': images -> logits [B]}.
    z_dim: length of the latent, drawn from N(0, I).
    loss: NAME of the pair NAME_D, NAME_G in `ganjax.losses`.
    n_critic: updates of D a step, each on a batch of its own.
    fakes_per_real: G trains on so many times D's batch of fakes (2 in SNGAN, arXiv:1802.05957, and its descendants).
    penalties: {NAME in `ganjax.penalties`: weight}, added to D's loss; the weight is what that penalty's paper calls
      lambda or gamma.
    penalties_every: 1, or k: the penalties leave D's loss for a phase of their own, D_penalty, at every k-th step and k
      times as strong (lazy regularization, arXiv:1912.04958, appendix B).
  """
  G, D = nets['G'], nets['D']
  try:
    loss_D, loss_G = getattr(losses, f'{loss}_D'), getattr(losses, f'{loss}_G')
  except AttributeError:
    known = sorted(n[:-2] for n in vars(losses) if n.endswith('_D'))
    raise UserError(f'method.loss={loss!r} is not known; losses are {", ".join(known)}') from None
  if min(z_dim, n_critic, fakes_per_real) < 1:
    raise UserError('method.z_dim, method.n_critic and method.fakes_per_real must be at least 1')
  penalties = dict(penalties or {})
  known = [n for n, f in vars(kinds).items() if inspect.isfunction(f) and not n.startswith('_')]
  for name, weight in penalties.items():
    if name not in known:
      raise UserError(
        f'method.penalties.{name} is not known; penalties are {", ".join(sorted(known))}'
      )
    if not 0 <= weight < float('inf'):
      raise UserError(f'method.penalties.{name}={weight} must be a finite number from 0')
  if penalties_every < 1 or (penalties_every > 1 and not penalties):
    raise UserError(
      f'method.penalties_every={penalties_every} must be at least 1, and 1 where there are no penalties'
    )

  def penalize(state, images, fakes, key):
    """The weighted penalties by name. D runs in train mode and its statistics are dropped."""
    logits = lambda x: apply(D, state, x, train=True)[0]
    # A key of each penalty's own, whatever the others are.
    draw = lambda name: jax.random.fold_in(key, zlib.crc32(name.encode()))
    return {
      f'loss_{name}': weight * getattr(kinds, name)(logits, images, fakes, draw(name))
      for name, weight in penalties.items()
    }

  def penalty(state, batch, key):
    """The penalties alone, as a phase. Keeps no statistics."""
    fakes, _ = apply(G, state, latents.normal(key, len(batch['image']), z_dim), train=True)
    terms = penalize(state, batch['image'], fakes, key)
    return sum(terms.values()), Aux(state, terms)

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics loss_*. Keeps D's statistics of both passes, real then fake; G's are dropped."""
    images = batch['image']
    fakes, _ = apply(G, state, latents.normal(key, len(images), z_dim), train=True)
    real, state = apply(D, state, images, train=True)
    fake, state = apply(D, state, fakes, train=True)
    terms = loss_D(real, fake)
    if penalties_every == 1:
      terms |= penalize(state, images, fakes, key)
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

  phases = [Phase('D', discriminator, ('D',), 'D', repeat=True)]
  if penalties_every > 1:
    phases.append(Phase('D_penalty', penalty, ('D',), 'D', every=penalties_every))
  phases.append(Phase('G', generator, ('G',), 'G'))
  return Method(
    nets=nets,
    inputs=lambda batch: {'G': (jnp.zeros((len(batch['image']), z_dim)),), 'D': (batch['image'],)},
    latents=lambda seeds: latents.per_seed(seeds, z_dim),
    stages=(Stage(tuple(phases), sample),),
    n_critic=n_critic,
    ema=('G',),
  )
