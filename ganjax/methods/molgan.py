"""MolGAN (De Cao and Kipf 2018, arXiv:1805.11973, section 3): the losses of `methods/gan.py`, and a reward.

A third network, V, learns the reward of real molecules and fakes, by squared error. G's loss is lambda times its
adversarial loss plus 1 - lambda times -V of its molecules (section 3.3). V is needed because the reward itself has no
derivative: it takes the likeliest element of each atom, and the likeliest bond of each pair.

As in the authors' code, V's part is scaled to the size of the adversarial loss; the scale gets no gradient. Their
rewards come from RDKit, as `druglikeness` does here. `valid` is computed on the device.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError, component
from ganjax.dtypes import widen
from ganjax.losses import rewards, terms
from ganjax.method import Aux, Method, Phase, apply, named
from ganjax.methods import gan
from ganjax.optim import schedules
from ganjax.sampling import latents
from ganjax.wording import closest


def build(
  nets: dict[str, linen.Module],
  *,
  z_dim: int,
  adversarial: schedules.Schedule = 1.0,
  reward: str = 'valid',
  loss: str = 'wasserstein',
  n_critic: int = 4,
  **more: Annotated[Any, terms.FOLDER],
) -> Method:
  """A step is n_critic updates of D, one of V, then one of G.

  Args:
    nets: {'G': z [B, z_dim] -> molecules, 'D': molecules -> logits [B], 'V': molecules -> [B] in (0, 1)}.
    z_dim: length of the latent, drawn from N(0, I).
    adversarial: the paper's lambda, from 0 to 1, a number or a `schedules.ramp`. 1: only the adversarial loss.
    reward: NAME in `ganjax.losses.rewards`.
    loss: NAME of the pair NAME_D, NAME_G in `ganjax.losses.adversarial`.
    n_critic: updates of D a step, each on a new batch.
    **more: terms that are added to the losses, as in `methods/gan.py`.

  Raises:
    UserError: networks without V, another reward, or a lambda out of bounds.
  """
  if 'V' not in nets:
    raise UserError('method.name=molgan needs networks.value=True, the network of the reward')
  known = component.functions(rewards)
  if reward not in known:
    raise UserError(
      f'method.reward={reward!r} is not known{closest(reward, known)}; there are {", ".join(known)}'
    )
  schedules.check('method.adversarial', adversarial, 0.0, 1.0)
  game = gan.build({k: nets[k] for k in 'GD'}, z_dim=z_dim, loss=loss, n_critic=n_critic, **more)
  G, V, of = nets['G'], nets['V'], known[reward]
  (stage,) = game.stages
  *critics, generator = stage.phases

  def make(state, batch, key):
    z = latents.normal(key, len(batch['molecule']), z_dim)
    return apply(G, state, z, None, train=True)[0]

  def value(state, batch, key):
    """V's squared error on reals and fakes."""
    fakes, found = make(state, batch, key), {}
    for name, x in ('real', batch['molecule']), ('fake', jax.lax.stop_gradient(fakes)):
      worth = of(x)
      told, state = apply(V, state, x, train=True, key=named(key, name))
      found |= {
        f'loss_V_{name}': jnp.mean((widen(told) - worth) ** 2),
        f'reward_{name}': jnp.mean(worth),
      }
    return found['loss_V_real'] + found['loss_V_fake'], Aux(state, found)

  def generate(state, batch, key):
    """lambda of G's loss in the game, of the same molecules."""
    total, aux = generator.loss(state, batch, key)
    told, _ = apply(V, state, make(state, batch, key), train=True, key=named(key, 'value'))
    wanted = -jnp.mean(widen(told))
    share = schedules.ramp(adversarial, state.step)
    scale = jax.lax.stop_gradient(jnp.abs(total) / jnp.maximum(jnp.abs(wanted), 1e-8))
    loss_V = (1 - share) * scale * wanted
    return share * total + loss_V, aux._replace(metrics={**aux.metrics, 'loss_G_V': loss_V})

  phases = (
    *critics,
    Phase('V', value, ('V',), 'V'),
    generator._replace(loss=generate),
  )
  return game._replace(
    nets=nets,
    inputs=lambda batch: game.inputs(batch) | {'V': (batch['molecule'],)},
    stages=(stage._replace(phases=phases),),
  )
