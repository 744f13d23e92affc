"""Heads of discriminators: what is made of pooled features. Real or fake in all; the classes in one of three ways."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.dtypes import widen
from ganjax.layers.embed import ClassEmbed

HEADS = 'projection', 'classifier', 'proxy'


def apply_head(
  x: jax.Array,
  label: jax.Array | None,
  *,
  head: str,
  num_classes: int,
  embed_dim: int,
  wrap: Callable[[nn.Module], nn.Module],
  kernel_init: nn.initializers.Initializer,
  **kinds: jax.typing.DTypeLike,
) -> jax.Array | tuple:
  """What D returns for pooled features x [B, C]. Called in a compact method, whose module has the layers.

  Args:
    x: [B, C].
    label: as `ClassEmbed` takes them; read by the projection alone.
    head: with classes, one of
      'projection': logits + <embedding of the label, x> (Miyato and Koyama 2018, arXiv:1802.05637, equation 3);
      'classifier': (logits, scores [B, num_classes]), one linear layer each (Odena et al. 2016, arXiv:1610.09585);
      'proxy': (logits, (embedding [B, embed_dim], proxies [num_classes, embed_dim])), all rows of length 1, float32 at
        least: a linear layer of x and a table, which ContraGAN (arXiv:2006.12681, section 3.2) and ReACGAN
        (arXiv:2111.01118, section 3) compare by cosines.
    num_classes: 0: logits alone.
    wrap: of every layer: SpectralNorm where D's others are.
    **kinds: dtype and param_dtype.

  Returns:
    logits [B], or a pair of them and the head's own.
  """
  dense = lambda features: wrap(nn.Dense(features, kernel_init=kernel_init, **kinds))(x)
  table = lambda features: wrap(ClassEmbed(num_classes, features, kernel_init, **kinds))
  logits = dense(1)[:, 0]
  if not num_classes:
    return logits
  if head == 'projection':
    return logits + (table(x.shape[-1])(label) * x).sum(-1)
  if head == 'classifier':
    return logits, dense(num_classes)
  proxies = table(embed_dim)(jnp.arange(num_classes))
  return logits, (_unit_rows(dense(embed_dim)), _unit_rows(proxies))


def _unit_rows(x):
  x = widen(x)
  # The maximum within the root: a row of zeros has the gradient 0, not NaN.
  return x / jnp.sqrt(jnp.maximum(jnp.sum(x**2, -1, keepdims=True), 1e-24))
