"""MoCoGAN (Tulyakov et al. 2018, arXiv:1707.04993, section 3.2): clips, judged frame by frame and as a whole.

A batch has `clip` [B, T, H, W, C]. The categories of the paper's section 3.3 are left out.
"""

import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.losses import adversarial
from ganjax.method import Aux, Method, Phase, Stage, apply, named
from ganjax.sampling import latents

MOST_FRAMES = 1000  # of a sample


def build(nets, *, fields, z_dim=50, motion_dim=10, frames_per_clip=3):
  """A step is an update of both discriminators, then one of G.

  Args:
    nets: {'G': (content, noise) -> clips, 'D_frames': pictures -> logits, 'D_clips': clips -> logits}.
    fields: of the data.
    z_dim, motion_dim: lengths of the content and of a motion code, drawn from N(0, I).
    frames_per_clip: so many frames of each clip, drawn at random, are judged one by one. The authors draw 10 frames
      and 3 clips a step, each anew.
  """
  G = nets['G']
  length = fields['clip'].shape[0]
  latents.check_length(z_dim)
  latents.check_length(motion_dim)
  if not isinstance(frames_per_clip, int) or not 0 < frames_per_clip <= length:
    raise UserError(
      f'method.frames_per_clip={frames_per_clip} must be a whole number from 1 to the {length} frames of a clip'
    )

  def generate(state, key, count):
    content = latents.normal(named(key, 'content'), count, z_dim)
    noise = latents.normal(named(key, 'motion'), count, 1 + length, motion_dim)
    return apply(G, state, content, noise, train=True)

  def judge(state, clips, key):
    """({'frames', 'clips'}: logits, the state that keeps the statistics of both)."""
    out = {}
    seen = {'frames': pick(clips, key, frames_per_clip), 'clips': clips}
    for name, x in seen.items():
      out[name], state = apply(nets[f'D_{name}'], state, x, train=True)
    return out, state

  def discriminators(state, batch, key):
    """The sum of both losses. Keeps statistics of both passes, real then fake; G's are dropped."""
    clips, terms = batch['clip'], {}
    fakes, _ = generate(state, key, len(clips))
    real, state = judge(state, clips, named(key, 'frames of reals'))
    fake, state = judge(state, fakes, named(key, 'frames of fakes'))
    for name in real:
      found = adversarial.non_saturating_D(real[name], fake[name])
      terms |= {f'{term}_{name}': loss for term, loss in found.items()}
    return sum(terms.values()), Aux(state, terms)

  def generator(state, batch, key):
    """The sum of both losses. Keeps G's statistics; those of the discriminators are dropped."""
    fakes, state = generate(state, key, len(batch['clip']))
    logits, _ = judge(state, fakes, named(key, 'frames of fakes'))
    terms = {f'loss_G_{n}': adversarial.non_saturating_G(x) for n, x in logits.items()}
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    clips = batch['clip']
    noise = jnp.zeros((len(clips), 1 + length, motion_dim))
    return {
      'G': (jnp.zeros((len(clips), z_dim)), noise),
      'D_frames': (clips[:, 0],),
      'D_clips': (clips,),
    }

  def rows(seeds, examples, frames=length):
    """Content and noise of each seed; more `frames` go on where fewer end."""
    if not 0 < frames <= MOST_FRAMES:
      raise UserError(f'frames={frames} must be from 1 to {MOST_FRAMES}')
    drawn = latents.per_seed(seeds, z_dim + (1 + frames) * motion_dim)
    noise = drawn[:, z_dim:].reshape(len(drawn), 1 + frames, motion_dim)
    return {'z': drawn[:, :z_dim], 'motion': noise}

  def sample(state, row, **mode):
    return apply(G, state, row['z'], row['motion'], **mode)

  phases = (
    Phase('D', discriminators, ('D_frames', 'D_clips'), 'D'),
    Phase('G', generator, ('G',), 'G'),
  )
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'frames': length},
    stages=(Stage(phases, sample),),
    ema=('G',),
    makes='clip',
  )


def pick(clips, key, count):
  """Frames [B count, H, W, C] of clips [B, T, H, W, C]: `count` of each clip, without repeats."""
  length = clips.shape[1]
  draw = lambda key: jax.random.permutation(key, length)[:count]
  at = jax.vmap(draw)(jax.random.split(key, len(clips)))
  found = jax.vmap(lambda clip, at: clip[at])(clips, at)
  return found.reshape(-1, *clips.shape[2:])
