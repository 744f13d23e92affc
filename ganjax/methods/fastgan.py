"""The losses of FastGAN (Liu et al. 2021, arXiv:2101.04775, section 3.2): hinge, and D reconstructs real pictures.

D sees a picture and a smaller copy. From its maps of a real picture it also reconstructs both, and a random quarter, so
it has to keep what it sees. Margins of the hinges are random, as in the published code.
"""

import jax
import jax.numpy as jnp
from flax import linen
from jax import nn

from ganjax import UserError
from ganjax.method import Aux, Frozen, Method, Phase, Stage, apply, named
from ganjax.metrics import lpips
from ganjax.networks.fastgan import quarter_of
from ganjax.sampling import latents
from ganjax.views import view as views
from ganjax.wording import closest

DISTANCES = 'lpips', 'l1'
NET = 'vgg16'  # of LPIPS


def build(
  nets: dict[str, linen.Module],
  *,
  z_dim: int,
  diffaugment: str = 'color,translation',
  distance: str = 'lpips',
  reconstruction: float = 8.0,
) -> Method:
  """A step is one update of D, then one of G.

  Args:
    nets: {'G', 'D'} of `networks/fastgan.py`.
    z_dim: length of the latent, drawn from N(0, I).
    diffaugment: augmentation of D's input, see `view.build`; '': none.
    distance: distance of reconstructions: 'lpips' with VGG-16, as published; 'l1', the mean difference, which needs no
      weights.
    reconstruction: weight of the reconstruction loss, a mean over the batch. The published code sums over batches of 8.
  """
  G, D = nets['G'], nets['D']
  latents.check_length(z_dim)
  if distance not in DISTANCES:
    raise UserError(
      f'method.distance={distance!r} is not known{closest(distance, DISTANCES)}; there are {", ".join(DISTANCES)}'
    )
  if not (isinstance(reconstruction, (int, float)) and reconstruction >= 0):
    raise UserError(f'method.reconstruction={reconstruction!r} must be a number from 0')
  view = views.build(diffaugment=diffaugment)

  def generate(state, key, batch):
    """((images, small ones) as D sees them, the state that keeps G's statistics)."""
    z = latents.normal(named(key, 'z'), len(batch['image']), z_dim)
    pair, state = apply(G, state, z, train=True, both=True)
    seen = [view.see(state, x, named(key, f'fake {i}')) for i, x in enumerate(pair)]
    return seen, state

  def compare(state, found, wanted):
    """The distance of pictures [B, h, w, C] from others, brought to their size; a scalar."""
    wanted = _nearest(wanted, found.shape[1])
    if distance == 'l1':
      return jnp.mean(jnp.abs(found - wanted))
    colour = lambda x: jnp.repeat(x, 3, 3) if x.shape[3] == 1 else x
    return jnp.mean(lpips.distance(state.params['P'], colour(found), colour(wanted), NET))

  def discriminator(state, batch, key):
    """D's loss. Keeps D's statistics of both passes, real then fake; G's are dropped."""
    fakes, _ = generate(state, key, batch)
    seen = view.see(state, batch['image'], named(key, 'real'))
    part = jax.random.randint(named(key, 'part'), (), 0, 4)
    (real, *decoded), state = apply(D, state, _pair(seen, fakes[1].shape[1]), part, train=True)
    fake, state = apply(D, state, fakes, train=True)
    margin = lambda purpose: jax.random.uniform(named(key, purpose), real.shape) * 0.2 + 0.8
    terms = {
      'loss_real': jnp.mean(nn.relu(margin('margin of reals') - real)),
      'loss_fake': jnp.mean(nn.relu(margin('margin of fakes') + fake)),
    }
    if reconstruction:
      wanted = seen, seen, quarter_of(seen, part)
      distances = [compare(state, *two) for two in zip(decoded, wanted)]
      terms['loss_reconstruction'] = reconstruction * sum(distances)
    means = {'D_real': jnp.mean(nn.sigmoid(real)), 'D_fake': jnp.mean(nn.sigmoid(fake))}
    return sum(terms.values()), Aux(state, {**terms, **means})

  def generator(state, batch, key):
    """G's loss. Keeps G's statistics; D runs in train mode and its statistics are dropped."""
    fakes, state = generate(state, key, batch)
    fake, _ = apply(D, state, fakes, train=True)
    loss = -jnp.mean(fake)
    return loss, Aux(state, {'loss_G': loss})

  def inputs(batch):
    image = batch['image']
    small = image.shape[1] // G.shrink
    return {'G': (jnp.zeros((len(image), z_dim)),), 'D': (_pair(image, small), 0)}

  def rows(seeds, examples, truncation=0.0):
    return latents.per_seed(seeds, z_dim, truncation=truncation)

  def sample(state, z, **mode):
    return apply(G, state, z, **mode)

  phases = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0},
    stages=(Stage(phases, sample),),
    ema=('G',),
    frozen={'P': _perceptual()} if distance == 'lpips' and reconstruction else {},
  )


def _perceptual() -> Frozen:
  def load():
    variables, info = lpips.load(NET)
    sha256 = info['trunk_sha256']
    return {'params': variables, 'stats': {}}, info | {'weights_sha256': sha256}

  return Frozen(f'lpips_{NET}', {'params': lpips.shapes(NET), 'stats': {}}, load)


def _pair(images, small):
  return [images, _nearest(images, small)]


def _nearest(images, side):
  """Square images [B, H, H, C], every so manieth pixel, or repeated, as torch's interpolation of 'nearest'."""
  at = jnp.arange(side) * images.shape[1] // side
  return images[:, at][:, :, at]
