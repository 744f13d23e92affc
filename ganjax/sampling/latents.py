"""Draws of the latent z."""

from collections.abc import Collection, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.devices import sharding


def normal(key: jax.Array, n: int, *shape: int) -> jax.Array:
  """z ~ N(0, I), float32 [n, *shape], split over the mesh."""
  return sharding.keep_split(jax.random.normal(key, (n, *shape)))


def check_length(z_dim: int) -> None:
  """Raises UserError for an invalid `method.z_dim`."""
  if not (isinstance(z_dim, int) and 0 < z_dim < 2**16):
    raise UserError(f'method.z_dim={z_dim} must be whole, from 1 and below 65,536')


def per_seed(seeds: jax.Array | np.ndarray, *shape: int, truncation: float = 0.0) -> jax.Array:
  """One z for each seed, float32 [len(seeds), *shape]: a picture depends only on its seed, not on the batch.

  Args:
    seeds: int in [-2^31, 2^31); others are taken modulo 2^32. Command lines accept seeds from 0.
    *shape: shape of one z: its length, or the shape of a sample for noise.
    truncation: 0 for a normal distribution; else the distribution is truncated at +-truncation (BigGAN,
      arXiv:1809.11096, section 3.1). Smaller values give more typical and less varied samples.

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


def mix(
  key: jax.Array, w: jax.Array, other: jax.Array, probability: float, layers: int | None = None
) -> jax.Array:
  """Style mixing (StyleGAN, arXiv:1812.04948, section 3.1): w [n, L, W], some with styles of `other` from a layer on.

  Args:
    key: for the draws, which differ between images.
    w, other: styles of two latents.
    probability: probability that an image is mixed.
    layers: number of layers in use, by default all. The first layer of `other` is drawn evenly from 1, ..., layers - 1.
  """
  layers = layers or w.shape[1]
  # Below 1 in mixed images, and even there.
  share = jax.random.uniform(key, (len(w), 1)) / probability
  start = jnp.where(share < 1, 1 + jnp.floor(share * (layers - 1)), layers)
  return jnp.where((jnp.arange(w.shape[1]) < start)[..., None], w, other)


# What networks of styles may take beside them, and what samples may be told of it, with the defaults.
TAKEN = {
  'noise': {'noise': 'random'},
  'transform': {'translate_x': 0.0, 'translate_y': 0.0, 'rotate': 0.0},
}


def options_of_styles(takes: Iterable[str]) -> dict[str, float | str]:
  """The options of `of_styles`, with their defaults."""
  options = {'truncation': 1.0, 'cutoff': 0}
  return options | {name: value for one in takes for name, value in TAKEN[one].items()}


def of_styles(
  seeds: jax.Array | np.ndarray,
  dim: int,
  num_styles: int,
  takes: Collection[str] = ('noise',),
  **options: float | str,
) -> dict[str, jax.Array]:
  """z, truncation and other inputs for each seed, for a generator with `num_styles` styles.

  Args:
    seeds: int [n].
    dim: length of z.
    num_styles: number of layers with a style.
    takes: some of TAKEN.
    **options: of `options_of_styles`:
      truncation: psi, the factor of a style's difference from the mean style.
      cutoff: number of first layers that are truncated; 0: all.
      noise: 'random', different for each seed, as published metrics are measured; or 'constant', the same for all, for
        smooth interpolations.
      rotate: rotation of pictures in degrees, counter-clockwise.
      translate_x, translate_y: translation after the rotation, right and down, in units of the side.

  Raises:
    UserError: an invalid value.
  """
  options = options_of_styles(takes) | options
  noise, cutoff = options.get('noise', 'random'), options['cutoff']
  if noise not in ('random', 'constant') or not 0 <= cutoff < 2**31:
    raise UserError(f'noise={noise} must be random or constant, and cutoff={cutoff} from 0')
  seeds = jnp.asarray(seeds, jnp.int32)
  place = [options.get(name, 0.0) for name in TAKEN['transform']]
  taken = {
    'noise': lambda: seeds if noise == 'random' else jnp.full_like(seeds, -1),
    'transform': lambda: jnp.broadcast_to(transform(*place), (len(seeds), 3, 3)),
  }
  return {
    'z': per_seed(seeds, dim),
    'truncation': jnp.full(len(seeds), options['truncation'], jnp.float32),
    'cutoff': jnp.full_like(seeds, cutoff or num_styles),
    **{name: taken[name]() for name in takes},
  }


def transform(x: float | jax.Array, y: float | jax.Array, degrees: float | jax.Array) -> jax.Array:
  """[3, 3] that maps places (x, y, 1) of a translated and rotated picture to the places of the input to read.

  The inverse of [[cos, sin, x], [-sin, cos, y], [0, 0, 1]] (gen_images.py of StyleGAN3's authors): a rotation by
  `degrees` around the centre, counter-clockwise with y down, then a translation by x to the right and y down.
  """
  c, s = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
  rows = [[c, -s, s * y - c * x], [s, c, -s * x - c * y], [0.0, 0.0, 1.0]]
  return jnp.asarray(rows, jnp.float32)


def slerp(
  a: jax.Array | np.ndarray, b: jax.Array | np.ndarray, t: float | jax.Array | np.ndarray
) -> jax.Array:
  """Spherical interpolation from `a` (t=0) to `b` (t=1), both [..., Z], t broadcast against [...].

  A straight line between two Gaussian latents has norms that the generator never saw; the great circle does not (White
  2016, arXiv:1609.04468, section 2.1). Nearly parallel latents are joined by a straight line.
  """
  t = jnp.asarray(t)[..., None]
  unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  cosine = jnp.clip(jnp.sum(unit(a) * unit(b), axis=-1, keepdims=True), -1, 1)
  omega = jnp.arccos(cosine)
  straight = jnp.sin(omega) < 1e-4
  safe = jnp.where(straight, 1.0, jnp.sin(omega))
  wa = jnp.where(straight, 1 - t, jnp.sin((1 - t) * omega) / safe)
  wb = jnp.where(straight, t, jnp.sin(t * omega) / safe)
  return wa * a + wb * b
