"""Spectral normalization (Miyato et al. 2018, arXiv:1802.05957, section 2 and algorithm 1).

W / sigma(W) in place of a layer's weights W, with sigma its largest singular value by power iteration. One vector u a
layer is remembered, in the collection `spectral_norm`, and moved wherever that collection is mutable: in training.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganjax.dtypes import widen
from ganjax.layers.conv import ConvTranspose


class SpectralNorm(nn.Module):
  """A layer with its weights divided by their largest singular value: `SpectralNorm(Conv(64, 3))(x)`.

  The parameters keep the layer's names and places. The matrix W has one row per output channel (of a `ClassEmbed`:
  per class), as in torch.nn.utils.spectral_norm; our `u` is torch's `weight_u`.

  Each call runs `n_steps` power iterations from the stored u. The new u is stored only where the collection
  `spectral_norm` is mutable. In training mode this equals torch. In eval mode torch does not iterate: it uses a stored
  v. We iterate in both modes, because the u of averaged networks is not of unit length. All-zero weights give NaN.
  """

  layer: nn.Module  # Conv, ConvTranspose, nn.Dense or ClassEmbed
  n_steps: int = 1  # power iterations a call
  eps: float = 1e-12  # least length that a vector is divided by

  @nn.compact
  def __call__(self, *args: jax.Array | None) -> jax.Array:
    """The layer's arguments -> its output."""
    if self.is_initializing():
      y = self.layer(*args)  # makes the parameters
    params = self.layer.variables['params']
    (name,) = params.keys() & {'kernel', 'embedding'}
    axis = 0 if name == 'embedding' else -2 if isinstance(self.layer, ConvTranspose) else -1
    matrix = jnp.moveaxis(params[name], axis, 0)
    matrix = widen(matrix.reshape(len(matrix), -1))
    draw = nn.initializers.normal(1.0)
    u = self.variable(
      'spectral_norm',
      'u',
      lambda: _unit(draw(self.make_rng('params'), (len(matrix),), matrix.dtype), self.eps),
    )
    if self.is_initializing():
      return y

    left, fixed = u.value, lax.stop_gradient(matrix)
    with jax.default_matmul_precision('highest'):
      for _ in range(self.n_steps):
        right = _unit(left @ fixed, self.eps)
        left = _unit(fixed @ right, self.eps)
      # The gradient goes through both W of W / (u W v), with u and v held (equation 12). W v is there from above.
      sigma = left @ (matrix @ right)
    if self.is_mutable_collection('spectral_norm'):
      u.value = left
    params = {**params, name: (widen(params[name]) / sigma).astype(params[name].dtype)}
    call = nn.map_variables(lambda layer: layer(*args), 'params', lambda _: {'params': params})
    return call(self.layer)


def _unit(x, eps):
  return x / jnp.maximum(jnp.linalg.norm(x), eps)
