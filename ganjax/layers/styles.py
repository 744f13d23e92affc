"""What networks of styles share (StyleGAN, Karras et al. 2018, arXiv:1812.04948): noise, the mean style, truncation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.devices import sharding

MEAN_DECAY = 0.995  # what the mean style keeps at an update (the authors' code)


def draw_noise(
  module: nn.Module,
  sizes: dict[str, tuple[int, int]],
  batch: int,
  seeds: jax.Array | None,
  dtype: jax.typing.DTypeLike,
) -> dict[str, jax.Array] | None:
  """Noise of a network's layers: {name of a layer: [batch, height, width]}, or None where it is constant.

  Args:
    module: whose rng 'noise' it is drawn by, where there are no seeds; without that rng, noise is constant.
    sizes: {name: (height, width)}.
    batch: images.
    seeds: int32 [batch], of each image its own, or None.
    dtype: of the noise.
  """
  # One draw for all, as each takes long to compile.
  ends = np.cumsum([np.prod(size) for size in sizes.values()])
  if seeds is not None:
    key = lambda seed: jax.random.fold_in(jax.random.key(seed), 1)
    drawn = jax.vmap(lambda seed: jax.random.normal(key(seed), ends[-1:], dtype))(seeds)
  elif module.has_rng('noise') and not module.is_initializing():
    drawn = jax.random.normal(module.make_rng('noise'), (batch, ends[-1]), dtype)
    drawn = sharding.keep_split(drawn)
  else:
    return None
  rows = jnp.split(drawn, ends[:-1], 1)
  return {n: x.reshape(batch, *sizes[n]) for n, x in zip(sizes, rows)}


def noise_of(
  module: nn.Module,
  size: tuple[int, ...],
  noise: jax.Array | None,
  seeds: jax.Array | None,
  dtype: jax.typing.DTypeLike,
) -> jax.Array:
  """A layer's noise: `noise` [B, H, W]; without it, and of a seed below 0, what its collection 'noise' has."""
  draw = lambda: jax.random.normal(module.make_rng('params'), (1, *size), dtype)
  fixed = module.variable('noise', 'constant', draw)
  noise = fixed.value if noise is None else noise
  return noise if seeds is None else jnp.where(seeds[:, None, None] < 0, fixed.value, noise)


def move_mean(mean: jax.Array, w: jax.Array, decay: float = MEAN_DECAY) -> jax.Array:
  """The mean style after an update by styles w [B, W], of which it keeps `decay`."""
  new = jax.lax.stop_gradient(jnp.mean(w, 0))
  return new + decay * (mean - new)


def truncate(
  w: jax.Array,
  mean: jax.Array,
  truncation: float | jax.Array,
  cutoff: int | jax.Array | None = None,
) -> jax.Array:
  """Styles w [B, L, W] drawn towards their mean (StyleGAN, arXiv:1812.04948, appendix B).

  Args:
    w: of `map`.
    mean: [W], or [B, 1, W] of each sample's own.
    truncation: psi, a number or one for each sample [B]: what is kept of the difference from the mean.
    cutoff: so many layers, or [B]; None: all.
  """
  near = mean + jnp.reshape(truncation, (-1, 1, 1)) * (w - mean)
  if cutoff is None:
    return near
  return jnp.where(jnp.arange(w.shape[1])[:, None] < jnp.reshape(cutoff, (-1, 1, 1)), near, w)
