"""Values that may change with the training step: a number, or a ramp that a configuration writes as a mapping.

A ramp is {'start', 'end', 'steps', 'shape'}: from `start` to `end` over the first `steps` training steps, then `end`.
The shape is 'cosine', which it is where it is missing, or 'linear'. R3GAN (Huang et al. 2024, arXiv:2501.05441,
appendix D) moves learning rate, Adam's beta 2, penalties, augmentation and the half-life of the average by such ramps.
"""

import math

import jax.numpy as jnp

from ganjax import UserError


def ramp(value, step):
  """The value at a training step, an int or a traced scalar: a number as it is, a ramp as a float32 scalar."""
  if not _is_ramp(value):
    return value
  left = 1 - jnp.minimum(step / value['steps'], 1.0)
  if value.get('shape', 'cosine') == 'cosine':
    left = (1 - jnp.cos(jnp.pi * left)) / 2
  return value['end'] + (value['start'] - value['end']) * left


def ends(name: str, value) -> tuple:
  """The numbers that bound all values: (value,), or (start, end) of a ramp.

  Raises:
    UserError: `value`, called `name` in the message, is neither a number nor a ramp.
  """
  number = lambda x: isinstance(x, (int, float))
  if not _is_ramp(value):
    if not number(value):
      raise UserError(f'{name}={value!r} is neither a number nor a ramp')
    return (value,)
  value = dict(value)
  keys, needed = {*value}, {'start', 'end', 'steps'}
  if not needed <= keys <= {*needed, 'shape'} or not all(number(value[key]) for key in needed):
    raise UserError(f'{name}={value} must be a number, or numbers start, end, steps and a shape')
  if value['steps'] < 1 or value.get('shape', 'cosine') not in ('cosine', 'linear'):
    raise UserError(f"{name}={value} needs steps >= 1 and shape 'cosine' or 'linear'")
  return value['start'], value['end']


def check(name: str, value, low: float = 0.0, high: float = math.inf):
  """Raises UserError unless `value`, called `name`, is a number or ramp of finite numbers in [low, high]."""
  if not all(low <= x <= high and math.isfinite(x) for x in ends(name, value)):
    value = dict(value) if _is_ramp(value) else value
    raise UserError(
      f'{name}={value} must be finite and '
      + (f'from {low:g}' if high == math.inf else f'in [{low:g}, {high:g}]')
    )


def describe(value, unit: str) -> str:
  """'20,000 images', or '0 to 20,000 images over 500 steps'."""
  if not _is_ramp(value):
    return f'{value:,} {unit}'
  return f'{value["start"]:,} to {value["end"]:,} {unit} over {value["steps"]:,} steps'


def _is_ramp(value):
  """Dicts, and those of ml_collections, which are no Mapping."""
  return hasattr(value, 'keys')
