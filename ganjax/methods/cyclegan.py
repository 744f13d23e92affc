"""CycleGAN (Zhu et al. 2017, arXiv:1703.10593): image translation both ways, learnt without pairs.

A batch has `source`, pictures of the domain A, and `target`, pictures of B, both [B, H, W, C]. They need not match.
Three losses train the generators: translated there and back, a picture should be itself; a translated picture should
look like its new domain; a picture that is already of the target domain should not change.
"""

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError, media
from ganjax.dtypes import wide
from ganjax.losses import translation
from ganjax.method import Aux, Method, Phase, Stage, apply
from ganjax.optim import schedules
from ganjax.views import pool

DIRECTIONS = 'AtoB', 'BtoA'


def build(
  nets: dict[str, linen.Module],
  *,
  fields: dict[str, media.Field],
  loss: str = 'least_squares',
  cycle_weight: schedules.Schedule = 10.0,
  identity_weight: schedules.Schedule = 5.0,
  pool_size: int = 50,
) -> Method:
  """A step is an update of both generators, then one of both discriminators, on fakes from a pool of earlier ones.

  Args:
    nets: {'G_AB', 'G_BA': pictures -> pictures; 'D_A', 'D_B': pictures of a domain -> logits}.
    fields: of the data.
    loss: 'least_squares' or 'non_saturating' (cross-entropy), see `losses/translation.py`.
    cycle_weight: weight of the cycle loss, the L1 distance there and back, in each domain; a number or a
      `schedules.ramp`.
    identity_weight: weight of the L1 distance between a picture of the target domain and its translation; 0 if the
      domains need not look alike. The authors' code calls a tenth of it lambda_idt, 0.5.
    pool_size: number of earlier fakes of each domain that D may see again; 0: only new ones.

  Raises:
    UserError: a value that is none of these.
  """
  loss_D, loss_G = translation.pair(loss)
  for name, weight in ('cycle_weight', cycle_weight), ('identity_weight', identity_weight):
    schedules.check(f'method.{name}', weight)
  if not isinstance(pool_size, int) or not 0 <= pool_size <= 10_000:
    raise UserError(f'method.pool_size={pool_size} must be whole, from 0 to 10,000')

  def translate(state, name, pictures):
    return apply(nets[name], state, pictures, train=True)

  def distance(a, b):
    return jnp.mean(jnp.abs(a - b))

  def generators(state, batch, key):
    """The loss of both, the sum of its metrics. Keeps their statistics of the first pass, if they have any."""
    A, B = batch['source'], batch['target']
    fake_B, state = translate(state, 'G_AB', A)
    fake_A, state = translate(state, 'G_BA', B)
    weight = schedules.ramp(cycle_weight, state.step)
    terms = {
      'loss_G_AB': loss_G(translate(state, 'D_B', fake_B)[0]),
      'loss_G_BA': loss_G(translate(state, 'D_A', fake_A)[0]),
      'loss_cycle_A': weight * distance(translate(state, 'G_BA', fake_B)[0], A),
      'loss_cycle_B': weight * distance(translate(state, 'G_AB', fake_A)[0], B),
    }
    if identity_weight:
      weight = schedules.ramp(identity_weight, state.step)
      terms['loss_identity_A'] = weight * distance(translate(state, 'G_BA', A)[0], A)
      terms['loss_identity_B'] = weight * distance(translate(state, 'G_AB', B)[0], B)
    return sum(terms.values()), Aux(state, terms, {'fake_A': fake_A, 'fake_B': fake_B})

  def discriminators(state, batch, key):
    """The loss of both, the sum of its metrics. Keeps their statistics, if they have any, and the pools."""
    terms, pools = {}, dict(state.extra)
    for number, (domain, field) in enumerate((('A', 'source'), ('B', 'target'))):
      fakes = batch[f'fake_{domain}']
      if pool_size:
        own_key = jax.random.fold_in(key, number)
        pools[domain], fakes = pool.exchange(pools[domain], fakes, own_key)
      real, state = translate(state, f'D_{domain}', batch[field])
      fake, state = translate(state, f'D_{domain}', fakes)
      terms |= {f'{name}_{domain}': term for name, term in loss_D(real, fake).items()}
    return sum(terms.values()), Aux(state.replace(extra=pools), terms)

  def inputs(batch):
    A, B = batch['source'], batch['target']
    return {'G_AB': (A,), 'G_BA': (B,), 'D_A': (A,), 'D_B': (B,)}

  def rows(seeds, examples, direction='AtoB'):
    """The pictures to be translated, by the name of the domain that they are taken for."""
    if direction not in DIRECTIONS:
      raise UserError(f'direction={direction!r} is neither AtoB nor BtoA')
    return {'A' if direction == 'AtoB' else 'B': examples['source']}

  def sample(state, row, **mode):
    ((domain, pictures),) = row.items()
    return apply(nets['G_AB' if domain == 'A' else 'G_BA'], state, pictures, **mode)

  phases = (
    Phase('G', generators, ('G_AB', 'G_BA'), 'G'),
    Phase('D', discriminators, ('D_A', 'D_B'), 'D'),
  )
  dtype = wide(nets['G_AB'].dtype)  # of what `apply` returns
  empty = lambda field: pool.start(pool_size, fields[field].shape, dtype)
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    stages=(Stage(phases, sample),),
    ema=('G_AB', 'G_BA'),
    makes='target',
    examples=('source',),
    multiple=getattr(nets['G_AB'], 'multiple', None),
    options={'direction': 'AtoB'},
    extra={'A': empty('source'), 'B': empty('target')} if pool_size else {},
  )
