"""What happens to a batch on the device, inside the update: conversion to floats, and flips."""

import jax
import jax.numpy as jnp

# Fields that are pictures [B, ..., H, W, C], or clips of them, where they are stored as uint8.
PICTURES = 'image', 'source', 'target', 'video'


def prepare(batch: dict, key, *, flip: bool) -> dict:
  """uint8 pictures -> float32 in [-1, 1] (x / 127.5 - 1), mirrored with probability 1/2 where `flip`.

  Args:
    batch: fields [B, ...]; those of dtype uint8 that `PICTURES` names are pictures. Others may be anything, such as
      voxels of 0 and 1.
    key: decides the flips, one coin for each example: all pictures of an example (source and target, the frames of a
      clip) are mirrored together.
    flip: whether to mirror at all.

  Returns:
    The batch with its pictures converted and other fields untouched.
  """
  n = len(next(iter(batch.values())))
  coins = jax.random.bernoulli(key, 0.5, (n,)) if flip else None

  def convert(name, x):
    if x.dtype != jnp.uint8 or name not in PICTURES:
      return x
    x = x.astype(jnp.float32) / 127.5 - 1
    if flip:
      x = jnp.where(coins.reshape(n, *[1] * (x.ndim - 1)), jnp.flip(x, axis=-2), x)
    return x

  return {name: convert(name, x) for name, x in batch.items()}
