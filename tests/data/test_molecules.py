"""Molecules: by rule, from files of SMILES, and as graphs that RDKit reads."""

import numpy as np
import pytest

from ganjax import UserError, data
from ganjax.data.sets import molecules
from ganjax.media import molecule


def build(**changes):
  return data.build(**{**dict(dataset='molecules', count=300), **changes})


def test_graphs_are_ones_among_zeros_and_come_back():
  """Shares of both directions of a bond count together; a bond to no atom, or to itself, is none."""
  kinds = np.array([[1, 2, 0], [4, 1, 1]])
  orders = np.zeros((2, 3, 3), int)
  orders[0, 0, 1] = orders[0, 1, 0] = 3
  x = molecule.encode(kinds, orders, 5)
  assert x.shape == (2, 3, 5 + 12) and x.dtype == bool and x.sum() == 2 * (3 + 9)
  for one, k, o in zip(x, kinds, orders):
    np.testing.assert_array_equal(molecule.decode(one)[0], k)
    np.testing.assert_array_equal(molecule.decode(one)[1], o)
  floats = np.asarray(molecule.to_float(x))
  assert floats.dtype == np.float32 and {*floats.ravel()} == {0, 1}
  np.testing.assert_array_equal(molecule.to_float(floats), floats)
  np.testing.assert_array_equal(molecule.to_stored(0.4 * floats + 0.3), x)
  np.testing.assert_array_equal(molecule.join(*molecule.split(x)), x)
  atoms, bonds = molecule.split(floats.copy())
  bonds[0, 0, 1] = 0.4, 0, 0, 0.3
  bonds[0, 1, 0] = 0.2, 0, 0, 0.5
  bonds[0, 0, 2, 1] = bonds[0, 1, 1, 2] = 9
  np.testing.assert_array_equal(molecule.to_stored(molecule.join(atoms, bonds)), x)
  with pytest.raises(UserError, match='NaN'):
    molecule.to_stored(np.where(floats == 1, np.nan, floats))


def test_molecules_by_rule_are_a_function_of_index_and_split():
  x = molecules.draw(np.arange(300), 0, 9, 4)
  np.testing.assert_array_equal(molecules.draw(np.array([7, 3]), 0, 9, 4), x[[7, 3]])
  other = molecules.draw(np.arange(300), 1, 9, 4)
  assert (x != other).any((1, 2)).mean() > 0.9
  kinds, orders = (np.array(y) for y in zip(*map(molecule.decode, x)))
  sizes = (kinds > 0).sum(1)
  assert {*sizes} == {*range(3, 10)} and {*kinds.ravel()} == {0, 1, 2, 3, 4}
  assert (orders == orders.swapaxes(1, 2)).all() and {*orders.ravel()} == {0, 1, 2, 3}
  assert (orders.sum(2) <= molecules.VALENCES[kinds]).all()
  hetero = kinds > 1
  assert not (orders * hetero[:, :, None] * hetero[:, None]).any()
  rings = (orders > 0).sum((1, 2)) // 2 - (sizes - 1)
  assert {*rings} == {0, 1} and 0.1 < rings.mean() < 0.4
  assert {*molecule.decode(x[0])[0]} <= {0, 1, 2, 3, 4}
  assert (
    max(map(max, (molecule.decode(one)[0] for one in molecules.draw(np.arange(50), 0, 9, 1)))) == 1
  )


def test_all_of_them_are_valid():
  pytest.importorskip('rdkit')
  source = build()
  assert source.fields['molecule'].shape == (9, 41)
  found = [molecule.smiles(x) for x in source.read(np.arange(300))['molecule']]
  assert None not in found and len({*found}) > 200
  assert all(molecule.smiles(molecules.from_smiles(s, 9, 4)) == s for s in {*found})


@pytest.mark.parametrize(
  'text', ['CCO', 'c1ccccc1', 'C#N', 'OC(=O)C1CC1', 'FC(F)F', 'O=C1CCCN1', 'c1cc[nH]c1']
)
def test_smiles_come_back(text):
  chem = pytest.importorskip('rdkit.Chem')
  stored = molecules.from_smiles(text, 9, 4)
  assert molecule.smiles(stored) == chem.CanonSmiles(text)
  order = np.random.default_rng(0).permutation(9)
  atoms, bonds = molecule.split(stored)
  assert molecule.smiles(molecule.join(atoms[order], bonds[order][:, order])) == chem.CanonSmiles(
    text
  )


