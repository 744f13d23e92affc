"""Embedding of class labels."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError


class ClassEmbed(nn.Module):
  """A row of the table `embedding` [num_classes, features] for each label, or a weighted sum of its rows."""

  num_classes: int
  features: int
  embedding_init: nn.initializers.Initializer = nn.initializers.normal(1.0)
  dtype: jax.typing.DTypeLike | None = None  # that of the table by default
  param_dtype: jax.typing.DTypeLike = 'float32'

  @nn.compact
  def __call__(self, label: jax.Array | None) -> jax.Array:
    """Labels, integers [B], or weights of the classes, floats [B, num_classes] -> [B, features].

    Weights are how a network sees what lies between classes. An integer outside 0..num_classes - 1 has the row NaN.

    Raises:
      UserError: no labels, or of another shape.
    """
    shape = (self.num_classes, self.features)
    table = self.param('embedding', self.embedding_init, shape, self.param_dtype)
    if label is None:
      raise UserError(
        f'num_classes={self.num_classes} makes a network conditional, but it is given no labels'
      )
    label = jnp.asarray(label)
    table = table.astype(self.dtype or table.dtype)
    if jnp.issubdtype(label.dtype, jnp.integer) and label.ndim == 1:
      label = jnp.where(label < 0, self.num_classes, label)  # which would count from the end
      return jnp.take(table, label, axis=0, mode='fill', fill_value=jnp.nan)
    if label.ndim != 2 or label.shape[1] != self.num_classes:
      raise UserError(
        f'labels must be integers [B] or weights [B, {self.num_classes}], not {label.dtype} {label.shape}'
      )
    return label.astype(table.dtype) @ table
