"""Projected GAN (Sauer et al. 2021, arXiv:2111.01007): D sees features of a frozen network, not pictures.

Pictures are augmented, resized to the size on which the frozen network was trained, and go through that network. D
mixes four of its maps and judges each with a separate discriminator (`networks/projected.py`). Losses are hinge losses,
means over all logits of all discriminators. There are no penalties.

Do not evaluate a run with the network that it was trained on. Records name that network.
"""

import jax.numpy as jnp
from flax import linen
from jax import nn

from ganjax import UserError, features
from ganjax.layers.resample import interpolate
from ganjax.losses import adversarial
from ganjax.method import Aux, Frozen, Method, Phase, Stage, apply, named
from ganjax.sampling import latents
from ganjax.views import view as views

STRIDES = (4, 8, 16, 32)  # of the maps
DEEPEST = STRIDES[-1]


def build(
  nets: dict[str, linen.Module],
  *,
  z_dim: int,
  network: str = 'efficientnet_lite0',
  side: int = 224,
  diffaugment: str = 'color,translation,cutout',
  cutout: float = 0.2,
) -> Method:
  """A step is one update of D, then one of G.

  Args:
    nets: {'G': z [B, z_dim] -> images, 'D': a list of maps -> logits [B, N]}, of labels too where they have classes.
    z_dim: length of the latent, drawn from N(0, I).
    network: the frozen network, of `ganjax.features`, with `TAPS`.
    side: side in pixels to which pictures are enlarged if their smaller side is less.
    diffaugment, cutout: augmentation of D's input, see `view.build`; '': none.
  """
  G, D = nets['G'], nets['D']
  classes = max(getattr(net, 'num_classes', 0) for net in (G, D))
  latents.check_length(z_dim)
  if not isinstance(side, int) or side < 128 or side % DEEPEST or side > 2**12:
    raise UserError(
      f'method.side={side} must be a multiple of {DEEPEST} from 128, below which no map is left to be judged, to 4096'
    )
  frozen = Frozen(network, *features.frozen(network))
  if features.module(network).STRIDES != STRIDES:
    raise UserError(
      f'method.network={network} has no maps of strides 4, 8, 16 and 32: take another'
    )
  view = views.build(diffaugment=diffaugment, cutout=cutout)
  F = features.module(network).Network(
    dtype=getattr(D, 'dtype', 'float32'), taps=tuple(features.module(network).TAPS), name='F'
  )

  def label_of(batch):
    return batch['label'] if classes else None

  def generate(state, key, batch):
    """Fakes with the labels of the batch, and the state that keeps G's statistics."""
    z = latents.normal(key, len(batch['image']), z_dim)
    return apply(G, state, z, label_of(batch), train=True)

  def look(state, images, key):
    """The maps of the frozen network."""
    seen = _enlarge(view.see(state, images, key), side)
    return apply(F, state, seen, train=False)[0]

  def discriminator(state, batch, key):
    """D's loss. Keeps D's statistics of both passes, real then fake; G's are dropped."""
    fakes, _ = generate(state, named(key, 'z'), batch)
    # Once for both kinds, side by side, so that a batch that lies on several devices stays where it is. Each picture
    # is augmented by draws of its own.
    both = jnp.stack([batch['image'], fakes], 1)
    maps = look(state, both.reshape(-1, *both.shape[2:]), named(key, 'D'))
    real, fake = ([x.reshape(-1, 2, *x.shape[1:])[:, i] for x in maps] for i in (0, 1))
    real, state = apply(D, state, real, label_of(batch), train=True)
    fake, state = apply(D, state, fake, label_of(batch), train=True)
    terms = adversarial.hinge_D(real, fake)
    means = {'D_real': jnp.mean(nn.sigmoid(real)), 'D_fake': jnp.mean(nn.sigmoid(fake))}
    return sum(terms.values()), Aux(state, {**terms, **means})

  def generator(state, batch, key):
    """G's loss. Keeps G's statistics; D runs in train mode and its statistics are dropped."""
    fakes, state = generate(state, named(key, 'z'), batch)
    maps = look(state, fakes, named(key, 'G'))
    fake, _ = apply(D, state, maps, label_of(batch), train=True)
    loss = adversarial.hinge_G(fake)
    return loss, Aux(state, {'loss_G': loss})

  def inputs(batch):
    n, (h, w) = len(batch['image']), _sides(batch['image'].shape[1:3], side)
    maps = [
      jnp.zeros((n, h >> i, w >> i, channels))
      for i, channels in enumerate(features.module(network).TAPS.values(), 2)
    ]
    label = label_of(batch)
    return {'G': (jnp.zeros((n, z_dim)), label), 'D': (maps, label)}

  def rows(seeds, examples, truncation=0.0):
    """A latent for each seed; with classes, seed n is of class n mod their number."""
    z = latents.per_seed(seeds, z_dim, truncation=truncation)
    return {'z': z, 'label': jnp.asarray(seeds, jnp.int32) % classes} if classes else z

  def sample(state, row, **mode):
    return apply(G, state, *((row['z'], row['label']) if classes else (row,)), **mode)

  phases = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0},
    stages=(Stage(phases, sample),),
    ema=('G',),
    frozen={'F': frozen},
    num_classes=classes,
  )


def _sides(sides, side) -> list:
  """Sides of at least `side`, multiples of what the network halves them by."""
  scale = max(side / min(sides), 1)
  return [max(round(scale * n / DEEPEST), 1) * DEEPEST for n in sides]


def _enlarge(images, side):
  """Images in [-1, 1] as the frozen network takes them: of three channels, and of sides that it can halve."""
  if images.shape[3] == 1:
    images = jnp.repeat(images, 3, 3)
  return interpolate(images, _sides(images.shape[1:3], side))
