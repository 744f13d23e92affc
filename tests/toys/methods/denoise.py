"""A denoising game: noise is of the sample's own shape, networks are told a time, a sample takes several passes.

G takes a field with noise laid over it, and the share of noise in it, to the field; D judges both at that share. A
sample starts from noise alone: each pass takes G's answer and lays less noise over it (after Xiao et al. 2022,
arXiv:2112.07804).
"""

import jax
import jax.numpy as jnp

from ganjax.method import Aux, Method, Phase, Stage, apply, named
from ganjax.sampling import latents


def mix(x, noise, time):
  """`noise` laid over x as the share `time` [n]."""
  time = time.reshape(-1, *[1] * (x.ndim - 1))
  return (1 - time) * x + time * noise


def build(nets, *, fields, makes):
  G, D, shape = nets['G'], nets['D'], fields[makes].shape

  def fakes(state, batch, key):
    x = batch[makes]
    time = jax.random.uniform(named(key, 'time'), (len(x),))
    noisy = mix(x, latents.normal(named(key, 'noise'), *x.shape), time)
    return time, apply(G, state, noisy, time, train=True)

  def generator(state, batch, key):
    time, (made, state) = fakes(state, batch, key)
    loss = -jnp.mean(apply(D, state, made, time, train=True)[0])
    return loss, Aux(state, {'loss_G': loss})

  def discriminator(state, batch, key):
    time, (made, _) = fakes(state, batch, key)
    real, fake = (apply(D, state, x, time, train=True)[0] for x in (batch[makes], made))
    loss = jnp.mean(fake - real + (fake**2 + real**2) / 8)
    return loss, Aux(state, {'loss_D': loss})

  def inputs(batch):
    return dict.fromkeys('GD', (batch[makes], jnp.zeros(len(batch[makes]))))

  def rows(seeds, examples, passes=2):
    noise = latents.per_seed(seeds, passes, *shape)
    return {'noise': noise, 'times': jnp.tile(1 - jnp.arange(passes) / passes, (len(seeds), 1))}

  def sample(state, row, **mode):
    def one(x, now):
      noise, time = now
      return apply(G, state, mix(x, noise, time), time, **mode)[0], None

    in_turn = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (row['noise'], row['times']))
    start = jnp.zeros_like(row['noise'][:, 0])
    return jax.lax.scan(one, start, in_turn)[0], state

  phases = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
  stages = (Stage(phases, sample),)
  return Method(nets, inputs, rows, stages, ema=('G',), makes=makes, options={'passes': 2})
