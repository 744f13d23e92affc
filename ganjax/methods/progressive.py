"""Progressive growing (Karras et al. 2017, arXiv:1710.10196, section 2): small pictures first, then twice the size.

A level is a size of pictures. In its first stage its layers fade in, over `fade_images`: pictures of G and maps of D
are blended with the output of the level below, and real pictures with themselves at half the size. Then comes a stage
of `steady_images`; the last one continues to the end. Each stage has data of its size. Optimizers are reset at each
stage, as in the authors' code, because Adam's counts include steps in which a layer was not used.

StyleGAN (Karras et al. 2018, arXiv:1812.04948) grows too. Its G has the Linen methods `map`, from z to styles, and
`synthesize`, from styles to images. Styles are mixed between them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError, media
from ganjax.layers.resample import mean_pool, upsample
from ganjax.losses import adversarial, penalties
from ganjax.method import Aux, Method, Phase, Stage, apply
from ganjax.methods.stylegan2 import styles_of
from ganjax.optim import schedules
from ganjax.sampling import latents


def build(
  nets: dict[str, linen.Module],
  *,
  batch_size: int,
  z_dim: int,
  steady_images: int,
  fade_images: int,
  first_level: int = 0,
  batch_sizes: Sequence[int] = (),
  rates: Sequence[float] = (),
  loss: str = 'wasserstein',
  gp_weight: float = 0.0,
  gp_target: float = 1.0,
  drift: float = 0.0,
  r1_gamma: float = 0.0,
  together: bool = False,
  mixing: float = 0.0,
) -> Method:
  """A step is one update of D, then one of G.

  Args:
    nets: {'G': z [B, z_dim] -> images, 'D': images -> logits [B]}; both take `level` and `alpha` and have `stages`.
    batch_size: of the configuration.
    z_dim: length of the latent, drawn from N(0, I).
    steady_images: real images of a stage after its fade, rounded up to whole steps.
    fade_images: real images over which a level fades in.
    first_level: level at which training starts: 0 is 4x4, 1 is 8x8.
    batch_sizes: batch size of each level from the first; (): `batch_size` for all.
    rates: learning rates of each level, in units of config.optim; (): 1 for all.
    loss: NAME of the pair NAME_D, NAME_G in `ganjax.losses.adversarial`.
    gp_weight, gp_target: weight and target of the gradient penalty, see `penalties.gradient_penalty`.
    drift: weight of E D(real)^2 (appendix A.1), which keeps D's logits near 0.
    r1_gamma: weight of R1 at the last level, and a quarter of it at each level below. The authors enlarge small
      pictures to the last size by repeating pixels, and take R1 of these.
    together: whether G and D are updated from one batch of fakes, each against the other before the step.
    mixing: probability that an image takes the styles of a second z from a random layer on.

  Raises:
    UserError: values that do not fit.
  """
  G, D = nets['G'], nets['D']
  if not (hasattr(G, 'stages') and hasattr(D, 'blurred')):
    raise UserError(
      'method.name=progressive needs networks that grow: networks.name=progressive or stylegan'
    )
  loss_D, loss_G = adversarial.pair(loss)
  sides, last = [size for size, _ in G.stages], len(G.stages) - 1
  styled = hasattr(G, 'synthesize')
  _check_counts(z_dim=z_dim, steady_images=steady_images, fade_images=fade_images)
  for name, value, most in (
    ('gp_weight', gp_weight, float('inf')),
    ('drift', drift, float('inf')),
    ('r1_gamma', r1_gamma, float('inf')),
    ('mixing', mixing, 1.0 if styled else 0.0),
  ):
    schedules.check_number(f'method.{name}', value, 0.0, most)
  schedules.check_number('method.gp_target', gp_target, 1e-6)
  if not (isinstance(first_level, int) and 0 <= first_level <= last):
    raise UserError(f'method.first_level={first_level} must be from 0 to {last}')
  levels = range(first_level, last + 1)
  batch_sizes = _by_level('batch_sizes', batch_sizes, batch_size, levels)
  rates = _by_level('rates', rates, 1.0, levels)
  if batch_sizes[last] != batch_size:
    raise UserError(
      f'config.batch_size={batch_size} is that of the last level, of which method.batch_sizes says {batch_sizes[last]}'
    )

  def stage(level, alpha, **how):
    """A stage whose pictures are of `level`, with `alpha(state)` where that is new."""

    def generate(state, key, n):
      """(images, state) of new latents."""
      grown = dict(level=level, alpha=alpha(state))
      if not styled:
        return apply(G, state, latents.normal(key, n, z_dim), train=True, **grown)
      drawn, place, noise = jax.random.split(key, 3)
      z = latents.normal(drawn, n, 2 * z_dim if mixing else z_dim)
      w, state = apply(G, state, z[:, :z_dim], train=True, method='map')
      if mixing:
        other, _ = apply(G, state, z[:, z_dim:], train=False, method='map')
        w = latents.mix(place, w, other, mixing, G.styles_at(level))
      call = dict(method='synthesize', key=noise, train=True, **grown)
      return apply(G, state, w, **call)[0], state

    def judge(state, images):
      return apply(D, state, images, train=True, level=level, alpha=alpha(state))[0]

    def blend(state, images):
      """Real images, faded in as G's are."""
      share = alpha(state)
      if share is None:
        return images
      half = upsample(mean_pool(images))
      return half + share * (images - half)

    def generator(state, batch, key):
      fakes, state = generate(state, key, len(batch['image']))
      real = judge(state, blend(state, batch['image']))  # XLA drops it where the loss does
      value = loss_G(judge(state, fakes), real)
      carry = {'fake': jax.lax.stop_gradient(fakes)} if together else {}
      return value, Aux(state, {'loss_G': value}, carry)

    def discriminator(state, batch, key):
      images, (own, between) = blend(state, batch['image']), jax.random.split(key)
      if together:
        fakes = batch['fake']
      else:
        fakes, state = generate(state, own, len(images))
      real, fake = judge(state, images), judge(state, fakes)
      terms = loss_D(real, fake)
      logits = lambda x: judge(state, x)
      if gp_weight:
        value = penalties.gradient_penalty(logits, images, fakes, between, gp_target)
        terms['loss_gradient_penalty'] = gp_weight * value
      if r1_gamma:
        share = (sides[level][0] / sides[last][0]) ** 2
        terms['loss_r1'] = r1_gamma * share * penalties.r1(logits, images, None, None)
      if drift:
        terms['loss_drift'] = drift * jnp.mean(real**2)
      seen = {'alpha': jnp.float32(1) if alpha(state) is None else alpha(state)}
      means = {'logit_real': jnp.mean(real), 'logit_fake': jnp.mean(fake)}
      return sum(terms.values()), Aux(state, {**terms, **means, **seen})

    def sample(state, rows, **mode):
      mode |= dict(level=level, alpha=alpha(state))
      if not styled:
        return apply(G, state, rows, **mode)
      if 'w' in rows:
        return apply(G, state, rows['w'], noise=rows['noise'], method='synthesize', **mode)
      given = {name: rows[name] for name in ('noise', 'truncation', 'cutoff')}
      return apply(G, state, rows['z'], **given, **mode)

    phases = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
    data = {'resolution': media.simplest(sides[level]), 'batch_size': batch_sizes[level]}
    more = dict(data=data, rate=rates[level], **how)
    return Stage(phases[::-1] if together else phases, sample, **more)

  stages, begun = [], 0
  for level in levels:
    size, again = batch_sizes[level], level > first_level
    if again:
      alpha, steps = _rises(begun, fade_images / size), -(-fade_images // size)
      stages.append(stage(level, alpha, steps=steps, reset_opt=True))
      begun += steps
    steps = -(-steady_images // size)
    whole = dict(steps=steps if level < last else None, reset_opt=again)
    stages.append(stage(level, lambda state: None, **whole))
    begun += steps

  def inputs(batch):
    """Of the last level, whatever the stage: all layers are there from the start."""
    image = jnp.zeros((2, *sides[last], batch['image'].shape[-1]))
    return {'G': (jnp.zeros((2, z_dim)),), 'D': (image,)}

  def rows(seeds, examples, **options):
    """A latent for each seed; of styles see `latents.of_styles`."""
    if styled:
      return latents.of_styles(seeds, z_dim, G.num_styles, **options)
    return latents.per_seed(seeds, z_dim, **options)

  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options=latents.options_of_styles(G.takes) if styled else {'truncation': 0.0},
    stages=tuple(stages),
    ema=('G',),
    styles=styles_of(G) if styled else None,
  )


def _rises(start, steps):
  """state -> alpha, from 0 at the step `start` to 1 after so many `steps`."""
  return lambda state: jnp.clip((jnp.float32(state.step) - start) / steps, 0.0, 1.0)


def _by_level(name, values, default, levels) -> dict:
  """{level: value}."""
  values = tuple(values) or (default,) * len(levels)
  number = lambda x: isinstance(x, (int, float) if name == 'rates' else int) and x > 0
  if len(values) != len(levels) or not all(map(number, values)):
    raise UserError(
      f'method.{name}={values} must be {len(levels)} numbers above 0, one a level, or empty'
    )
  return dict(zip(levels, values))


def _check_counts(**counts):
  for name, count in counts.items():
    if not isinstance(count, int) or not 0 < count < 2**31:
      raise UserError(f'method.{name}={count} must be a whole number from 1')
