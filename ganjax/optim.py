"""Optimizers: optax transformations whose learning rate is a function of the training step alone.

The rate must not depend on optax's own counts: the discriminator makes n_critic updates a step, lazy phases make some,
and a stage may start with fresh optimizer state, while a schedule runs over the whole of training.
"""

import jax
import jax.numpy as jnp
import optax

from ganjax import UserError, schedules
from ganjax.config import check_arguments


def build(configs, phases, steps: int) -> dict:
  """One optimizer for each name that the phases use.

  Args:
    configs: optimizer name -> `name` ('adam' where it is missing, or 'rmsprop') and the arguments of that function;
      `clip`, where there is one, as in `clip_parameters`.
    phases: all phases of the method.
    steps: steps of the whole training, the length of the schedules.

  Returns:
    name -> optax.GradientTransformationExtraArgs; `update` takes the keyword `step`.

  Raises:
    UserError: a name is missing, or one is there that no phase uses; arguments that do not fit.
  """
  used = {phase.opt for phase in phases}
  if used != set(configs):
    raise UserError(
      f'config.optim must hold {sorted(used)} for this method; it holds {sorted(configs)}'
    )
  return {
    name: _make(configs[name], steps=steps, lazy=lazy_ratio([p for p in phases if p.opt == name]))
    for name in sorted(used)
  }


def _make(config, **schedule):
  arguments = dict(config)
  name, clip = arguments.pop('name', 'adam'), arguments.pop('clip', None)
  kinds = {'adam': adam, 'rmsprop': rmsprop}
  if name not in kinds:
    raise UserError(f'optim name={name!r} is not known; there are {", ".join(kinds)}')
  check_arguments(f'optim {name!r}', kinds[name], arguments, schedule)
  optimizer = kinds[name](**arguments, **schedule)
  return optimizer if clip is None else optax.chain(optimizer, clip_parameters(clip))


def lazy_ratio(phases) -> float:
  """k / (k + 1) for a main phase with a regularizer every k steps, 1 without one.

  StyleGAN2 (arXiv:1912.04958, appendix B): with lazy phases an optimizer makes 1 + 1/k updates a step; learning rate
  and log betas are scaled back by that.
  """
  if all(phase.every == 1 for phase in phases):
    return 1.0
  return 1 / sum(1 / phase.every for phase in phases)


def adam(*, lr: float, b1: float, b2: float, eps=1e-8, decay='constant', steps: int, lazy=1.0):
  """Adam (arXiv:1412.6980) with the rate `lr`, constant or falling linearly to 0 over `steps`.

  With decay 'constant', `lr` may be a schedule of `schedules`, to 0 too; so may `b2`.
  """
  if not (0 <= b1 < 1 and all(0 <= b < 1 for b in schedules.ends('optim b2', b2)) and eps >= 0):
    raise UserError(f'optim needs betas in [0, 1), eps >= 0; got b1={b1}, b2={b2}, eps={eps}')
  rate = _rate(lr, decay, steps, lazy)
  beta = lambda step: schedules.ramp(b2, step) ** lazy
  return optax.chain(_scale_by_adam(b1**lazy, beta, eps), _scale_by_step(rate))


def rmsprop(*, lr: float, decay_rate=0.99, eps=1e-8, decay='constant', steps: int, lazy=1.0):
  """RMSProp: g / (sqrt(mean g^2) + eps), the mean over about 1 / (1 - decay_rate) updates, from 0, uncorrected.

  As in torch.optim.RMSprop, with which WGAN was found (arXiv:1701.07875). The rate is as in `adam`.
  """
  if not (0 <= decay_rate < 1 and eps >= 0):
    raise UserError(
      f'optim needs decay_rate in [0, 1), eps >= 0; got decay_rate={decay_rate}, eps={eps}'
    )
  scale = optax.scale_by_rms(decay_rate**lazy, eps, eps_in_sqrt=False)
  return optax.chain(scale, _scale_by_step(_rate(lr, decay, steps, lazy)))


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


def _rate(lr, decay, steps, lazy):
  """The learning rate as a function of the training step."""
  if decay not in ('constant', 'linear'):
    raise UserError(f"optim decay={decay!r} is not known; take 'constant' or 'linear'")
  rates = schedules.ends('optim lr', lr)
  if min(rates) < 0 or max(rates) == 0:
    raise UserError(f'optim needs lr > 0; got lr={lr}')
  if len(rates) > 1 and decay != 'constant':
    raise UserError(f"optim lr is a schedule, which needs decay='constant', not {decay!r}")
  left = lambda step: 1 - step / steps if decay == 'linear' else 1.0
  return lambda step: schedules.ramp(lr, step) * lazy * left(step)


def _scale_by_adam(b1, b2, eps) -> optax.GradientTransformationExtraArgs:
  """optax.scale_by_adam, with its state, for a decay b2(step) of the second moment.

  Where it changes, moments are corrected by 1 - b2^updates with the b2 of the step, as torch.optim.Adam does where its
  betas are set anew (R3GAN's training).
  """

  def update(updates, state, params=None, *, step, **unused):
    return optax.scale_by_adam(b1, b2(step), eps).update(updates, state, params)

  return optax.GradientTransformationExtraArgs(optax.scale_by_adam(b1).init, update)


def _scale_by_step(rate) -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by -rate(step), where `step` is the training step given to `update`."""

  def update(updates, state, params=None, *, step, **unused):
    factor = -rate(step)
    return optax.tree.scale(factor, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
