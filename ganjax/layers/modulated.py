"""Modulated convolution (StyleGAN2, Karras et al. 2019, arXiv:1912.04958, section 2.2 and appendix B).

Its weights, scaled by each sample's style, are kernels of each sample's own. But scaling a kernel's inputs is scaling
the channels of x, and dividing by the length of each output's weights is scaling the channels of y: so one kernel
serves the whole batch, without convolutions in groups.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax.layers.conv import conv, conv_transpose
from ganjax.layers.equalized import NORMAL, Dense
from ganjax.layers.resample import smooth


class ModulatedConv(nn.Module):
  """x [B, H, W, C], w [B, W] -> [B, H, W, features], or with `up` [B, 2H, 2W, features].

  The style s [B, C] is an affine layer of w whose bias starts at 1. With `demodulate` (equations 1 and 3)

    y[n, o] = conv(x, v)[n, o] / sqrt(sum of v^2 over inputs and taps + 1e-8),  v[n, i, o] = s[n, i] kernel[i, o],

  and without v is divided by sqrt(C k^2), as other layers of an equalised learning rate. There is no bias.

  With `up` it is a transposed convolution of stride 2, 2H + 1 pixels, and the filter [1, 3, 3, 1] / 4 over it. The
  kernel is then [k, k, features, C], as of `conv_transpose`: the authors' PyTorch weight [features, C, k, k], not
  flipped. Else it is [k, k, C, features].
  """

  features: int
  kernel: int = 3
  padding: int | None = None  # zeros on each side; None: as many as keep the size
  up: bool = False
  demodulate: bool = True
  dtype: jax.typing.DTypeLike | None = None  # None: that of x
  param_dtype: jax.typing.DTypeLike = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
    channels, dtype = x.shape[-1], self.dtype or x.dtype
    style = Dense(channels, bias_init=1.0, param_dtype=self.param_dtype, name='affine')(w)
    ends = (self.features, channels) if self.up else (channels, self.features)
    kernel = self.param('kernel', NORMAL, (self.kernel, self.kernel, *ends), self.param_dtype)
    # Both factors undo each other up to the 1e-8; so the sums of narrow types stay in their range.
    scale = (self.kernel**2 * channels) ** -0.5
    out = 4.0 if self.up else 1.0
    if self.demodulate:
      squares = jnp.sum(kernel**2, (0, 1))
      squares = squares.T if self.up else squares
      squares = jnp.matmul(style**2, squares, precision=lax.Precision.HIGHEST)
      out = (lax.rsqrt(squares + 1e-8) * (out / scale))[:, None, None].astype(dtype)
    x = x.astype(dtype) * style[:, None, None].astype(dtype)
    kernel = (kernel * scale).astype(dtype)
    if self.up:
      return smooth(conv_transpose(x, kernel, 2), 1) * out
    padding = self.kernel // 2 if self.padding is None else self.padding
    return conv(x, kernel, padding=padding) * out
