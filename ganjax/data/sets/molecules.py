"""Small molecules: procedural, or from your own file of SMILES.

A procedural molecule is a pure function of its index and of the split, which is its seed. It grows atom by atom. Each
atom is bound to an earlier one that has a free bond, but never two atoms other than carbon to each other. Some bonds
are double or triple. Some molecules get a ring of five or more carbons.
"""

import functools
import hashlib

import numpy as np
from absl import logging

from ganjax import UserError, media
from ganjax.data import domains, folder
from ganjax.data.source import Source, gather
from ganjax.media import molecule

SPLITS = 'train', 'test'
VALENCES = np.array([0, 4, 3, 2, 1])  # of none, C, N, O, F
SHARES = np.array([0.0, 0.72, 0.12, 0.13, 0.03])
DOUBLE, TRIPLE, RING = 0.15, 0.03, 0.5  # chances, where there are bonds left for it
LEAST = 3  # atoms
_MOLECULES = 22  # a purpose of a random stream, see `data.source`


def fields(*, atoms: int = 9, elements: int = 4) -> dict:
  """A molecule of up to `atoms` atoms, of so many of the elements C, N, O, F, S, Cl, Br, P, I."""
  if not isinstance(atoms, int) or not LEAST <= atoms <= 64:
    raise UserError(f'data.atoms={atoms!r} must be a whole number from {LEAST} to 64')
  known = len(molecule.ELEMENTS)
  if not isinstance(elements, int) or not 1 <= elements <= known:
    raise UserError(
      f'data.elements={elements!r} must be a whole number from 1 to {known}, so many of '
      f'{", ".join(molecule.ELEMENTS)}'
    )
  return {'molecule': media.Field('molecule', (atoms, 1 + elements + molecule.BONDS * atoms))}


def build(
  *, data_dir: str | None, split: str, atoms: int = 9, elements: int = 4, count: int = 5000
) -> Source:
  """In memory.

  Args:
    data_dir: a file of SMILES, one per line; text after a space or comma is ignored. None: procedural molecules.
    split: 'train' or 'test'. Procedural molecules have other seeds; a file has only 'train'.
    atoms: largest number of atoms of a molecule, without hydrogen; 9 in QM9.
    elements: number of elements, the first of C, N, O, F, S, Cl, Br, P, I; 4 in QM9.
    count: number of procedural molecules.

  Raises:
    UserError: another split, numbers out of bounds, RDKit is not there, a file without molecules that fit.
  """
  known = fields(atoms=atoms, elements=elements)
  if not isinstance(count, int) or count < 1:
    raise UserError(f'data.count={count!r} must be a whole number from 1')
  splits = SPLITS[:1] if data_dir else SPLITS
  if split not in splits:
    raise UserError(f'molecules has no split {split!r}; it has: {", ".join(splits)}')
  molecule.load_rdkit()  # rather than at the first drawing
  info = dict(dataset='molecules', atoms=atoms, elements=elements)
  if data_dir:
    stored, more = _read(folder.place(data_dir), atoms, elements)
  else:
    stored, more = draw(np.arange(count), SPLITS.index(split), atoms, elements), {'version': 1}
  return Source(
    read_rows=functools.partial(gather, {'molecule': stored}),
    rows=np.arange(len(stored)),
    fields=known,
    class_names=None,
    info=info | more | {'num_examples': len(stored)},
  )


