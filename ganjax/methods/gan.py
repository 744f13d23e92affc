"""One generator and one discriminator (Goodfellow et al. 2014, arXiv:1406.2661), with the losses and penalties of later
papers.

Data are of any kind: G `makes` a field of the data, by default pictures. "Images" here are this field, or its code: a G
with `coded` has the methods `encode`, from the data to D's input, and `decode`, from G's output to samples.

With classes (networks of `num_classes`) both networks get labels. D sees a real image with its own label. Fakes have
the labels of the real batch, so classes are as frequent among fakes as in the data.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax.numpy as jnp
from flax import linen
from jax import nn
from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.losses import adversarial
from ganjax.losses import terms as kinds
from ganjax.losses.terms import Game
from ganjax.method import Aux, Method, Phase, Stage, apply, named
from ganjax.sampling import latents
from ganjax.views import view as views


def build(
  nets: dict[str, linen.Module],
  *,
  z_dim: int,
  loss: str = 'non_saturating',
  n_critic: int = 1,
  fakes_per_real: int = 1,
  penalties_every: int = 1,
  packing: int = 1,
  diffaugment: str | None = None,
  ada: Mapping[str, Any] | ConfigDict | None = None,
  freeze_D: Sequence[str] = (),
  most_right_D: float = 1.0,
  **terms: Annotated[Any, kinds.FOLDER],
) -> Method:
  """A step is n_critic updates of D, then one of G.

  Args:
    nets: {'G': z [B, z_dim] -> images, 'D': images -> logits [B]}, both of labels too where they have classes.
    z_dim: length of the latent, drawn from N(0, I).
    loss: NAME of the pair NAME_D, NAME_G in `ganjax.losses.adversarial`.
    n_critic: updates of D a step, each on a new batch.
    fakes_per_real: number of fakes in G's update, in units of D's batch (2 in SNGAN, arXiv:1802.05957, and its
      descendants).
    penalties_every: 1: penalties are part of D's loss. k: they have a separate phase, D_penalty, at every k-th step,
      with as many updates as D and k times the weight (lazy regularization, arXiv:1912.04958, appendix B).
    packing, diffaugment, ada: augmentation and packing of D's input, see `view.build`.
    freeze_D: layers of D that are not trained, such as ('Conv_0',), in a run that starts from another run
      (`config.init_from`; FreezeD, Mo et al. 2020, arXiv:2002.10964).
    most_right_D: D is not updated on a batch if it classifies a larger fraction correctly, reals above 0 and fakes
      below: 0.8 in 3D-GAN (arXiv:1610.07584, section 3.1).
    **terms: terms that are added to the losses: NAME=what the file NAME of `ganjax/losses/terms/` takes.
  """
  G, D = nets['G'], nets['D']
  makes = getattr(G, 'makes', 'image')
  of_pictures = dict(packing=packing > 1, diffaugment=diffaugment, ada=ada)
  if makes != 'image' and (given := [name for name, value in of_pictures.items() if value]):
    raise UserError(f'method.{given[0]} is for pictures, and these networks make a {makes}')
  if not 0 < most_right_D <= 1:
    raise UserError(f'method.most_right_D={most_right_D} must be a share, above 0 and at most 1')
  classes = max(getattr(net, 'num_classes', 0) for net in (G, D))
  # All updates of D are in one program.
  counts = (z_dim, 2**16), (n_critic, 1000), (fakes_per_real, 1000)
  if not all(isinstance(n, int) and 0 < n <= most for n, most in counts):
    raise UserError(
      'method.z_dim, method.n_critic and method.fakes_per_real must be whole, from 1 to 65,536, 1000 and 1000'
    )
  loss_D, loss_G = _pair(loss, fakes_per_real)
  view = views.build(packing, diffaugment=diffaugment, ada=ada)
  penalties, class_loss = terms.get('penalties'), terms.get('class_loss')
  added = kinds.build(terms, nets)
  if penalties_every < 1 or (penalties_every > 1 and not penalties):
    raise UserError(
      f'method.penalties_every={penalties_every} must be at least 1, and 1 where there are no penalties'
    )
  if penalties and packing > 1:
    raise UserError('method.packing does not go with method.penalties, which are of single images')
  if classes and packing > 1:
    raise UserError('method.packing is for networks without classes: a pack has no one label')
  smooth = added['penalties']
  in_D = [term for term in added.values() if term is not smooth or penalties_every == 1]

  coded = getattr(G, 'coded', None)  # the shape that D sees, where that is not the data's

  def reals(state, batch):
    """(what D sees of a batch, the state that keeps G's statistics of it)."""
    if not coded:
      return batch[makes], state
    return apply(G, state, batch[makes], method='encode', train=True)

  def label_of(batch):
    return batch['label'] if classes else None

  def generate(state, z, label):
    return apply(G, state, z, label, train=True)

  def judge(state, images, label, key):
    """((D's logits, class scores or None), the state that keeps D's statistics)."""
    seen = view.see(state, images, key)
    out, state = apply(D, state, seen, label, train=True, key=named(key, 'dropout'))
    return out if class_loss else (out, None), state

  def game(state, images, label, z, fakes, key, of_real=None, of_fake=None, before=None):
    """What the terms of a loss are given; `before` is the state of the pass of the fakes."""
    return Game(
      state=state,
      images=images,
      label=label,
      z=z,
      fakes=fakes,
      of_real=of_real,
      of_fake=of_fake,
      key=key,
      draw=lambda key: latents.normal(key, *z.shape),
      generate=lambda z: generate(before, z, label)[0],
      judge=lambda x: judge(before, x, label, named(key, 'fake'))[0],
      critic=lambda x, key: judge(state, x, label, key)[0][0],
    )

  def penalty(state, batch, key):
    """The penalties alone, as a phase. Keeps no statistics."""
    (images, _), label = reals(state, batch), label_of(batch)
    z = latents.normal(key, len(images), z_dim)
    fakes, _ = generate(state, z, label)
    found = smooth.D(game(state, images, label, z, fakes, key))
    return sum(found.values()), Aux(state, found)

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics loss_*. Keeps D's statistics of both passes, real then fake.

    G's are dropped, but those of a code of the reals.
    """
    (images, state), label = reals(state, batch), label_of(batch)
    z = latents.normal(key, len(images), z_dim)
    fakes, _ = generate(state, z, label)
    of_real, state = judge(state, images, label, named(key, 'real'))
    before = state
    of_fake, state = judge(before, fakes, label, named(key, 'fake'))
    real, fake = of_real[0], of_fake[0]
    found = loss_D(real, fake)
    now = game(state, images, label, z, fakes, key, of_real, of_fake, before)
    for term in in_D:
      found |= term.D(now)
    for term in added.values():
      state = state.replace(extra={**state.extra, **term.keep(now)})
    state = view.note(state, real)
    # |logit| > 4.6: D(x) below 0.01 or above 0.99, where the minimax gradient has died.
    saturated = lambda logits: jnp.mean(jnp.abs(logits) > 4.6)
    right = (jnp.mean(real > 0) + jnp.mean(fake < 0)) / 2
    return sum(found.values()), Aux(
      state,
      {
        **found,
        'D_real': jnp.mean(nn.sigmoid(real)),
        'D_fake': jnp.mean(nn.sigmoid(fake)),
        'D_saturated': (saturated(real) + saturated(fake)) / 2,
      },
      take=None if most_right_D == 1 else right <= most_right_D,
    )

  def generator(state, batch, key):
    """G's loss. Keeps G's statistics; D runs in train mode and its statistics are dropped."""
    (images, _), label = reals(state, batch), label_of(batch)
    z = latents.normal(key, fakes_per_real * len(images), z_dim)
    labels = jnp.tile(label, fakes_per_real) if classes else None
    fakes, state = generate(state, z, labels)
    of_fake, _ = judge(state, fakes, labels, named(key, 'fake'))
    # Only relativistic losses look at the logits of reals; for others XLA drops this pass.
    of_real, _ = judge(state, images, label, named(key, 'real'))
    found = {'loss_G': loss_G(of_fake[0], of_real[0])}
    now = game(state, images, labels, z, fakes, key, of_real, of_fake, state)
    for term in added.values():
      found |= term.G(now)
    state, seen = view.move(state)
    return sum(found.values()), Aux(state, {**found, **seen})

  def inputs(batch):
    n, label = len(batch[makes]), label_of(batch)
    seen = jnp.zeros((n, *coded)) if coded else views.pack(batch[makes], packing)
    return {'G': (jnp.zeros((n, z_dim)), label), 'D': (seen, label)}

  def rows(seeds, examples, truncation=0.0):
    """A latent for each seed; with classes, seed n is of class n mod their number."""
    z = latents.per_seed(seeds, z_dim, truncation=truncation)
    return {'z': z, 'label': jnp.asarray(seeds, jnp.int32) % classes} if classes else z

  def sample(state, row, **mode):
    out, state = apply(G, state, *((row['z'], row['label']) if classes else (row,)), **mode)
    return (apply(G, state, out, method='decode', train=False)[0] if coded else out), state

  kept = tuple(f'D/{layer}' for layer in freeze_D)
  phases = [Phase('D', discriminator, ('D',), 'D', repeat=True, frozen=kept)]
  if penalties_every > 1:
    every = dict(every=penalties_every, repeat=True, frozen=kept)
    phases.append(Phase('D_penalty', penalty, ('D',), 'D', **every))
  phases.append(Phase('G', generator, ('G',), 'G'))
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0},
    stages=(Stage(tuple(phases), sample),),
    n_critic=n_critic,
    ema=('G',),
    extra=functools.reduce(operator.or_, (term.extra for term in added.values()), view.extra),
    num_classes=classes,
    makes=makes,
    judge=lambda state, images, label, key: judge(state, images, label, key)[0][0],
    watch=view.watch,
  )


def _pair(loss, fakes_per_real):
  """(loss_D, loss_G) of a name."""
  pair = adversarial.pair(loss)
  if loss == 'relativistic' and fakes_per_real > 1:
    raise UserError(
      'method.loss=relativistic pairs each fake with a real: fakes_per_real must be 1'
    )
  return pair
