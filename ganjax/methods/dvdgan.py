"""The losses of DVD-GAN (Clark et al. 2019, arXiv:1907.06571, section 3.2): some frames and the whole clip are judged.

A batch has `clip` [B, T, H, W, C]. Both discriminators have hinge losses. There are no classes.
"""

import jax.numpy as jnp
from flax import linen

from ganjax import UserError, media
from ganjax.losses import adversarial
from ganjax.method import Aux, Method, Phase, Stage, apply, named
from ganjax.methods.mocogan import pick
from ganjax.sampling import latents


def build(
  nets: dict[str, linen.Module],
  *,
  fields: dict[str, media.Field],
  z_dim: int = 120,
  frames_per_clip: int = 8,
  n_critic: int = 2,
) -> Method:
  """A step is n_critic updates of both discriminators, each on a batch of its own, then one of G.

  Args:
    nets: {'G': z -> clips, 'D_frames': frames [B, k, H, W, C] -> logits [B], 'D_clips': clips -> logits [B]}.
    fields: of the data.
    z_dim: length of the latent, drawn from N(0, I).
    frames_per_clip: k, the number of frames that are drawn from each clip for the frame discriminator: 8 in the paper.
    n_critic: updates of the discriminators a step; 2 in the paper, from memory.
  """
  G, length = nets['G'], fields['clip'].shape[0]
  latents.check_length(z_dim)
  if not isinstance(frames_per_clip, int) or not 0 < frames_per_clip <= length:
    raise UserError(
      f'method.frames_per_clip={frames_per_clip} must be a whole number from 1 to the {length} frames of a clip'
    )
  if not isinstance(n_critic, int) or not 0 < n_critic <= 1000:
    raise UserError(f'method.n_critic={n_critic} must be a whole number from 1 to 1000')

  def generate(state, key, count):
    return apply(G, state, latents.normal(named(key, 'z'), count, z_dim), train=True)

  def some(clips, key):
    """k frames of each clip, [B, k, H, W, C]."""
    found = pick(clips, key, frames_per_clip)
    return found.reshape(len(clips), frames_per_clip, *clips.shape[2:])

  def judge(state, clips, key):
    """({'frames', 'clips'}: logits, the state that keeps the statistics of both)."""
    out = {}
    for name, x in {'frames': some(clips, key), 'clips': clips}.items():
      out[name], state = apply(nets[f'D_{name}'], state, x, train=True)
    return out, state

  def discriminators(state, batch, key):
    """The sum of both losses. Keeps the discriminators' statistics, real then fake; G's are dropped."""
    clips = batch['clip']
    fakes, _ = generate(state, key, len(clips))
    real, state = judge(state, clips, named(key, 'frames of reals'))
    fake, state = judge(state, fakes, named(key, 'frames of fakes'))
    terms = {}
    for name in real:
      found = adversarial.hinge_D(real[name], fake[name])
      terms |= {f'{term}_{name}': value for term, value in found.items()}
    return sum(terms.values()), Aux(state, terms)

  def generator(state, batch, key):
    """The sum of both losses. Keeps G's statistics; those of the discriminators are dropped."""
    fakes, state = generate(state, key, len(batch['clip']))
    logits, _ = judge(state, fakes, named(key, 'frames of fakes'))
    terms = {f'loss_G_{name}': adversarial.hinge_G(x) for name, x in logits.items()}
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    clips = batch['clip']
    return {
      'G': (jnp.zeros((len(clips), z_dim)),),
      'D_frames': (clips[:, :frames_per_clip],),
      'D_clips': (clips,),
    }

  def rows(seeds, examples, truncation=0.0):
    return latents.per_seed(seeds, z_dim, truncation=truncation)

  def sample(state, z, **mode):
    return apply(G, state, z, **mode)

  phases = (
    Phase('D', discriminators, ('D_frames', 'D_clips'), 'D', repeat=True),
    Phase('G', generator, ('G',), 'G'),
  )
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0},
    stages=(Stage(phases, sample),),
    n_critic=n_critic,
    ema=('G',),
    makes='clip',
  )
