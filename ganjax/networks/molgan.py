"""MolGAN (De Cao and Kipf 2018, arXiv:1805.11973): molecules at once, as graphs.

G: layers of 128, 256 and 512 with tanh, then the shares of elements of each atom and the shares of bonds between each
two, alike both ways. D: two relational graph convolutions of 128 and 64, a sum over atoms behind a gate of 128, layers
of 128 and 64, all with tanh. Each graph convolution sees the atoms' elements again, and has weights for each kind of
bond; as in the authors' code it does not divide by the number of neighbours. Weights as TensorFlow draws them (Glorot
uniform).

With `value` there is V, the network of the reward, of D's layers and a sigmoid. The authors' code has a penalty of the
gradient of each atom and bond; here, as in the paper, it is of the whole graph. Bonds are Kekule's, so there is no
aromatic one, which the authors have as a fifth kind.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, media
from ganjax.media import molecule

INIT = nn.initializers.glorot_uniform()


class Generator(nn.Module):
  """z [B, Z] from N(0, I) -> shares of elements and bonds [B, N, A + 4 N], see `media.molecule`."""

  shape: tuple
  width: int
  dtype: str
  param_dtype: str
  num_classes = 0
  makes = 'molecule'

  @nn.compact
  def __call__(self, z: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    dense = lambda n: nn.Dense(n, kernel_init=INIT, dtype=self.dtype, param_dtype=self.param_dtype)
    atoms, columns = self.shape
    elements = columns - molecule.BONDS * atoms
    for factor in 1, 2, 4:
      z = jnp.tanh(dense(factor * self.width)(z))
    bonds = dense(molecule.BONDS * atoms * atoms)(z).reshape(-1, atoms, atoms, molecule.BONDS)
    bonds = (bonds + bonds.swapaxes(1, 2)) / 2
    kinds = dense(atoms * elements)(z).reshape(-1, atoms, elements)
    return molecule.join(nn.softmax(kinds), nn.softmax(bonds))


class Discriminator(nn.Module):
  """Shares of elements and bonds [B, N, A + 4 N] -> logits [B], or their sigmoid."""

  width: int
  sigmoid: bool
  dtype: str
  param_dtype: str
  num_classes = 0

  @nn.compact
  def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
    dense = lambda n: nn.Dense(n, kernel_init=INIT, dtype=self.dtype, param_dtype=self.param_dtype)
    kinds, bonds = molecule.split(x)
    bonds, seen = bonds[..., 1:], kinds  # no bond hands nothing on
    for width in self.width, self.width // 2:
      # For each kind of bond its weights, and others for the atom itself.
      sent = dense((molecule.BONDS - 1) * width)(seen)
      sent = sent.reshape(*sent.shape[:-1], molecule.BONDS - 1, width)
      hidden = jnp.tanh(jnp.einsum('bnmk,bmkf->bnf', bonds, sent) + dense(width)(seen))
      seen = jnp.concatenate([hidden, kinds], -1)
    gate, told = nn.sigmoid(dense(self.width)(seen)), jnp.tanh(dense(self.width)(seen))
    graph = jnp.tanh((gate * told).sum(1))
    for width in self.width, self.width // 2:
      graph = jnp.tanh(dense(width)(graph))
    logits = dense(1)(graph)[:, 0]
    return nn.sigmoid(logits) if self.sigmoid else logits


def build(
  *,
  fields: dict[str, media.Field],
  width: int = 128,
  width_D: int | None = None,
  value: bool = False,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The pair {'G', 'D'}, or 'V' with them.

  Args:
    fields: of the data, of which `molecule` says the sizes.
    width, width_D: channels of G's first layer and of D's, 128 in the paper; by default D has as many as G. V has as
      many as D.
    value: whether there is a value network V, which `methods/molgan.py` needs.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: data without molecules, or a width below 2.
  """
  if 'molecule' not in fields:
    raise UserError(
      f'networks.name=molgan makes molecules, and the data have {", ".join(fields)}: take data.dataset=molecules'
    )
  width_D = width if width_D is None else width_D
  if min(width, width_D) < 2:
    raise UserError('networks.width and networks.width_D must be at least 2')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  nets = {
    'G': Generator(fields['molecule'].shape, width, **kinds),
    'D': Discriminator(width_D, False, **kinds),
  }
  return nets | ({'V': Discriminator(width_D, True, **kinds)} if value else {})