def draw(rows: np.ndarray, seed: int, atoms: int, elements: int) -> np.ndarray:
  """The stored form of procedural molecules of indices [n]."""
  each = -(-(4 * atoms + 4) // 4)  # steps of the counter a molecule
  kinds, orders = np.zeros((len(rows), atoms), int), np.zeros((len(rows), atoms, atoms), int)
  shares = SHARES[: elements + 1] / SHARES[: elements + 1].sum()
  for i, row in enumerate(rows):
    words = domains.draws(seed, int(row) * each, each, _MOLECULES).ravel() / 2**64
    _grow(kinds[i], orders[i], words, np.cumsum(shares))
  return molecule.encode(kinds, orders, 1 + elements)


def _grow(kinds, orders, words, shares):
  """Fills in a molecule."""
  (size, ring, pair, _), of_atom = words[:4], words[4:].reshape(-1, 4)
  size = LEAST + int(size * (len(kinds) + 1 - LEAST))
  left = np.zeros(len(kinds), int)  # bonds that an atom may still have
  for k in range(size):
    element, to, order, _ = of_atom[k]
    kind = 1 if k == 0 else min(int(np.searchsorted(shares, element, 'right')), len(shares) - 1)
    free = np.flatnonzero((left > 0) & ((kinds == 1) | (kind == 1)))
    if k and not len(free):
      break
    kinds[k], left[k] = kind, VALENCES[kind]
    if k:
      other = free[int(to * len(free))]
      wanted = 3 if order < TRIPLE else 2 if order < TRIPLE + DOUBLE else 1
      _bind(orders, left, k, other, min(wanted, left[k], left[other]))
  if ring < RING:
    steps = _distances(orders > 0)
    free = (left > 0) & (kinds == 1)
    pairs = np.argwhere(np.triu((steps >= 4) & free & free[:, None]))
    if len(pairs):
      _bind(orders, left, *pairs[int(pair * len(pairs))], 1)


def _bind(orders, left, i, k, order):
  orders[i, k] = orders[k, i] = order
  left[[i, k]] -= order


def _distances(bound):
  """Bonds between each two atoms, 0 where no way leads from one to the other."""
  reached = np.eye(len(bound), dtype=int)
  steps = np.zeros_like(reached)
  for n in range(1, len(bound)):
    further = reached @ bound
    steps = np.where((further > 0) & (steps == 0), n, steps)
    reached = (reached + further > 0).astype(int)
  np.fill_diagonal(steps, 0)
  return steps


def _read(path, atoms, elements):
  """(molecules of a file, stored; what identifies it). What does not fit is left out and named in a warning."""
  try:
    with open(path, 'rb') as file:
      content = file.read()
  except OSError as e:
    raise UserError(f'{path} cannot be read: {e.strerror}') from None
  lines = content.decode(errors='replace').splitlines()
  stored, wrong = [], []
  for number, line in enumerate(lines, 1):
    text = line.replace(',', ' ').split()
    if not text or text[0].startswith('#') or (number == 1 and text[0].lower() == 'smiles'):
      continue
    try:
      stored.append(from_smiles(text[0], atoms, elements))
    except ValueError as e:
      wrong.append(f'line {number}, {text[0][:40]} ({e})')
  few = ', '.join(wrong[:3]) + (', ...' if len(wrong) > 3 else '')
  if not stored:
    raise UserError(f'{path} has no molecules that fit: {few or "give a SMILES on each line"}')
  if wrong:
    logging.warning(
      '%d of %d lines of %s are left out: %s', len(wrong), len(wrong) + len(stored), path, few
    )
  info = {'content_sha256': hashlib.sha256(content).hexdigest(), 'broken': len(wrong)}
  return np.stack(stored), info


def from_smiles(text: str, atoms: int, elements: int) -> np.ndarray:
  """A molecule, stored. Raises ValueError of one that does not parse or does not fit."""
  chem = molecule.load_rdkit()
  with molecule.quiet():
    mol = chem.MolFromSmiles(text)
  if mol is None:
    raise ValueError('it does not parse')
  if mol.GetNumAtoms() > atoms:
    raise ValueError(f'it has {mol.GetNumAtoms()} atoms, more than data.atoms={atoms}')
  numbers = {name: i + 1 for i, name in enumerate(molecule.ELEMENTS[:elements])}
  for atom in mol.GetAtoms():
    if atom.GetSymbol() not in numbers:
      raise ValueError(
        f'it has {atom.GetSymbol()}, and data.elements={elements} are {", ".join(numbers)}'
      )
  chem.RemoveStereochemistry(mol)
  wanted = chem.MolToSmiles(mol)
  chem.Kekulize(mol, clearAromaticFlags=True)
  kinds, orders = np.zeros(atoms, int), np.zeros((atoms, atoms), int)
  for atom in mol.GetAtoms():
    kinds[atom.GetIdx()] = numbers[atom.GetSymbol()]
  for bond in mol.GetBonds():
    i, k, order = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), int(bond.GetBondTypeAsDouble())
    orders[i, k] = orders[k, i] = order
  stored = molecule.encode(kinds, orders, 1 + elements)
  if molecule.smiles(stored) != wanted:
    raise ValueError('it has charges, isotopes, several pieces or other that is no atom or bond')
  return stored
