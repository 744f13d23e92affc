"""Self-attention of images (Zhang et al. 2018, SAGAN, arXiv:1805.08318, section 3)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.dtypes import wide
from ganjax.layers.conv import Conv
from ganjax.layers.resample import max_pool


class SelfAttention(nn.Module):
  """x + gamma * o(x), gamma from 0: o is what each pixel gathers from all others (equations 1 to 3).

  Queries and keys have C/8 channels, values C/2, by 1x1 convolutions without bias, and one more leads back to C. As in
  the published models, not in the text, keys and values are pooled to the maxima of 2 x 2 pixels, and products of
  queries and keys are not scaled. Weights of attention are float32 at least, whatever `dtype`.
  """

  wrap: Callable = lambda layer: layer  # of the four convolutions: SpectralNorm in SAGAN
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
  dtype: str = 'float32'
  param_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H, W, C].

    Raises:
      UserError: channels that 8 does not divide, or an odd side.
    """
    b, h, w, c = x.shape
    if c % 8:
      raise UserError(f'self-attention takes channels in multiples of 8, not {c}')

    def project(x, features, name):
      kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=self.kernel_init)
      return self.wrap(Conv(features, 1, use_bias=False, name=name, **kinds))(x)

    rows = lambda x: x.reshape(b, -1, x.shape[-1])
    query = rows(project(x, c // 8, 'query'))
    key = rows(max_pool(project(x, c // 8, 'key')))
    value = rows(max_pool(project(x, c // 2, 'value')))
    sums = dict(preferred_element_type=wide(x.dtype))
    weights = nn.softmax(jnp.einsum('bqc,bkc->bqk', query, key, **sums))
    found = jnp.einsum('bqk,bkc->bqc', weights.astype(value.dtype), value)
    gamma = self.param('gamma', nn.initializers.zeros, (), self.param_dtype)
    return x + gamma.astype(self.dtype) * project(found.reshape(b, h, w, -1), c, 'out')
