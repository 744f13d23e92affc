"""Optimizers: optax transformations whose learning rate is a function of the training step alone.

The rate must not depend on optax's own counts: the discriminator makes n_critic updates a step, lazy phases make some,
and a stage may start with fresh optimizer state, while a schedule runs over the whole of training.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ganjax import UserError
from ganjax.component import check_arguments
from ganjax.method import Phase
from ganjax.optim import schedules
from ganjax.wording import closest


def build(
  configs: Mapping[str, Mapping[str, Any]], phases: Iterable[Phase], steps: int
) -> dict[str, optax.GradientTransformationExtraArgs]:
  """One optimizer for each name that the phases use.

  Args:
    configs: optimizer name -> `name` ('adam' where it is missing, or 'rmsprop') and the arguments of that function;
      `clip`, where there is one, as in `clip_parameters`; `lazy_every`, see below.
    phases: all phases of the method.
    steps: steps of the whole training, the length of the schedules.

  Returns:
    name -> optax.GradientTransformationExtraArgs; `update` takes the keyword `step`, and two that depend on the stage:
    `lazy`, by which it scales rate and log betas (`update.lazy_ratio`), and `rate`, by which it scales the rate alone.
    An optimizer of `lazy_every` k scales by k / (k + 1) instead of `lazy`, whatever the phases.

  Raises:
    UserError: a name is missing, or one is there that no phase uses; arguments that do not fit.
  """
  used = {phase.opt for phase in phases}
  if used != set(configs):
    raise UserError(
      f'config.optim must hold {sorted(used)} for this method; it holds {sorted(configs)}'
    )
  return {name: _make(configs[name], steps=steps) for name in sorted(used)}


def _make(config, **schedule):
  arguments = dict(config)
  name, clip = arguments.pop('name', 'adam'), arguments.pop('clip', None)
  kinds = {'adam': adam, 'rmsprop': rmsprop}
  if name not in kinds:
    raise UserError(
      f'optim name={name!r} is not known{closest(name, kinds)}; there are {", ".join(kinds)}'
    )
  check_arguments(f'optim {name!r}', kinds[name], arguments, schedule)
  optimizer = kinds[name](**arguments, **schedule)
  return optimizer if clip is None else optax.chain(optimizer, clip_parameters(clip))


def adam(
  *,
  lr: schedules.Schedule,
  b1: float,
  b2: schedules.Schedule,
  eps: float = 1e-8,
  decay: str = 'constant',
  lazy_every: int | None = None,
  weight_decay: float = 0.0,
  steps: int,
) -> optax.GradientTransformationExtraArgs:
  """Adam (arXiv:1412.6980) with the rate `lr`, constant or falling linearly to 0 over `steps`.

  With decay 'constant', `lr` may be a schedule of `schedules`, to 0 too; so may `b2`. `weight_decay` times the
  parameters is added to their gradients, as in torch.optim.Adam: it goes through the moments, unlike AdamW's.
  """
  if not (0 <= b1 < 1 and all(0 <= b < 1 for b in schedules.ends('optim b2', b2)) and eps >= 0):
    raise UserError(f'optim needs betas in [0, 1), eps >= 0; got b1={b1}, b2={b2}, eps={eps}')
  if not (isinstance(weight_decay, (int, float)) and weight_decay >= 0):
    raise UserError(f'optim weight_decay={weight_decay} must be a number from 0')

  def scale(step, lazy):
    return optax.scale_by_adam(b1**lazy, schedules.ramp(b2, step) ** lazy, eps)

  # Where b2 changes, moments are corrected by 1 - b2^updates with the b2 of the step, as torch.optim.Adam does where
  # its betas are set anew (R3GAN's training).
  return _scheduled(scale, _rate(lr, decay, steps), lazy_every, weight_decay)


def rmsprop(
  *,
  lr: schedules.Schedule,
  decay_rate: float = 0.99,
  eps: float = 1e-8,
  decay: str = 'constant',
  lazy_every: int | None = None,
  steps: int,
) -> optax.GradientTransformationExtraArgs:
  """RMSProp: g / (sqrt(mean g^2) + eps), the mean over about 1 / (1 - decay_rate) updates, from 0, uncorrected.

  As in torch.optim.RMSprop, with which WGAN was found (arXiv:1701.07875). The rate is as in `adam`.
  """
  if not (0 <= decay_rate < 1 and eps >= 0):
    raise UserError(
      f'optim needs decay_rate in [0, 1), eps >= 0; got decay_rate={decay_rate}, eps={eps}'
    )
  scale = lambda step, lazy: optax.scale_by_rms(decay_rate**lazy, eps, eps_in_sqrt=False)
  return _scheduled(scale, _rate(lr, decay, steps), lazy_every)


def clip_parameters(limit: float) -> optax.GradientTransformation:
  """Makes each update end with all parameters in [-limit, limit], up to rounding (arXiv:1701.07875, algorithm 1).

  To be the last of a chain. Biases, and scales of norms, are parameters too.
  """
  if not (isinstance(limit, (int, float)) and limit > 0):
    raise UserError(f'optim clip={limit} must be above 0')

  def update(updates, state, params):
    clip = lambda p, u: jnp.clip(p + u, -limit, limit) - p
    return jax.tree.map(clip, params, updates), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _rate(lr, decay, steps):
  """The learning rate as a function of the training step."""
  if decay not in ('constant', 'linear'):
    raise UserError(f"optim decay={decay!r} is not known; take 'constant' or 'linear'")
  rates = schedules.ends('optim lr', lr)
  if min(rates) < 0 or max(rates) == 0:
    raise UserError(f'optim needs lr > 0; got lr={lr}')
  if len(rates) > 1 and decay != 'constant':
    raise UserError(f"optim lr is a schedule, which needs decay='constant', not {decay!r}")
  left = lambda step: 1 - step / steps if decay == 'linear' else 1.0
  return lambda step: schedules.ramp(lr, step) * left(step)


def _scheduled(
  scale, rate_at, lazy_every, weight_decay=0.0
) -> optax.GradientTransformationExtraArgs:
  """Updates of `scale(step, lazy)`, whose state is the same for all, times -rate_at(step) * rate * lazy."""
  if lazy_every is not None and not (isinstance(lazy_every, int) and lazy_every >= 1):
    raise UserError(f'optim lazy_every={lazy_every} must be a whole number of steps, from 1')

  def update(updates, state, params=None, *, step, lazy=1.0, rate=1.0, **unused):
    lazy = lazy_every / (lazy_every + 1) if lazy_every else lazy
    if weight_decay:
      updates = jax.tree.map(lambda u, p: u + weight_decay * p, updates, params)
    updates, inner = scale(step, lazy).update(updates, state[0], params)
    return optax.tree.scale(-rate_at(step) * (lazy * rate), updates), (inner, *state[1:])

  # The second, empty part keeps the tree of states that are saved.
  start = lambda params: (scale(0, 1.0).init(params), optax.EmptyState())
  return optax.GradientTransformationExtraArgs(start, update)
