"""PatchNCE (Park et al. 2020, arXiv:2007.15651, section 3.2): what is at a place before and after shall be alike."""

import jax
import jax.numpy as jnp

from ganjax.dtypes import widen


def patch_nce(query: jax.Array, key: jax.Array, temperature: float = 0.07) -> jax.Array:
  """-E log of the softmax share that a query has of its own key among the keys of its picture.

  Args:
    query: unit vectors [B, P, C] of P places of pictures that were made.
    key: those of the same places of the pictures that they were made from; no gradient goes there.
    temperature: what similarities are divided by.

  Returns:
    A scalar, 0 at best; log P where all keys are alike.

  Raises:
    ValueError: the shapes differ.
  """
  if query.shape != key.shape:
    raise ValueError(f'queries {query.shape} and keys {key.shape} must have equal shapes')
  alike = jnp.einsum('bpc,bqc->bpq', widen(query), jax.lax.stop_gradient(widen(key))) / temperature
  own = jnp.diagonal(alike, axis1=1, axis2=2)
  return jnp.mean(jax.nn.logsumexp(alike, -1) - own)
