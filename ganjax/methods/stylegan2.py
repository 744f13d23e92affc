"""StyleGAN2 (Karras et al. 2019, arXiv:1912.04958) and ADA (Karras et al. 2020, arXiv:2006.06676).

The non-saturating game with two lazy regularizers: R1 of D (section 4 of the first) and path lengths of G (its section
3.2), each a phase of its own at every so many steps. G has Linen methods `map`, z to styles, and `synthesize`, styles
to images, between which styles are mixed. Every phase draws its own z, and moves the mean style that truncation needs.

StyleGAN3 (Karras et al. 2021, arXiv:2106.12423) plays the same game without mixing and path lengths. Its mean style and
the magnitudes of its maps move with updates of D alone, to which R shows blurred images at first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import nn
from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.losses import adversarial, penalties, regularizers
from ganjax.method import Aux, Method, Phase, Stage, Styles, apply
from ganjax.optim import schedules
from ganjax.sampling import latents
from ganjax.views import view as views


def build(
  nets: dict[str, linen.Module],
  *,
  z_dim: int,
  r1_gamma: float = 10.0,
  r1_every: int = 16,
  path_weight: float = 2.0,
  path_every: int = 4,
  path_shrink: int = 2,
  path_decay: float = 0.99,
  mixing: float = 0.9,
  moved_by: Sequence[str] = ('G', 'G_path', 'D'),
  blur: schedules.Schedule = 0.0,
  diffaugment: str | None = None,
  ada: Mapping[str, Any] | ConfigDict | None = None,
  freeze_D: Sequence[str] = (),
) -> Method:
  """A step is an update of G, perhaps one of its path lengths, one of D, and perhaps one of R1.

  Args:
    nets: {'G': of z [B, z_dim], with `map`, `synthesize` and `num_styles`, 'D': images -> logits [B]}, of labels too
      where they have classes: fakes have those of the real batch.
    z_dim: length of the latent, drawn from N(0, I).
    r1_gamma: weight of R1, with squares summed over pixels: four times as large at twice the side. 0: none.
    r1_every: R1 runs at every so many steps, with so many times the weight.
    path_weight: weight of path length regularization, with images scaled by 1 / sqrt(H W). 0: none.
    path_every: the same for path length regularization.
    path_shrink: path length regularization uses 1 / path_shrink of a batch.
    path_decay: decay of the running mean of path lengths.
    mixing: probability that an image takes the styles of a second z from a random layer on.
    moved_by: phases that update G's statistics: the mean style, and StyleGAN3's magnitudes, of which D updates all.
    blur, diffaugment, ada: augmentation of D's input, see `view.build`.
    freeze_D: layers of D that are not trained, such as ('b64_fromrgb', 'b64_conv0'), see methods/gan.py.
  """
  G, D = nets['G'], nets['D']
  if not hasattr(G, 'synthesize'):
    raise UserError(
      'method.name=stylegan2 needs a generator of styles: networks.name=stylegan2 or stylegan3'
    )
  classes = max(getattr(net, 'num_classes', 0) for net in (G, D))
  counts = dict(z_dim=z_dim, r1_every=r1_every, path_every=path_every, path_shrink=path_shrink)
  if min(counts.values()) < 1 or z_dim > 2**16:
    raise UserError(f'method needs whole numbers from 1, and z_dim up to 65,536; got {counts}')
  for name, value, most in (
    ('r1_gamma', r1_gamma, float('inf')),
    ('path_weight', path_weight, float('inf')),
    ('path_decay', path_decay, 1.0),
    ('mixing', mixing, 1.0),
  ):
    schedules.check_number(f'method.{name}', value, 0.0, most)
  unknown = [name for name in moved_by if name not in ('G', 'G_path', 'D')]
  if unknown:
    raise UserError(f'method.moved_by: {unknown[0]!r} is none of the phases G, G_path and D')
  view = views.build(diffaugment=diffaugment, ada=ada, blur=blur)

  def label_of(batch):
    return batch['label'] if classes else None

  def style(state, key, n, label, moves):
    """Styles [n, L, W] of new latents, some of them mixed; with `moves` the first of them move the mean style."""
    latent, place = jax.random.split(key)
    # As few draws as may be: each takes a CPU half a second to compile.
    z = latents.normal(latent, n, 2 * z_dim if mixing else z_dim)
    w, state = apply(G, state, z[:, :z_dim], label, train=moves, method='map')
    if mixing:
      other, _ = apply(G, state, z[:, z_dim:], label, train=False, method='map')
      w = latents.mix(place, w, other, mixing)
    return w, state

  def synthesize(state, w, key, moves):
    return apply(G, state, w, train=moves, method='synthesize', key=key)

  def generate(state, key, n, label, phase):
    """(images, state) of new latents and noise."""
    (of_style, of_noise), moves = jax.random.split(key), phase in moved_by
    w, state = style(state, of_style, n, label, moves)
    return synthesize(state, w, of_noise, moves)

  def judge(state, images, label, key):
    return apply(D, state, view.see(state, images, key), label, train=True)[0]

  def generator(state, batch, key):
    label, (own, seen) = label_of(batch), jax.random.split(key)
    fakes, state = generate(state, own, len(batch['image']), label, 'G')
    loss = adversarial.non_saturating_G(judge(state, fakes, label, seen))
    return loss, Aux(state, {'loss_G': loss})

  def path_length(state, batch, key):
    """Of a part of the batch, whose labels are those of every path_shrink-th image."""
    part = batch['image'][::path_shrink]
    label = batch['label'][::path_shrink] if classes else None
    of_style, of_noise, direction = jax.random.split(key, 3)
    w, state = style(state, of_style, len(part), label, 'G_path' in moved_by)
    value, mean = regularizers.path_length(
      lambda w: synthesize(state, w, of_noise, False)[0],
      w,
      direction,
      state.extra['path_length'],
      path_decay,
    )
    state = state.replace(extra={**state.extra, 'path_length': mean})
    return path_weight * value, Aux(state, {'loss_path': path_weight * value, 'path_length': mean})

  def discriminator(state, batch, key):
    images, label = batch['image'], label_of(batch)
    own, on_real, on_fake = jax.random.split(key, 3)
    fakes, state = generate(state, own, len(images), label, 'D')
    real, fake = judge(state, images, label, on_real), judge(state, fakes, label, on_fake)
    terms = adversarial.non_saturating_D(real, fake)
    state, moved = view.move(view.note(state, real))
    share = lambda logits: jnp.mean(nn.sigmoid(logits))
    return sum(terms.values()), Aux(
      state, {**terms, **moved, 'D_real': share(real), 'D_fake': share(fake)}
    )

  def r1(state, batch, key):
    """Its gradient is by the real images as they are, before D's view of them."""
    label = label_of(batch)
    logits = lambda images: judge(state, images, label, key)
    value = r1_gamma * penalties.r1(logits, batch['image'], None, None)
    return value, Aux(state, {'loss_r1': value})

  def inputs(batch):
    label = label_of(batch)
    z = jnp.zeros((len(batch['image']), z_dim))
    return {'G': (z, label), 'D': (batch['image'], label)}

  def rows(seeds, examples, **options):
    """See `latents.of_styles`; with classes, seed n is of class n mod their number."""
    own = latents.of_styles(seeds, z_dim, G.num_styles, G.takes, **options)
    return own | ({'label': jnp.asarray(seeds, jnp.int32) % classes} if classes else {})

  def sample(state, rows, **mode):
    taken = {name: rows[name] for name in G.takes}
    if 'w' in rows:
      return apply(G, state, rows['w'], method='synthesize', **taken, **mode)
    how = {name: rows[name] for name in ('truncation', 'cutoff')}
    return apply(G, state, rows['z'], rows.get('label'), **how, **taken, **mode)

  kept = tuple(f'D/{layer}' for layer in freeze_D)
  phases = (
    Phase('G', generator, ('G',), 'G'),
    Phase('G_path', path_length, ('G',), 'G', every=path_every) if path_weight else None,
    Phase('D', discriminator, ('D',), 'D', frozen=kept),
    Phase('D_r1', r1, ('D',), 'D', every=r1_every, frozen=kept) if r1_gamma else None,
  )
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options=latents.options_of_styles(G.takes),
    stages=(Stage(tuple(phase for phase in phases if phase), sample),),
    ema=('G',),
    extra=view.extra | ({'path_length': jnp.float32(0)} if path_weight else {}),
    num_classes=classes,
    styles=styles_of(G),
    judge=judge,
    watch=view.watch,
  )


def styles_of(G: linen.Module) -> Styles:
  """Those of a G with `takes`, `affines`, Linen methods `map` and `truncate`; its rows are of `latents.of_styles`."""

  def to_styles(state, rows, centre=None):
    w = rows.get('w')
    if w is None:
      w, _ = apply(G, state, rows['z'], rows.get('label'), train=False, method='map')
    limits = rows['truncation'], rows['cutoff'], centre
    w, _ = apply(G, state, w, *limits, train=False, method='truncate')
    return {'w': w, **{name: rows[name] for name in G.takes}}

  still = {'noise': 'constant'} if 'noise' in G.takes else {}
  return Styles(to_styles, lambda state: G.affines(state.params['G']), still)
