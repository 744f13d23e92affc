"""pix2pix (Isola et al. 2017, arXiv:1611.07004): image translation, learnt from pairs.

A batch has `source` [B, H, W, S] and `target` [B, H, W, C]. D judges whether a target, or G's picture, matches its
source. G's loss is the adversarial loss plus the L1 distance from the target.
"""

import jax
import jax.numpy as jnp
from flax import linen

from ganjax.devices import sharding
from ganjax.losses import translation
from ganjax.method import Aux, Method, Phase, Stage, apply
from ganjax.optim import schedules


def build(
  nets: dict[str, linen.Module],
  *,
  loss: str = 'non_saturating',
  l1_weight: schedules.Schedule = 100.0,
  own_statistics: bool = True,
) -> Method:
  """A step is an update of D and one of G, on the same fakes.

  Args:
    nets: {'G': (sources, a key for each [B]) -> pictures, 'D': (source and picture, joined by channels) -> logits}.
    loss: 'non_saturating' (cross-entropy) or 'least_squares', see `losses/translation.py`.
    l1_weight: weight of the L1 distance in G's loss, a number or a `schedules.ramp`.
    own_statistics: whether batch norm in G uses the statistics of each single picture in sampling, as in the paper,
      which samples with batches of one. Otherwise the mode of sampling decides.

  Raises:
    UserError: a value that is none of these.
  """
  G, D = nets['G'], nets['D']
  loss_D, loss_G = translation.pair(loss)
  schedules.check('method.l1_weight', l1_weight)

  def judge(state, source, picture):
    return apply(D, state, _join(source, picture), train=True)

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics. Keeps D's statistics of both passes, real then fake; G's are dropped."""
    source, target = batch['source'], batch['target']
    keys = sharding.keep_split(jax.random.split(key, len(source)))
    fakes, _ = apply(G, state, source, keys, train=True)
    real, state = judge(state, source, target)
    fake, state = judge(state, source, fakes)
    terms = loss_D(real, fake)
    # G's phase draws the same fakes, so that XLA makes them once.
    return sum(terms.values()), Aux(state, terms, {'dropout': keys})

  def generator(state, batch, key):
    """G's loss, the sum of its metrics. Keeps G's statistics; D runs in train mode and its statistics are dropped."""
    source, target = batch['source'], batch['target']
    fakes, state = apply(G, state, source, batch['dropout'], train=True)
    terms = {
      'loss_G': loss_G(judge(state, source, fakes)[0]),
      'loss_l1': schedules.ramp(l1_weight, state.step) * jnp.mean(jnp.abs(target - fakes)),
    }
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    source = batch['source']
    keys = jax.random.split(jax.random.key(0), len(source))
    return {'G': (source, keys), 'D': (_join(source, batch['target']),)}

  def rows(seeds, examples):
    """The source of each, and the seed of its dropout."""
    return {'source': examples['source'], 'seed': jnp.asarray(seeds, jnp.int32)}

  def sample(state, row, *, train=False, **mode):
    source, keys = row['source'], jax.vmap(jax.random.key)(row['seed'])
    if not own_statistics or mode.get('standing'):
      return apply(G, state, source, keys, train=train, **mode)
    alone = lambda source, key: apply(G, state, source[None], key[None], train=True)[0][0]
    return jax.vmap(alone)(source, keys), state

  phases = (
    Phase('D', discriminator, ('D',), 'D'),
    Phase('G', generator, ('G',), 'G'),
  )
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    stages=(Stage(phases, sample),),
    ema=('G',),
    makes='target',
    examples=('source',),
    multiple=getattr(G, 'multiple', None),
  )


def _join(source, picture):
  """The condition first."""
  return jnp.concatenate([source, picture], -1)
