"""Values that may change with the training step: a number, or a schedule, which is a mapping in the configuration.

A ramp is {'start', 'end', 'steps', 'begin', 'shape'}: `start` up to the training step `begin` (default 0), then to
`end` over `steps` steps, then `end`. The shape is 'cosine' (default) or 'linear'. R3GAN (Huang et al. 2024,
arXiv:2501.05441, appendix D) has ramps for learning rate, Adam's beta 2, penalties, augmentation and the half-life of
the average. CycleGAN (Zhu et al. 2017, arXiv:1703.10593, section 4) keeps the learning rate for the first half of
training, and decays it linearly to 0 over the second.

Falls are {'start', 'factor', 'at'}: `start`, multiplied by `factor` at each of the training steps `at`. ESRGAN (Wang et
al. 2018, arXiv:1809.00219, section 4.1) halves the learning rate after 50, 100, 200 and 300 thousand steps.

A decay is {'start', 'inverse'}: `start` / (1 + `inverse` * the training step). AdaIN's code uses it.
"""

import math
from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ganjax import UserError

Schedule: TypeAlias = float | Mapping | ConfigDict  # a number, or a mapping of above


def ramp(schedule: Schedule, step: int | jax.Array) -> float | jax.Array:
  """The value at a training step, an int or a traced scalar: a number as it is, a schedule's as a float32 scalar."""
  if not _is_mapping(schedule):
    return schedule
  if 'inverse' in schedule:
    return schedule['start'] / (1 + schedule['inverse'] * jnp.float32(step))
  if 'at' in schedule:
    passed = jnp.sum(step >= jnp.asarray(schedule['at']))
    return schedule['start'] * jnp.float32(schedule['factor']) ** passed
  left = 1 - jnp.clip((step - schedule.get('begin', 0)) / schedule['steps'], 0.0, 1.0)
  if schedule.get('shape', 'cosine') == 'cosine':
    left = (1 - jnp.cos(jnp.pi * left)) / 2
  return schedule['end'] + (schedule['start'] - schedule['end']) * left


def ends(name: str, schedule: Schedule) -> tuple[float, ...]:
  """The numbers that bound all values: (number,), or (first, last) of a schedule.

  Raises:
    UserError: `schedule`, called `name` in the message, is neither a number nor a schedule.
  """
  number = lambda x: isinstance(x, (int, float))
  if not _is_mapping(schedule):
    if not number(schedule):
      raise UserError(f'{name}={schedule!r} is neither a number nor a ramp')
    return (schedule,)
  schedule = dict(schedule)
  if 'at' in schedule:
    return _ends_of_falls(name, schedule, number)
  if 'inverse' in schedule:
    if {*schedule} != {'start', 'inverse'} or not all(map(number, schedule.values())):
      raise UserError(f'{name}={schedule} must hold numbers start and inverse alone')
    if schedule['inverse'] < 0:
      raise UserError(f'{name}={schedule} needs inverse from 0')
    return schedule['start'], 0.0
  keys, needed = {*schedule}, {'start', 'end', 'steps'}
  numbers = all(number(v) for key, v in schedule.items() if key != 'shape')
  if not needed <= keys <= {*needed, 'begin', 'shape'} or not numbers:
    raise UserError(
      f'{name}={schedule} must be a number, or numbers start, end, steps, perhaps begin, and a shape'
      "; or start, factor and a list 'at' of steps"
    )
  shape, begin = schedule.get('shape', 'cosine'), schedule.get('begin', 0)
  if schedule['steps'] < 1 or begin < 0 or shape not in ('cosine', 'linear'):
    raise UserError(
      f"{name}={schedule} needs steps >= 1, begin >= 0 and shape 'cosine' or 'linear'"
    )
  return schedule['start'], schedule['end']


def _ends_of_falls(name, schedule, number):
  at, factor = schedule['at'], schedule.get('factor')
  if (
    {*schedule} != {'start', 'factor', 'at'} or not number(schedule['start']) or not number(factor)
  ):
    raise UserError(
      f"{name}={schedule} must hold numbers start and factor, and a list 'at' of steps"
    )
  whole = isinstance(at, (list, tuple)) and at and all(isinstance(step, int) for step in at)
  if not whole or not 0 <= factor <= 1 or not all(a < b for a, b in zip((0, *at), at)):
    raise UserError(
      f"{name}={schedule} needs factor from 0 to 1 and rising whole steps 'at', from 1"
    )
  return schedule['start'], schedule['start'] * factor ** len(at)


def check(name: str, schedule: Schedule, low: float = 0.0, high: float = math.inf) -> None:
  """Raises UserError unless `schedule`, called `name`, is a number or has finite numbers in [low, high]."""
  if not all(low <= x <= high and math.isfinite(x) for x in ends(name, schedule)):
    schedule = dict(schedule) if _is_mapping(schedule) else schedule
    raise UserError(
      f'{name}={schedule} must be finite and '
      + (f'from {low:g}' if high == math.inf else f'in [{low:g}, {high:g}]')
    )


def check_number(name: str, number: float, low: float = 0.0, high: float = math.inf) -> None:
  """Raises UserError unless `number`, called `name`, is a number in [low, high], not a schedule."""
  if _is_mapping(number):
    raise UserError(f'{name} is the same in all steps: it takes a number, not {dict(number)}')
  check(name, number, low, high)


def describe(schedule: Schedule, unit: str = '') -> str:
  """'20,000 images', '0 to 20,000 images over 500 steps', '0.1, times 0.5 at steps 1,000 and 2,000'."""
  unit = f' {unit}' if unit else ''
  if not _is_mapping(schedule):
    return f'{schedule:,}{unit}'
  start = f'{schedule["start"]:,}'
  if 'inverse' in schedule:
    return f'{start}{unit} / (1 + {schedule["inverse"]:g} step)'
  if 'at' in schedule:
    *others, last = (f'{step:,}' for step in schedule['at'])
    steps = f'steps {", ".join(others)} and {last}' if others else f'step {last}'
    return f'{start}{unit}, times {schedule["factor"]:g} at {steps}'
  begin, steps = schedule.get('begin', 0), schedule['steps']
  over = f'from step {begin:,} to {begin + steps:,}' if begin else f'over {steps:,} steps'
  return f'{start} to {schedule["end"]:,}{unit} {over}'


def _is_mapping(schedule):
  """Dicts, and those of ml_collections, which are no Mapping."""
  return hasattr(schedule, 'keys')
