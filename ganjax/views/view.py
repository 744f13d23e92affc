"""What a discriminator sees of images, real and fake alike, in every loss: blurred, augmented, then packed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.optim import schedules
from ganjax.views import ada as adaptive
from ganjax.views import blur as blurs
from ganjax.views import diffaugment as differentiable

HIGH = 0.8
TOO_HIGH = (
  'D tells training pictures from fakes through strong augmentation: it overfits. Take more data, a larger r1_gamma or '
  'narrower networks; what augmentation does to every picture may be learned from here on'
)


class View(NamedTuple):
  see: Callable  # (state, images [B, H, W, C], key) -> what D is given
  note: Callable  # (state, D's logits of reals) -> state: after each update of D
  move: Callable  # state -> (state, metrics): once a step
  extra: dict  # what it keeps in `state.extra`
  watch: dict = {}  # see `Method.watch`


def build(
  packing: int = 1,
  *,
  diffaugment: str | None = None,
  cutout: float = 0.5,
  ada: Mapping[str, Any] | ConfigDict | None = None,
  blur: schedules.Schedule = 0.0,
) -> View:
  """The view of a method's fields.

  Args:
    packing: m: D judges m images together, stacked along channels (PacGAN, arXiv:1712.04086, section 2).
    diffaugment, cutout: a policy of `ganjax.views.diffaugment`, and the fraction of each side for its cutout.
    ada: {'pipe'} of `ganjax.views.ada`, and either 'p', a number or a `schedules.ramp`; or for an adaptive p 'target',
      'interval' (steps) and 'images' (number that moves p from 0 to 1).
    blur: sigma of `ganjax.views.blur` in pixels, a number or a `schedules.ramp`; 0: none.

  Raises:
    UserError: values that are none of these.
  """
  if packing < 1:
    raise UserError(f'method.packing={packing} must be at least 1')
  if diffaugment and ada:
    raise UserError('method.diffaugment and method.ada do not go together: take one')
  view = _still(lambda state, images, key: images)
  if diffaugment:
    differentiable.check(diffaugment)
    if not 0 < cutout <= 1:
      raise UserError(f'method.cutout={cutout} must be a share of the side, above 0 and at most 1')
    view = _still(
      lambda state, images, key: differentiable.diffaugment(images, key, diffaugment, cutout)
    )
  if ada:
    if not hasattr(ada, 'keys'):
      raise UserError(f'method.ada={ada!r} must be a mapping, such as of pipe and p')
    view = _adaptive(packing, **ada)
  schedules.check('method.blur', blur, 0.0, blurs.MOST)

  def see(state, images, key):
    if blur:
      images = blurs.blur(images, schedules.ramp(blur, state.step))
    return pack(view.see(state, images, key), packing)

  return view._replace(see=see)


def _still(see) -> View:
  """A view that keeps nothing."""
  return View(see, lambda state, real: state, lambda state: (state, {}), {})


def _adaptive(packing, /, pipe='bgc', p=None, **moves) -> View:
  adaptive.check(pipe)
  extra = sorted(moves.keys() - {'target', 'interval', 'images'})
  if extra:
    raise UserError(f'method.ada does not take {", ".join(extra)}')
  numbers = all(isinstance(x, (int, float)) for x in moves.values())
  least = numbers and min(moves.get('interval', 1), moves.get('images', 1))
  if not least >= 1 or abs(moves.get('target', 0)) > 1:
    raise UserError(
      f'method.ada needs interval and images from 1 and a target in [-1, 1], not {moves}'
    )
  if p is not None:
    if moves:
      raise UserError(f'method.ada: with a fixed p there is no {", ".join(moves)}')
    schedules.check('method.ada.p', p, 0, 1)
    return _still(
      lambda state, images, key: adaptive.augment(images, key, schedules.ramp(p, state.step), pipe)
    )

  def keep(state, new):
    return state.replace(extra={**state.extra, 'ada': new})

  def see(state, images, key):
    return adaptive.augment(images, key, state.extra['ada']['p'], pipe)

  def note(state, real):
    # What D says of a pack it says of each image in it.
    return keep(state, adaptive.note(state.extra['ada'], jnp.repeat(real, packing)))

  def move(state):
    old = state.extra['ada']
    new = adaptive.move(old, state.step, **moves)
    # r_t of the paper's equation 1, of what was noted since p was moved.
    return keep(state, new), {
      'ada_p': new['p'],
      'ada_r_t': old['signs'] / jnp.maximum(old['count'], 1),
    }

  return View(see, note, move, {'ada': adaptive.start()}, {'ada_p': (HIGH, TOO_HIGH)})


def pack(images: jax.Array, packing: int) -> jax.Array:
  """[B, ..., C] -> [B / packing, ..., packing * C]: neighbours in the batch become one.

  Raises:
    UserError: a batch that `packing` does not divide.
  """
  b, *sides, c = images.shape
  if b % packing:
    raise UserError(
      f'method.packing={packing} must divide the batch, which is of {b} images (a part, where there are microbatches)'
    )
  images = images.reshape(b // packing, packing, *sides, c)
  return jnp.moveaxis(images, 1, -2).reshape(b // packing, *sides, packing * c)
