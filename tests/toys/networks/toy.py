"""Linear networks: from a vector, or from another field, to a field; and from a field to logits."""

import math

import flax.linen as nn
import jax.numpy as jnp


class To(nn.Module):
  shape: tuple
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Dense(math.prod(self.shape), param_dtype=self.dtype)(x.reshape(len(x), -1) / 10)
    return jnp.tanh(x).reshape(-1, *self.shape)


class Judge(nn.Module):
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, *, train):
    return nn.Dense(1, param_dtype=self.dtype)(x.reshape(len(x), -1))[:, 0]


def build(*, fields, makes, back=None, dtype='float32', param_dtype='float32'):
  """G to `makes` and its D; with `back` also G_back to that field and D_back."""
  nets = {'G': To(fields[makes].shape, dtype), 'D': Judge(dtype)}
  return nets | ({'G_back': To(fields[back].shape, dtype), 'D_back': Judge(dtype)} if back else {})
