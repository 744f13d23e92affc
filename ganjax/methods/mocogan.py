"""MoCoGAN (Tulyakov et al. 2018, arXiv:1707.04993, section 3.2): single frames and the whole clip are judged.

A batch has `clip` [B, T, H, W, C], and `label` [B] if the networks have classes (section 3.3). Then labels of fakes are
drawn evenly. The clip discriminator learns to classify real clips, and G to make clips that it classifies correctly.
"""

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError, media
from ganjax.losses import adversarial, classes
from ganjax.method import Aux, Method, Phase, Stage, apply, named
from ganjax.sampling import latents

MOST_FRAMES = 1000  # of a sample


def build(
  nets: dict[str, linen.Module],
  *,
  fields: dict[str, media.Field],
  z_dim: int = 50,
  motion_dim: int = 10,
  frames_per_clip: int = 3,
) -> Method:
  """A step is an update of both discriminators, then one of G.

  Args:
    nets: {'G': (content, noise, label) -> clips, 'D_frames': pictures -> logits, 'D_clips': clips -> logits, or
      with classes (logits, scores)}.
    fields: of the data.
    z_dim, motion_dim: lengths of the content code and of a motion code, drawn from N(0, I).
    frames_per_clip: number of frames that are drawn from each clip for the frame discriminator. The authors draw 10
      frames and 3 clips a step, independently.
  """
  G, num_classes = nets['G'], nets['G'].num_classes
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
    label = None
    if num_classes:
      label = jax.random.randint(named(key, 'label'), (count,), 0, num_classes)
    return *apply(G, state, content, noise, label, train=True), label

  def judge(state, clips, key):
    """({'frames', 'clips'}: logits, class scores or None, the state that keeps the statistics of both)."""
    out, scores = {}, None
    seen = {'frames': pick(clips, key, frames_per_clip), 'clips': clips}
    for name, x in seen.items():
      out[name], state = apply(nets[f'D_{name}'], state, x, train=True)
    if num_classes:
      out['clips'], scores = out['clips']
    return out, scores, state

  def discriminators(state, batch, key):
    """The sum of all losses. Keeps statistics of both passes, real then fake; G's are dropped."""
    clips, terms = batch['clip'], {}
    fakes, _, _ = generate(state, key, len(clips))
    real, scores, state = judge(state, clips, named(key, 'frames of reals'))
    fake, _, state = judge(state, fakes, named(key, 'frames of fakes'))
    for name in real:
      found = adversarial.non_saturating_D(real[name], fake[name])
      terms |= {f'{term}_{name}': loss for term, loss in found.items()}
    if num_classes:
      terms['loss_class'] = classes.auxiliary_classifier(scores, batch['label'])
    return sum(terms.values()), Aux(state, terms)

  def generator(state, batch, key):
    """The sum of all losses. Keeps G's statistics; those of the discriminators are dropped."""
    fakes, state, label = generate(state, key, len(batch['clip']))
    logits, scores, _ = judge(state, fakes, named(key, 'frames of fakes'))
    terms = {f'loss_G_{n}': adversarial.non_saturating_G(x) for n, x in logits.items()}
    if num_classes:
      terms['loss_G_class'] = classes.auxiliary_classifier(scores, label)
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    clips = batch['clip']
    noise = jnp.zeros((len(clips), 1 + length, motion_dim))
    label = (jnp.zeros(len(clips), jnp.int32),) if num_classes else ()
    return {
      'G': (jnp.zeros((len(clips), z_dim)), noise, *label),
      'D_frames': (clips[:, 0],),
      'D_clips': (clips,),
    }

  def rows(seeds, examples, frames=length):
    """Content and noise of each seed; more `frames` go on where fewer end. Seed n is of class n mod their number."""
    if not 0 < frames <= MOST_FRAMES:
      raise UserError(f'frames={frames} must be from 1 to {MOST_FRAMES}')
    drawn = latents.per_seed(seeds, z_dim + (1 + frames) * motion_dim)
    noise = drawn[:, z_dim:].reshape(len(drawn), 1 + frames, motion_dim)
    label = {'label': jnp.asarray(seeds, jnp.int32) % num_classes} if num_classes else {}
    return {'z': drawn[:, :z_dim], 'motion': noise, **label}

  def sample(state, row, **mode):
    return apply(G, state, row['z'], row['motion'], row.get('label'), **mode)

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
    num_classes=num_classes,
    makes='clip',
  )


def pick(clips: jax.Array, key: jax.Array, count: int) -> jax.Array:
  """Frames [B count, H, W, C] of clips [B, T, H, W, C]: `count` of each clip, without repeats."""
  length = clips.shape[1]
  draw = lambda key: jax.random.permutation(key, length)[:count]
  at = jax.vmap(draw)(jax.random.split(key, len(clips)))
  found = jax.vmap(lambda clip, at: clip[at])(clips, at)
  return found.reshape(-1, *clips.shape[2:])
