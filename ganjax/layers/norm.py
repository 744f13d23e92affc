"""Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167) with the four ways that GANs need to run it.

`instance_norm` has one way, whatever the mode.

| mode       | call                                                          | normalises by            |
|------------|---------------------------------------------------------------|--------------------------|
| train      | `train=True`, keep the state                                  | this batch               |
| batch      | `train=True`, drop the state                                  | this batch               |
| running    | `train=False`                                                 | momentum averages        |
| standing   | `train=True, standing=True` over many batches, `use_standing` | pooled over those batches |
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax import UserError
from ganjax.devices import sharding
from ganjax.dtypes import wide, widen
from ganjax.layers.embed import ClassEmbed


class BatchNorm(nn.Module):
  """Normalises [..., C] over all axes but the last, over the global batch of all devices.

  Conventions are PyTorch's, as in the published GAN recipes. The biased variance (divided by n) normalises. The
  running variance is unbiased (n - 1). Momentum 0.1 is the share of the new value. Statistics are float32 or wider,
  whatever `dtype` is.
  """

  momentum: float = 0.1
  eps: float = 1e-5
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: str = 'float32'
  param_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    features = x.shape[-1:]
    scale = self.param('scale', self.scale_init, features, self.param_dtype)
    bias = self.param('bias', nn.initializers.zeros, features, self.param_dtype)
    return _normalize(self, x, scale, bias, train)


class ConditionalBatchNorm(nn.Module):
  """`BatchNorm` with scale 1 + s(y) and bias b(y) for each sample's condition y, both linear in y.

  A class label selects s and b from tables (de Vries et al. 2017, arXiv:1707.00683, section 3; in GANs, Miyato and
  Koyama 2018, arXiv:1802.05637). A vector, such as BigGAN's shared embedding joined with a part of z
  (arXiv:1809.11096, appendix B), is multiplied by two matrices.
  """

  num_classes: int | None = None  # the condition is a label; None: it is a vector
  momentum: float = 0.1
  eps: float = 1e-5
  kernel_init: nn.initializers.Initializer = nn.initializers.zeros  # of s and b
  wrap: Callable = lambda layer: layer  # of the layers that are s and b: SpectralNorm in BigGAN
  use_bias: bool = False  # whether s and b of a vector have constants
  dtype: str = 'float32'
  param_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array | None, *, train: bool) -> jax.Array:
    """x [B, ..., C] and labels as `ClassEmbed` takes them, or vectors [B, K] -> [B, ..., C].

    Raises:
      UserError: labels without `num_classes`, or a condition of another shape.
    """
    ranks = (1, 2) if self.num_classes else (2,)
    if condition is not None and (condition.shape[0] != x.shape[0] or condition.ndim not in ranks):
      raise UserError(
        f'conditional batch norm of {x.shape} takes labels [B], with num_classes, or vectors [B, K],'
        f' not {condition.dtype} {condition.shape}'
      )

    def linear(name):
      kinds = dict(name=name, param_dtype=self.param_dtype)
      if self.num_classes:
        layer = ClassEmbed(self.num_classes, x.shape[-1], embedding_init=self.kernel_init, **kinds)
      else:
        how = dict(use_bias=self.use_bias, kernel_init=self.kernel_init)
        layer = nn.Dense(x.shape[-1], **how, **kinds)
      y = self.wrap(layer)(condition)
      return y.reshape(x.shape[0], *[1] * (x.ndim - 2), -1)

    return _normalize(self, x, 1 + linear('scale'), linear('bias'), train)


def instance_norm(x: jax.Array, eps: float = 1e-5) -> jax.Array:
  """Normalises each channel of each of [B, ..., C] over its own pixels (Ulyanov et al. 2016, arXiv:1607.08022).

  By the biased variance, without scale and bias: torch.nn.InstanceNorm2d. Computed in float32 at least.
  """
  y, axes = widen(x), tuple(range(1, x.ndim - 1))
  centred = y - jnp.mean(y, axes, keepdims=True)
  var = jnp.mean(jnp.square(centred), axes, keepdims=True)
  return (centred / jnp.sqrt(var + eps)).astype(x.dtype)


def _normalize(module, x, scale, bias, train):
  """Returns scale * normalised x + bias; declares and updates the module's statistics."""
  features, n = x.shape[-1:], x.size // x.shape[-1]
  dtype = wide(module.param_dtype)
  running_mean = module.variable('batch_stats', 'mean', jnp.zeros, features, dtype)
  running_var = module.variable('batch_stats', 'var', jnp.ones, features, dtype)

  if train:
    mean, var = _moments(x.astype(dtype))
    if not module.is_initializing():
      if module.is_mutable_collection('batch_stats'):
        unbiased = var * (n / max(n - 1, 1))
        running_mean.value += module.momentum * (mean - running_mean.value)
        running_var.value += module.momentum * (unbiased - running_var.value)
      if module.is_mutable_collection('standing'):
        sums = module.variable(
          'standing',
          'sums',
          lambda: (jnp.zeros(features, dtype), jnp.zeros(features, dtype), jnp.zeros((), dtype)),
        )
        # Mean, squared deviations from it, samples: pooled without a sum of squares, which would cancel.
        before, squares, count = sums.value
        share = n / (count + n)
        squares += var * n + (mean - before) ** 2 * count * share
        sums.value = (before + (mean - before) * share, squares, count + n)
  else:
    mean, var = running_mean.value, running_var.value

  factor = scale.astype(dtype) / jnp.sqrt(var + module.eps)
  # The mean's gradient goes by way of the offset: so backward too sums twice over the batch, in one exchange.
  centre = lax.stop_gradient(mean)
  offset = bias.astype(dtype) - (mean - centre) * factor
  return ((x.astype(dtype) - centre) * factor + offset).astype(module.dtype)


