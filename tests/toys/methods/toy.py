"""A GAN of any kind of data; with `start` samples start from that field, with `cycle` two directions train at once.

With `pool` D sees the fake of an earlier step: a pool of one, kept in `extra`. With `stages` there are two, of other
batches and fresh optimizers; where the second starts, D becomes minus itself.
"""

import jax
import jax.numpy as jnp

from ganjax.method import Aux, Method, Phase, Stage, apply
from ganjax.sampling import latents

Z = 4


def build(nets, *, fields, makes, start=None, cycle=False, pool=False, stages=False):
  def given(batch, key):
    return batch[start] if start else latents.normal(key, len(batch[makes]), Z)

  def fakes(state, batch, key):
    out = {'G': (makes, apply(nets['G'], state, given(batch, key), train=True)[0])}
    if cycle:
      out['G_back'] = start, apply(nets['G_back'], state, batch[makes], train=True)[0]
    return out

  def judge(state, name, x):
    return apply(nets[name], state, x, train=True)[0]

  def generators(state, batch, key):
    made = fakes(state, batch, key)
    losses = {
      f'loss_{net}': -jnp.mean(judge(state, net.replace('G', 'D'), x))
      for net, (_, x) in made.items()
    }
    if cycle:
      back, _ = apply(nets['G_back'], state, made['G'][1], train=True)
      losses['loss_cycle'] = jnp.mean(jnp.abs(back - batch[start]))
    carry = {f'made_{net}': jax.lax.stop_gradient(x) for net, (_, x) in made.items()}
    return sum(losses.values()), Aux(state, losses, carry)

  def discriminators(state, batch, key):
    losses = {}
    for net, field in {'G': makes, **({'G_back': start} if cycle else {})}.items():
      fake, name = batch[f'made_{net}'], net.replace('G', 'D')
      if pool:
        seen = state.extra['pool'][net]
        state = state.replace(extra={'pool': {**state.extra['pool'], net: fake[0]}})
        fake = jnp.concatenate([seen[None].astype(fake.dtype), fake[1:]])
      real, fake = judge(state, name, batch[field]), judge(state, name, fake)
      losses[f'loss_{name}'] = jnp.mean(fake - real + (fake**2 + real**2) / 8)
    return sum(losses.values()), Aux(state, losses)

  def inputs(batch):
    x = batch[start] if start else jnp.zeros((len(batch[makes]), Z))
    out = {'G': (x,), 'D': (batch[makes],)}
    return out | ({'G_back': (batch[makes],), 'D_back': (batch[start],)} if cycle else {})

  def rows(seeds, examples, strength=1.0):
    x = examples[start] if start else latents.per_seed(seeds, Z)
    return {'x': x, 'strength': jnp.full(len(seeds), strength)}

  def sample(state, rows, **mode):
    out, state = apply(nets['G'], state, rows['x'], **mode)
    return out * rows['strength'].reshape(-1, *[1] * (out.ndim - 1)), state

  def turn(state):
    flip = lambda net: jax.tree.map(jnp.negative, state.params[net])
    return state.replace(params={**state.params, 'D': flip('D')})

  G, D = ('G', 'G_back') if cycle else ('G',), ('D', 'D_back') if cycle else ('D',)
  phases = (Phase('G', generators, G, 'G'), Phase('D', discriminators, D, 'D'))
  made = {'G': fields[makes].shape} | ({'G_back': fields[start].shape} if cycle else {})
  second = Stage(phases, sample, data={'batch_size': 4}, reset_opt=True, begin=turn)
  return Method(
    nets,
    inputs,
    rows,
    (Stage(phases, sample, steps=0.5), second) if stages else (Stage(phases, sample),),
    ema=G,
    extra={'pool': {net: jnp.zeros(shape) for net, shape in made.items()}} if pool else {},
    makes=makes,
    examples=(start,) if start else (),
    options={'strength': 1.0},
  )
