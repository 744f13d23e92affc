"""Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167) with the four ways that GANs need to run it.

| mode       | call                                                          | normalises by            |
|------------|---------------------------------------------------------------|--------------------------|
| train      | `train=True`, keep the state                                  | this batch               |
| batch      | `train=True`, drop the state                                  | this batch               |
| running    | `train=False`                                                 | momentum averages        |
| standing   | `train=True, standing=True` over many batches, `use_standing` | pooled over those batches |
"""

import flax.linen as nn
import jax.numpy as jnp


class BatchNorm(nn.Module):
  """Normalises [..., C] over all axes but the last, over the global batch of all devices.

  The variance that normalises is the biased one (divided by n); the running variance is the unbiased one (n - 1), and
  momentum 0.1 is the new value's share: PyTorch's conventions, which the published GAN recipes were found with.
  Statistics are float32 at least, whatever `dtype`.
  """

  momentum: float = 0.1
  eps: float = 1e-5
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: str = 'float32'
  param_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, *, train: bool):
    features, n = x.shape[-1:], x.size // x.shape[-1]
    wide = jnp.promote_types(self.param_dtype, jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, features, wide)
    running_var = self.variable('batch_stats', 'var', jnp.ones, features, wide)
    scale = self.param('scale', self.scale_init, features, self.param_dtype)
    bias = self.param('bias', nn.initializers.zeros, features, self.param_dtype)

    if train:
      axes = tuple(range(x.ndim - 1))
      mean = jnp.mean(x, axes, wide)
      # Two passes: E[x^2] - E[x]^2 cancels in float32 where a channel's mean is large.
      var = jnp.mean(jnp.square(x.astype(wide) - mean), axes)
      if not self.is_initializing():
        if self.is_mutable_collection('batch_stats'):
          unbiased = var * (n / max(n - 1, 1))
          running_mean.value += self.momentum * (mean - running_mean.value)
          running_var.value += self.momentum * (unbiased - running_var.value)
        if self.is_mutable_collection('standing'):
          sums = self.variable(
            'standing',
            'sums',
            lambda: (jnp.zeros(features, wide), jnp.zeros(features, wide), jnp.zeros((), wide)),
          )
          total, squares, count = sums.value
          sums.value = (total + mean * n, squares + (var + mean**2) * n, count + n)
    else:
      mean, var = running_mean.value, running_var.value

    factor = scale.astype(wide) / jnp.sqrt(var + self.eps)
    offset = bias.astype(wide) - mean * factor
    return (x.astype(wide) * factor + offset).astype(self.dtype)


def use_standing(stats: dict) -> dict:
  """Replaces running statistics by those pooled over the calls of `apply(..., standing=True)`.

  Args:
    stats: a network's collections, `standing` among them.

  Returns:
    The collections without `standing`; means and (unbiased) variances of `batch_stats` are those of all samples seen:
    the "standing statistics" of BigGAN (arXiv:1809.11096, section 2).
  """

  def replace(batch_stats, standing):
    if 'sums' in standing:
      total, squares, count = standing['sums']
      mean = total / count
      var = (squares / count - mean**2) * count / jnp.maximum(count - 1, 1)
      return {'mean': mean, 'var': jnp.maximum(var, 0)}
    return {k: replace(v, standing[k]) if k in standing else v for k, v in batch_stats.items()}

  rest = {k: v for k, v in stats.items() if k != 'standing'}
  if 'standing' not in stats:
    return rest
  return {**rest, 'batch_stats': replace(stats['batch_stats'], stats['standing'])}
