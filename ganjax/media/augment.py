"""What happens to a batch on the device, inside the update: conversion to floats, and flips."""

import jax
import jax.numpy as jnp

from ganjax import media


def prepare(
  batch: dict, key: jax.Array | None, *, flip: bool, kinds: dict[str, str] | None = None
) -> dict:
  """Stored examples -> what losses see, mirrored with probability 1/2 where `flip`.

  Args:
    batch: fields [B, ...], as they are stored; floats stay what they are.
    key: decides the flips, one coin for each example: all fields of an example (source and target, the frames of a
      clip) are mirrored together.
    flip: whether to mirror at all.
    kinds: {field: its kind, a file of `ganjax.media`}; by default `image` is one. Other fields stay as they are.

  Returns:
    The batch with its fields converted, see `ganjax.media`.
  """
  kinds = {'image': 'image'} if kinds is None else kinds
  n = len(next(iter(batch.values())))
  coins = jax.random.bernoulli(key, 0.5, (n,)) if flip else None

  def convert(name, x):
    if name not in kinds:
      return x
    kind = media.find(kinds[name])
    x = kind.to_float(x)
    if flip:
      x = jnp.where(coins.reshape(n, *[1] * (x.ndim - 1)), kind.mirror(x), x)
    return x

  return {name: convert(name, x) for name, x in batch.items()}
