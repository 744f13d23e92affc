"""Super-resolution: SRGAN (Ledig et al. 2017, arXiv:1609.04802), ESRGAN (Wang et al. 2018, arXiv:1809.00219) and
Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833).

A batch has `image` [B, H, W, C], the large pictures. A degradation makes `low` from them. First G learns from the pixel
loss alone. Then a discriminator and a perceptual loss, on features of a frozen network, are added. The authors take
VGG19 as that network. Weights of the losses are for pictures in [0, 1], as in BasicSR.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen
from ml_collections import ConfigDict

from ganjax import UserError, component, features, media
from ganjax.losses import adversarial
from ganjax.method import Aux, Derived, Frozen, Method, Phase, Stage, apply


def build(
  nets: dict[str, linen.Module],
  *,
  fields: dict[str, media.Field],
  pretrain: int | float = 0.5,
  loss: str = 'non_saturating',
  degradation: str = 'bicubic',
  pixel_weight: float = 0.01,
  adversarial_weight: float = 0.005,
  network: str = 'efficientnet_lite0',
  perceptual: Mapping[str, float] | ConfigDict,
) -> Method:
  """Two stages: G alone by the L1 distance of pixels, then an update of G and one of D a step, on the same fakes.

  Args:
    nets: {'G': low [B, h, w, C] -> pictures `G.scale` times as large, 'D': pictures -> logits}.
    fields: of the data.
    pretrain: length of the first stage: a number of steps, or a fraction of all steps.
    loss: NAME of the pair NAME_D, NAME_G in `ganjax.losses.adversarial`: 'non_saturating' in SRGAN,
      'relativistic_average' in ESRGAN.
    degradation: the method that makes small pictures, a file of `ganjax.degradations`: 'bicubic' or 'real_esrgan'.
    pixel_weight, adversarial_weight: weights of the L1 distance and the adversarial loss in the second stage.
    network: the frozen network, of `ganjax.features`, with `TAPS`.
    perceptual: {tap: weight of the L1 distance of its maps} in the second stage; {}: none.

  Raises:
    UserError: pictures that the scale does not divide, or a value that is none of these.
  """
  G, D = nets['G'], nets['D']
  loss_D, loss_G = adversarial.pair(loss)
  scale, (height, width, channels) = G.scale, fields['image'].shape
  if height % scale or width % scale:
    raise UserError(
      f'networks.scale={scale} takes sides that are multiples of it: data.resolution is {height}x{width}'
    )
  if channels not in (1, 3):
    raise UserError(f'method.name=srgan takes pictures of 1 or 3 channels, not {channels}')
  if not isinstance(pretrain, (int, float)) or pretrain <= 0:
    raise UserError(f'method.pretrain={pretrain!r} must be a number of steps, or a share of them')
  weights = _weights(perceptual, network)
  F = features.module(network).Network(
    dtype=getattr(G, 'dtype', 'float32'), taps=tuple(weights), name='F'
  )

  make = component.build('degradations', {'name': degradation}, scale=scale)

  def distance(a, b):
    return jnp.mean(jnp.abs(a - b)) / 2

  def look(state, images):
    """The maps of the frozen network by their taps."""
    seen = features.see(network, images)
    return dict(zip(weights, apply(F, state, seen, train=False)[0]))

  def perceive(state, fakes, reals):
    """The weighted distances of all maps."""
    pairs = zip(look(state, fakes).items(), look(state, reals).values())
    return sum(weights[tap] * jnp.mean(jnp.abs(a - b)) for (tap, a), b in pairs)

  def pixels(state, batch, key):
    """The distance of G's pictures. Keeps G's statistics."""
    fakes, state = apply(G, state, batch['low'], train=True)
    value = distance(fakes, make.target(batch['image']))
    return value, Aux(state, {'loss_pixels': value})

  def generator(state, batch, key):
    """G's loss, the sum of its metrics. Keeps G's statistics; D runs in train mode and its statistics are dropped."""
    reals, targets = batch['image'], make.target(batch['image'])
    fakes, state = apply(G, state, batch['low'], train=True)
    fake, real = (apply(D, state, x, train=True)[0] for x in (fakes, reals))
    terms = {
      'loss_pixels': pixel_weight * distance(fakes, targets),
      'loss_G': adversarial_weight * loss_G(fake, real),
    }
    terms |= {'loss_perceptual': perceive(state, fakes, targets)} if weights else {}
    return sum(terms.values()), Aux(state, terms, {'fakes': jax.lax.stop_gradient(fakes)})

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics. Keeps D's statistics of both passes, real then fake."""
    real, state = apply(D, state, batch['image'], train=True)
    fake, state = apply(D, state, batch['fakes'], train=True)
    terms = loss_D(real, fake)
    return sum(terms.values()), Aux(state, terms)

  def sample(state, row, **mode):
    return apply(G, state, row['low'], **mode)

  second = Phase('G', generator, ('G',), 'G'), Phase('D', discriminator, ('D',), 'D')
  return Method(
    nets=nets,
    inputs=lambda batch: {'G': (batch['low'],), 'D': (batch['image'],)},
    rows=lambda seeds, examples: {'low': examples['low']},
    stages=(
      Stage((Phase('pixels', pixels, ('G',), 'pixels'),), sample, steps=pretrain),
      Stage(second, sample),
    ),
    ema=('G',),
    frozen={'F': Frozen(network, *features.frozen(network))} if weights else {},
    examples=('low',),
    derived={'low': Derived('image', lambda batch, keys: make.low(batch['image'], keys))},
    multiple=G.multiple,
  )


def _weights(perceptual, network) -> dict:
  """{tap: weight}, in the order of the network.

  Raises:
    UserError: no such network or tap, or a weight below 0.
  """
  features.frozen(network)
  taps = features.module(network).TAPS
  weights = dict(perceptual)
  if not set(weights) <= set(taps) or not all(w >= 0 for w in weights.values()):
    raise UserError(
      f'method.perceptual={weights} must be weights from 0 of maps of {network}: {", ".join(taps)}'
    )
  return {tap: weights[tap] for tap in taps if tap in weights}
