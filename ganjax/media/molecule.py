"""Molecules: bool [N, A + 4 N], ones among zeros: for each of N atoms which element it is, and its bond to each other.

The first A columns of an atom are none, C, N, O, ..., so many of `ELEMENTS` as the shape has room for; then four for
each atom: none, single, double, triple. Rings have Kekule's single and double bonds, hydrogens are what is missing.
In losses they are the shares of each, float32.
"""

import io
import json
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image

from ganjax import UserError
from ganjax.media.label import mirror  # noqa: F401
from ganjax.workdir.files import replace_file

STORED, ENDING = np.bool_, '.smi'
ELEMENTS = 'C', 'N', 'O', 'F', 'S', 'Cl', 'Br', 'P', 'I'
# Of no atom, and of one of each element, those to hydrogens among them.
MOST_BONDS = 0, 4, 3, 2, 1, 6, 1, 1, 5, 5
BONDS = 4
SIDE = 96  # of a picture, in pixels


def to_float(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """bool -> float32, 0 or 1; floats stay."""
  return x.astype(jnp.float32) if x.dtype == jnp.bool_ else x


def split(x: jax.Array | np.ndarray) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]:
  """[..., N, A + 4 N] -> (atoms [..., N, A], bonds [..., N, N, 4])."""
  atoms = x.shape[-2]
  at = x.shape[-1] - BONDS * atoms
  return x[..., :at], x[..., at:].reshape(*x.shape[:-1], atoms, BONDS)


def join(atoms: jax.Array | np.ndarray, bonds: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """What `split` takes apart, of NumPy's arrays or JAX's."""
  bonds = bonds.reshape(*bonds.shape[:-2], -1)
  concatenate = np.concatenate if isinstance(atoms, np.ndarray) else jnp.concatenate
  return concatenate([atoms, bonds], -1)


def to_stored(x: jax.Array | np.ndarray) -> np.ndarray:
  """float [..., N, A + 4 N] -> bool: of each atom, and of each bond both ways together, what has the largest share.

  No atom is bound to itself, and none to one that is not there. Raises UserError at NaN or infinity.
  """
  x = np.asarray(x, np.float32)
  if not np.isfinite(x).all():
    raise UserError('generated molecules hold NaN or Inf: the generator has diverged')
  return encode(*likeliest(x), x.shape[-1] - BONDS * x.shape[-2])


def likeliest(x: jax.Array | np.ndarray) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]:
  """Floats as in `to_stored` -> (numbers of elements int [..., N], orders of bonds int [..., N, N])."""
  atoms, bonds = split(x)
  kinds = atoms.argmax(-1)
  orders = (bonds + bonds.swapaxes(-3, -2)).argmax(-1)
  there = kinds > 0
  apart = ~np.eye(x.shape[-2], dtype=bool)
  return kinds, orders * (there[..., None] & there[..., None, :] & apart)


def encode(kinds: np.ndarray, orders: np.ndarray, columns: int) -> np.ndarray:
  """Numbers of elements int [..., N], from 1, and orders of bonds int [..., N, N] -> stored, `columns` for elements."""
  return join(kinds[..., None] == np.arange(columns), orders[..., None] == np.arange(BONDS))


def decode(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(numbers of elements int [N], orders of bonds int [N, N]) of a stored one."""
  atoms, bonds = split(np.asarray(x))
  return atoms.argmax(-1), bonds.argmax(-1)


def to_mol(x: np.ndarray) -> Any:
  """RDKit's molecule of a stored one, of which nothing is checked."""
  chem = load_rdkit()
  mol, (kinds, orders) = chem.RWMol(), decode(x)
  at = {i: mol.AddAtom(chem.Atom(ELEMENTS[kinds[i] - 1])) for i in np.flatnonzero(kinds)}
  types = chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE
  for i, k in np.argwhere(np.triu(orders)):
    mol.AddBond(at[i], at[k], types[orders[i, k] - 1])
  return mol


def smiles(x: np.ndarray) -> str | None:
  """The canonical SMILES of a stored molecule; None where there is no atom, where it is in pieces, or not valid.

  Valid is what RDKit sanitizes: no atom has more bonds than its element allows.
  """
  chem, mol = load_rdkit(), to_mol(x)
  with quiet():
    try:
      chem.SanitizeMol(mol)
    except ValueError:
      return None
  if len(chem.GetMolFrags(mol)) != 1:
    return None
  return chem.MolToSmiles(mol)


def show(x: np.ndarray) -> np.ndarray:
  """Drawings, uint8 [N, SIDE, SIDE, 3]; of what is not valid grey ones, with the atoms on a circle."""
  chem = load_rdkit()
  from rdkit.Chem.Draw import rdMolDraw2D

  out = np.full((len(x), SIDE, SIDE, 3), 255, np.uint8)
  for i, one in enumerate(x):
    mol = to_mol(one)
    valid = smiles(one) is not None
    if mol.GetNumAtoms():
      canvas = rdMolDraw2D.MolDraw2DCairo(SIDE, SIDE)
      options = canvas.drawOptions()
      options.prepareMolsBeforeDrawing, options.padding = False, 0.1
      mol.UpdatePropertyCache(strict=False)
      if not valid:  # which RDKit may find no places for
        places = chem.Conformer(mol.GetNumAtoms())
        for k in range(mol.GetNumAtoms()):
          turn = 2 * np.pi * k / mol.GetNumAtoms()
          places.SetAtomPosition(k, (2 * np.cos(turn), 2 * np.sin(turn), 0.0))
        mol.AddConformer(places)
      with quiet():
        canvas.DrawMolecule(mol)
      canvas.FinishDrawing()
      picture = PIL.Image.open(io.BytesIO(canvas.GetDrawingText())).convert('RGB')
      out[i] = (
        np.asarray(picture) if valid else 160 + np.asarray(picture.convert('L'))[..., None] // 4
      )
  return out


def save(path: Path, x: np.ndarray, text: dict, rate: int | None = None) -> None:
  """A file of one SMILES, after a line with `text` as JSON behind a '#'; what is not valid is left out, and said.

  Raises UserError where it cannot be written.
  """
  found = smiles(x)
  lines = [f'# {json.dumps({**text, "valid": found is not None})}', *([found] if found else [])]
  with replace_file(path) as file:
    file.write(('\n'.join(lines) + '\n').encode())


def load_rdkit() -> ModuleType:
  """RDKit's package Chem. Raises UserError where it is not there."""
  try:
    from rdkit import Chem
  except ImportError:
    raise UserError("molecules need RDKit: pip install rdkit (or 'ganjax[molecules]')") from None
  return Chem


def quiet() -> AbstractContextManager:
  """A context in which RDKit does not print what it finds wrong."""
  from rdkit import rdBase

  return rdBase.BlockLogs()
