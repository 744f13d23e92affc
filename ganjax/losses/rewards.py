"""What generated molecules are worth, from 0 to 1: rewards of MolGAN (De Cao and Kipf 2018, arXiv:1805.11973).

Each is `NAME(x) -> float32 [B]` of shares of elements and bonds x [B, N, A + 4 N], see `media.molecule`, of which the
whole molecule is judged: the likeliest element of each atom, the likeliest bond of each two. None has a derivative.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.media import molecule


def valid(x: jax.Array) -> jax.Array:
  """1 where no atom has more bonds than its element allows and the molecule is in one piece, else 0."""
  kinds, orders = molecule.likeliest(x)
  there, n = kinds > 0, x.shape[-2]
  fits = orders.sum(-1) <= jnp.asarray(molecule.MOST_BONDS)[kinds]
  # Which atoms reach which, over so many bonds as double in each turn.
  reach = (orders > 0) | jnp.eye(n, dtype=bool)
  for _ in range(max(1, math.ceil(math.log2(n)))):
    reach = jnp.einsum('bij,bjk->bik', reach.astype(jnp.float32), reach.astype(jnp.float32)) > 0
  apart = there[:, :, None] & there[:, None, :] & ~reach
  return (fits.all(-1) & there.any(-1) & ~apart.any((1, 2))).astype(jnp.float32)


def druglikeness(x: jax.Array) -> jax.Array:
  """RDKit's quantitative estimate of druglikeness (QED, Bickerton et al. 2012), on the host; 0 of what is not valid."""
  shape = jax.ShapeDtypeStruct((x.shape[0],), jnp.float32)
  return jax.pure_callback(_druglikeness, shape, x, vmap_method='expand_dims')


def _druglikeness(x):
  from rdkit.Chem import QED, MolFromSmiles

  x = np.asarray(x)
  found = (molecule.smiles(one) for one in molecule.to_stored(x.reshape(-1, *x.shape[-2:])))
  values = [QED.qed(MolFromSmiles(one)) if one else 0.0 for one in found]
  return np.asarray(values, np.float32).reshape(x.shape[:-2])
