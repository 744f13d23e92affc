"""Draws of the latent z."""

import jax

from ganjax import UserError
from ganjax.devices import sharding


def normal(key, n: int, *shape: int):
  """z ~ N(0, I), float32 [n, *shape], split over the mesh."""
  return sharding.split(jax.random.normal(key, (n, *shape)))


def per_seed(seeds, *shape: int, truncation=0.0):
  """One z for each seed, float32 [len(seeds), *shape]: a picture depends on its own seed alone, not on its neighbours.

  Args:
    seeds: int in [-2^31, 2^31): others are taken modulo 2^32. Command lines take those from 0.
    *shape: of one z: its length, or the shape of a sample that noise is laid over.
    truncation: 0 for a normal distribution; else it is cut off at +-truncation (BigGAN, arXiv:1809.11096, section 3.1):
      the smaller, the more typical and the less varied samples are.

  Raises:
    UserError: a negative truncation.
  """
  if truncation < 0:
    raise UserError(f'truncation={truncation} must be above 0, or 0 for none')

  def draw(seed):
    key = jax.random.key(seed)
    if not truncation:
      return jax.random.normal(key, shape)
    return jax.random.truncated_normal(key, -truncation, truncation, shape)

  return jax.vmap(draw)(seeds)


def slerp(a, b, t):
  """Spherical interpolation from `a` (t=0) to `b` (t=1), both [..., Z], t broadcast against [...].

  A straight line between two Gaussian latents passes through norms that the generator never saw; the great circle
  does not (White 2016, arXiv:1609.04468, section 2.1). Nearly parallel latents are joined by a straight line.
  """
  jnp = jax.numpy
  t = jnp.asarray(t)[..., None]
  unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  cosine = jnp.clip(jnp.sum(unit(a) * unit(b), axis=-1, keepdims=True), -1, 1)
  omega = jnp.arccos(cosine)
  straight = jnp.sin(omega) < 1e-4
  safe = jnp.where(straight, 1.0, jnp.sin(omega))
  wa = jnp.where(straight, 1 - t, jnp.sin((1 - t) * omega) / safe)
  wb = jnp.where(straight, t, jnp.sin(t * omega) / safe)
  return wa * a + wb * b
