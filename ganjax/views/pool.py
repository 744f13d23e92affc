"""A pool of earlier fakes that D is shown beside new ones (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3)."""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.devices import sharding


def start(
  size: int, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = 'float32'
) -> dict[str, np.ndarray | np.int32]:
  """An empty pool of `size` pictures of `shape`: {'images' [size, ...], 'count' int32: how many it holds}."""
  return {'images': np.zeros((size, *shape), dtype), 'count': np.int32(0)}


def exchange(pool: dict, images: jax.Array, key: jax.Array) -> tuple[dict, jax.Array]:
  """What D sees for new fakes [B, ...] -> (pool, images), one after the other as CycleGAN's code does.

  While the pool is not full a fake is stored and returned. Then, with probability 1/2, it takes the place of a random
  one, which is returned; else it is returned itself.
  """
  size = len(pool['images'])

  def one(pool, image_and_number):
    image, number = image_and_number
    coin, place = jax.random.split(jax.random.fold_in(key, number))
    full = pool['count'] == size
    index = jnp.where(full, jax.random.randint(place, (), 0, size), pool['count'])
    old = pool['images'][index]
    swap = full & jax.random.bernoulli(coin)
    kept = jnp.where(full & ~swap, old, image)
    new = {'images': pool['images'].at[index].set(kept), 'count': pool['count'] + ~full}
    return new, jnp.where(swap, old, image)

  pool, seen = jax.lax.scan(one, pool, (images, jnp.arange(len(images))))
  return pool, sharding.keep_split(seen)