def test_what_is_not_valid(tmp_path):
  """Five bonds of a carbon, two pieces, nothing."""
  pytest.importorskip('rdkit')
  kinds, orders = np.ones((3, 4), int), np.zeros((3, 4, 4), int)
  orders[0, 0, 1:] = orders[0, 1:, 0] = 1, 1, 3
  orders[1, 0, 1] = orders[1, 1, 0] = 1
  kinds[2] = 0
  x = molecule.encode(kinds, orders, 5)
  assert [molecule.smiles(one) for one in x] == [None] * 3
  good = molecules.from_smiles('C=O', 4, 4)
  shown = molecule.show(np.stack([*x, good]))
  assert shown.shape == (4, 96, 96, 3) and shown.dtype == np.uint8
  assert (shown[0].max(-1) < 255).all() and (shown[2] == 255).all()
  assert (shown[3].max((0, 1)) == 255).all() and (shown[3].min(-1) < 50).any()
  assert (shown[3].max(-1) != shown[3].min(-1)).any()  # oxygen is red
  molecule.save(tmp_path / 'a.smi', good, {'seed': 7})
  assert (tmp_path / 'a.smi').read_text() == '# {"seed": 7, "valid": true}\nC=O\n'
  molecule.save(tmp_path / 'b.smi', x[0], {'seed': 7})
  assert (tmp_path / 'b.smi').read_text() == '# {"seed": 7, "valid": false}\n'


def test_a_graph_that_rdkit_finds_no_places_for():
  """Its own drawing of these bonds ends in 'Cannot normalize a zero length vector'."""
  pytest.importorskip('rdkit')
  rows = '010133233 101132221 010022212 110032022 332302101 322220223 222012023 321202202 312213320'
  orders = np.array([[int(c) for c in row] for row in rows.split()])
  kinds = np.array([1, 4, 4, 2, 2, 1, 2, 3, 2])
  (shown,) = molecule.show(molecule.encode(kinds, orders, 5)[None])
  assert shown.max() < 255 and (shown < 200).any()


def test_files_of_smiles(tmp_path, caplog):
  pytest.importorskip('rdkit')
  path = tmp_path / 'mine.smi'
  path.write_text(
    'SMILES,name\n\n# a note\nCCO,ethanol\nC[C@H](N)O thing\nCCC(\nCCCCC\nCS\nC[NH3+]\nC.C\n[13CH4]\n'
  )
  source = build(data_dir=str(path), atoms=4, elements=4)
  found = [molecule.smiles(x) for x in source.read(np.arange(2))['molecule']]
  assert found == ['CCO', 'CC(N)O'] and source.num_examples == 2 and source.info['broken'] == 6
  assert '6 of 8 lines of' in caplog.text and 'line 6, CCC( (it does not parse)' in caplog.text
  wide = build(data_dir=str(path), atoms=5, elements=5)
  assert wide.num_examples == 4 and wide.info['broken'] == 4
  for text, message in (
    ('CCC(', 'it does not parse'),
    ('CCCCC', 'it has 5 atoms, more than data.atoms=4'),
    ('CS', 'it has S, and data.elements=4 are C, N, O, F'),
    ('C[NH3+]', 'it has charges'),
    ('C.C', 'several pieces'),
  ):
    path.write_text(text)
    with pytest.raises(UserError, match=r'has no molecules that fit: line 1, .*' + message):
      build(data_dir=str(path), atoms=4)
  path.write_text('\n')
  with pytest.raises(UserError, match='has no molecules that fit: give a SMILES on each line'):
    build(data_dir=str(path))


@pytest.mark.parametrize('changes, message', [
  (dict(atoms=2), 'data.atoms=2 must be a whole number from 3 to 64'),
  (dict(elements=10), 'data.elements=10 must be a whole number from 1 to 9, so many of C, N'),
  (dict(count=0), 'data.count=0'),
  (dict(split='dev'), "molecules has no split 'dev'; it has: train, test"),
  (dict(data_dir='/nowhere', split='test'), "molecules has no split 'test'; it has: train$"),
  (dict(data_dir='/nowhere'), '/nowhere cannot be read: No such file'),
])  # fmt: skip
def test_molecules_refuse(changes, message):
  pytest.importorskip('rdkit')
  with pytest.raises(UserError, match=message):
    build(**changes)


def test_without_the_package(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'rdkit', None)
  with pytest.raises(
    UserError, match=r"molecules need RDKit: pip install rdkit \(or 'ganjax\[molecules\]'\)"
  ):
    build()
