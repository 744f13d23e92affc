"""How exactly numbers are held: sums, statistics and losses in float32 at least, whatever the dtype of networks."""

import jax
import jax.numpy as jnp


def wide(dtype: jax.typing.DTypeLike) -> jnp.dtype:
  """A dtype, if it is float32 at least, or float32."""
  return jnp.promote_types(dtype, jnp.float32)


def widen(x: jax.Array) -> jax.Array:
  """An array in float32 at least."""
  return x.astype(wide(x.dtype))
