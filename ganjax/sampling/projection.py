"""Projection: styles w from which a generator makes a given picture.

It follows stylegan2-ada-pytorch's projector (StyleGAN2, arXiv:1912.04958, appendix D): Adam on w, with decaying noise
on w, and on the noise maps, with a regularizer that keeps them noise-like.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import UserError
from ganjax.method import Method, Stage, TrainState
from ganjax.sampling import styles

ADAM, RATE = optax.scale_by_adam(), 0.1
RAMP_DOWN, RAMP_UP = 0.25, 0.05  # parts of the course over which the rate falls and rises
NOISE = 0.05  # on w, in its deviations
NOISE_PART = 0.75  # of the course, over which the noise vanishes
NOISE_WEIGHT = 1e5
LARGEST = 256  # pixels; larger pictures are compared reduced


class Found(NamedTuple):
  """The result of a projection.

  Attributes:
    w: float32 [L, W].
    course: pictures uint8 [T, H, W, C] of the optimisation, with the first and the last.
    start, end: distances of the first and the last picture.
  """

  w: np.ndarray
  course: np.ndarray
  start: float
  end: float


def project(
  method: Method,
  stage: Stage,
  state: TrainState,
  picture: np.ndarray,
  measure: Any,
  *,
  space: str = 'w',
  steps: int = 1000,
  seed: int = 303,
  shown: int = 50,
  say: Callable[[str], None] | None = None,
) -> Found:
  """The styles of a picture.

  Args:
    method, stage, state: of a run with `method.styles`; the state on one device.
    picture: uint8 [H, W, C].
    measure: the loss, a `metrics.perceptual.Distance`.
    space: 'w', one style for all layers, or 'w+', one for each: closer to the picture, but less typical of G.
    steps: updates.
    seed: of the noise.
    shown: number of pictures in `course`.
    say: called with lines of progress, or None.

  Raises:
    UserError: the distance does not take such pictures, or a value is not finite.
  """
  drawn = styles.draw(method, state).astype(np.float64)
  mean, deviation = drawn.mean(0), np.sqrt(((drawn - drawn.mean(0)) ** 2).sum() / len(drawn))
  layers, _ = styles.shape(method, state)
  rows = jax.device_get(method.rows(np.zeros(1, np.int32), {}, **method.styles.still))
  rows = styles.find(method, state, rows)
  start = np.tile(mean, (1, layers if space == 'w+' else 1, 1)).astype(np.float32)
  target = _comparable(jnp.asarray(picture, jnp.float32)[None] / 127.5 - 1)

  update, look = _functions(stage.sample, measure.apply, layers)
  own = {n: {'noise': x['noise']} for n, x in state.stats.items() if 'noise' in x}
  found = {'w': jnp.asarray(start), 'noise': _draw(own, seed)}
  opt, constants = ADAM.init(found), (state, rows, measure.variables, target)
  keys = jax.random.key(seed)
  image, first = look(found['w'], *constants)
  course, every, began = [image], -(-steps // shown), time.monotonic()
  for number in range(steps):
    found, opt, far = update(found, opt, keys, number, steps, deviation, *constants)
    if (number + 1) % every == 0 or number + 1 == steps:
      image, end = look(found['w'], *constants)
      course.append(image)
      if not math.isfinite(far + end):
        raise UserError(
          f'projection left the finite numbers at step {number + 1}: take another --distance'
        )
      if say:
        left = (time.monotonic() - began) / (number + 1) * (steps - number - 1)
        say(f'step {number + 1}/{steps}  distance {end:.4f}  {left:.0f}s left')
  w = np.broadcast_to(found['w'][0], (layers, start.shape[2]))
  return Found(np.array(w), np.stack(course), float(first), float(end))


@functools.lru_cache  # of several pictures one program
def _functions(sample, measure, layers):
  """(an update, a look at what w makes), jitted."""

  def make(w, noise, state, rows):
    stats = {name: own | noise.get(name, {}) for name, own in state.stats.items()}
    w = jnp.broadcast_to(w, (1, layers, w.shape[2]))
    return sample(state.replace(stats=stats), {**rows, 'w': w}, train=False)[0]

  def loss(found, key, t, deviation, state, rows, variables, target):
    w = found['w']
    moved = deviation * NOISE * jnp.maximum(0, 1 - t / NOISE_PART) ** 2
    images = make(w + moved * jax.random.normal(key, w.shape), found['noise'], state, rows)
    far = measure(variables, _comparable(images), target)[0]
    return far + NOISE_WEIGHT * sum(map(_unlikeness, jax.tree.leaves(found['noise']))), far

  def update(found, opt, key, number, steps, deviation, *constants):
    t = number / steps
    key = jax.random.fold_in(key, number + 1)
    grads, far = jax.grad(loss, has_aux=True)(found, key, t, deviation, *constants)
    fall = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1, (1 - t) / RAMP_DOWN))
    changes, opt = ADAM.update(grads, opt)
    rate = RATE * fall * jnp.minimum(1, t / RAMP_UP)
    found = jax.tree.map(lambda x, change: x - rate * change, found, changes)
    return {**found, 'noise': jax.tree.map(_normalise, found['noise'])}, opt, far

  def look(w, state, rows, variables, target):
    """With the run's own noise, as `ganjax sample --styles` shows it."""
    images = make(w, {}, state, rows)
    return images[0], measure(variables, _comparable(images), target)[0]

  return jax.jit(update), jax.jit(look)


def _comparable(images):
  """Images [B, H, W, C] as distances take them: of three channels, and reduced to LARGEST by means of blocks."""
  b, h, w, c = images.shape
  images = jnp.repeat(images, 3, 3) if c < 3 else images[..., :3]
  block = max(1, max(h, w) // LARGEST)
  if block == 1 or h % block or w % block:
    return images
  return images.reshape(b, h // block, block, w // block, block, 3).mean((2, 4))


def _draw(noise, seed):
  leaves, tree = jax.tree.flatten(noise)
  keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0), len(leaves) + 1)
  return tree.unflatten([jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves)])


def _unlikeness(x):
  """How far a noise map [1, H, W] is from independent pixels: products of neighbours, at this size and halved ones."""
  total = 0.0
  while True:
    total += sum(jnp.mean(x * jnp.roll(x, 1, axis)) ** 2 for axis in (1, 2))
    _, h, w = x.shape
    if min(h, w) <= 8:
      return total
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(1, h // 2, 2, w // 2, 2).mean((2, 4))


def _normalise(x):
  """A noise map of mean 0 and mean square 1."""
  x = x - jnp.mean(x)
  return x * jax.lax.rsqrt(jnp.mean(x**2))
