"""Optimizers: optax transformations whose learning rate is a function of the training step alone.

The rate must not depend on optax's own counts: the discriminator makes n_critic updates a step, lazy phases make some,
and a stage may start with fresh optimizer state, while a schedule runs over the whole of training.
"""

import optax

from ganjax import UserError


def build(configs, phases, steps: int) -> dict:
  """One optimizer for each name that the phases use.

  Args:
    configs: optimizer name -> the arguments of `adam`.
    phases: all phases of the method.
    steps: steps of the whole training, the length of the schedules.

  Returns:
    name -> optax.GradientTransformationExtraArgs; `update` takes the keyword `step`.

  Raises:
    UserError: a name is missing, or one is there that no phase uses.
  """
  used = {phase.opt for phase in phases}
  if used != set(configs):
    raise UserError(
      f'config.optim must hold {sorted(used)} for this method; it holds {sorted(configs)}'
    )
  return {
    name: adam(**configs[name], steps=steps, lazy=lazy_ratio([p for p in phases if p.opt == name]))
    for name in sorted(used)
  }


def lazy_ratio(phases) -> float:
  """k / (k + 1) for a main phase with a regularizer every k steps, 1 without one.

  StyleGAN2 (arXiv:1912.04958, appendix B): with lazy phases an optimizer makes 1 + 1/k updates a step; learning rate
  and log betas are scaled back by that.
  """
  if all(phase.every == 1 for phase in phases):
    return 1.0
  return 1 / sum(1 / phase.every for phase in phases)


def adam(*, lr: float, b1: float, b2: float, eps=1e-8, decay='constant', steps: int, lazy=1.0):
  """Adam (arXiv:1412.6980) with the rate `lr`, constant or falling linearly to 0 over `steps`."""
  if decay not in ('constant', 'linear'):
    raise UserError(f"optim decay={decay!r} is not known; take 'constant' or 'linear'")
  if not (lr > 0 and 0 <= b1 < 1 and 0 <= b2 < 1 and eps >= 0):
    raise UserError(
      f'optim needs lr > 0, betas in [0, 1), eps >= 0; got lr={lr}, b1={b1}, b2={b2}, eps={eps}'
    )
  rate = lambda step: lr * lazy * (1 - step / steps if decay == 'linear' else 1.0)
  return optax.chain(optax.scale_by_adam(b1**lazy, b2**lazy, eps), _scale_by_step(rate))


def _scale_by_step(rate) -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by -rate(step), where `step` is the training step given to `update`."""

  def update(updates, state, params=None, *, step, **unused):
    factor = -rate(step)
    return optax.tree.scale(factor, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
