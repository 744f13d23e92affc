"""CUT and FastCUT (Park et al. 2020, arXiv:2007.15651): image translation one way, learnt without pairs.

A batch has `source` and `target`, pictures [B, H, W, C] of two domains. G's picture should look like a target. In
features of G's own encoder, each place should be closer to the same place of the source than to other places.
"""

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError
from ganjax.losses import translation
from ganjax.losses.patch_nce import patch_nce
from ganjax.method import Aux, Method, Phase, Stage, apply
from ganjax.optim import schedules


def build(
  nets: dict[str, linen.Module],
  *,
  loss: str = 'least_squares',
  nce_weight: schedules.Schedule = 1.0,
  identity: bool = True,
  mirrored: bool = False,
  patches: int = 256,
  temperature: float = 0.07,
) -> Method:
  """A step is an update of D, then one of G and the projection F.

  Args:
    nets: {'G': pictures -> pictures, or their `features`; 'D': pictures -> logits; 'F': places of features -> vectors}.
    loss: 'least_squares' or 'non_saturating', see `losses/translation.py`.
    nce_weight: weight of PatchNCE in G's loss, a number or a `schedules.ramp`: 1 in CUT, 10 in FastCUT.
    identity: whether PatchNCE is also computed for targets as G's input, with half of the weight each (CUT).
    mirrored: whether a step mirrors the sources with probability 1/2, and mirrors their features back (FastCUT).
    patches: number of places of each map that are compared, the same in all pictures of a batch.
    temperature: temperature of PatchNCE.

  Raises:
    UserError: a value that is none of these.
  """
  G, D, F = nets['G'], nets['D'], nets['F']
  loss_D, loss_G = translation.pair(loss)
  schedules.check('method.nce_weight', nce_weight)
  if not isinstance(patches, int) or patches < 2 or temperature <= 0:
    raise UserError(
      f'method.patches={patches} must be at least 2, method.temperature={temperature} above 0'
    )

  def run(net, state, *args, **how):
    """The output alone: no network here has statistics."""
    return apply(net, state, *args, train=True, **how)[0]

  def turn(maps, coins):
    """Those of [B, H, W, C] mirrored whose coin, [B], is true."""
    return jnp.where(coins[:, None, None, None], jnp.flip(maps, 2), maps)

  def encode(state, images):
    return run(G, state, images, features=True)

  def places(maps, key):
    """[B, P, C] of each map, at places drawn without replacement."""
    found = []
    for i, x in enumerate(maps):
      flat = x.reshape(len(x), -1, x.shape[-1])
      order = jax.random.permutation(jax.random.fold_in(key, i), flat.shape[1])
      found.append(flat[:, order[:patches]])
    return tuple(found)

  def nce(state, made, given, key, coins=None):
    """PatchNCE, the mean over the maps, of pictures G made of the `given` ones, mirrored where `coins`."""
    query = encode(state, made)
    query = query if coins is None else [turn(x, coins) for x in query]
    vectors = [run(F, state, places(x, key)) for x in (query, encode(state, given))]
    return sum(patch_nce(q, k, temperature) for q, k in zip(*vectors)) / len(vectors[0])

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics."""
    source, seen = batch['source'], {}
    if mirrored:
      # For both phases: they see the same fakes, which XLA makes once.
      seen['coins'] = jax.random.bernoulli(key, 0.5, (len(source),))
      source = turn(source, seen['coins'])
    terms = loss_D(run(D, state, batch['target']), run(D, state, run(G, state, source)))
    return sum(terms.values()), Aux(state, terms, seen)

  def generator(state, batch, key):
    """The loss of G and F, the sum of its metrics."""
    source, target, coins = batch['source'], batch['target'], batch.get('coins')
    fakes = run(G, state, turn(source, coins) if mirrored else source)
    weight = schedules.ramp(nce_weight, state.step) / (2 if identity else 1)
    terms = {
      'loss_G': loss_G(run(D, state, fakes)),
      'loss_nce': weight * nce(state, fakes, source, jax.random.fold_in(key, 0), coins),
    }
    if identity:
      made = run(G, state, target)
      terms['loss_nce_identity'] = weight * nce(state, made, target, jax.random.fold_in(key, 1))
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    source = batch['source']
    widths = source.shape[-1], *G.feature_widths
    maps = tuple(jnp.zeros((len(source), 1, width)) for width in widths)
    return {'G': (source,), 'D': (batch['target'],), 'F': (maps,)}

  def rows(seeds, examples):
    """The pictures to be translated."""
    return {'source': examples['source']}

  def sample(state, row, **mode):
    return apply(G, state, row['source'], **mode)

  phases = (
    Phase('D', discriminator, ('D',), 'D'),
    Phase('G', generator, ('G', 'F'), 'G'),
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