def _moments(x):
  """Mean and biased variance [C] of [B, ..., C] over the global batch, in one pass and one exchange of devices.

  E[x^2] - E[x]^2 cancels where a channel's mean is large beside its deviation. So each device subtracts a channel's
  mean over its first sample before it sums. That mean is at most sqrt(samples) deviations away, so the relative error
  is of order samples * eps. The devices' means and squared deviations are then gathered and pooled by the formula of
  Chan et al. (1979).
  """
  devices = sharding.count(x)
  x = sharding.keep_split(x.reshape(devices, len(x) // devices, *x.shape[1:]))
  axes = tuple(range(1, x.ndim - 1))
  shift = lax.stop_gradient(jnp.mean(x[:, :1], axes, keepdims=True))
  shifted = x - shift
  mean = jnp.mean(shifted, axes)
  # A variance below the rounding error is replaced by that error.
  lost = jnp.finfo(x.dtype).eps * jnp.square(mean)
  var = jnp.maximum(jnp.mean(jnp.square(shifted), axes) - jnp.square(mean), lost)
  own = jnp.stack([mean + shift.reshape(mean.shape), var], 1)
  means, variances = jnp.moveaxis(sharding.join(own), 1, 0)
  mean = jnp.mean(means, 0)
  return mean, jnp.mean(variances, 0) + jnp.mean(jnp.square(means - mean), 0)


def use_standing(stats: dict) -> dict:
  """Replaces running statistics by standing statistics (BigGAN, arXiv:1809.11096, section 2).

  Args:
    stats: a network's collections, after calls of `apply(..., standing=True)`, which add to `standing`.

  Returns:
    The collections without `standing`. `batch_stats` holds mean and unbiased variance over all samples of those calls.
  """

  def replace(batch_stats, standing):
    if 'sums' in standing:
      mean, squares, count = standing['sums']
      return {'mean': mean, 'var': squares / jnp.maximum(count - 1, 1)}
    return {k: replace(v, standing[k]) if k in standing else v for k, v in batch_stats.items()}

  rest = {k: v for k, v in stats.items() if k != 'standing'}
  if 'standing' not in stats:
    return rest
  return {**rest, 'batch_stats': replace(stats['batch_stats'], stats['standing'])}
