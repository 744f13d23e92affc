"""MolGAN's reward: what counts as valid, against RDKit; V's loss and G's against their formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax import UserError
from ganjax.data.sets import molecules
from ganjax.losses import rewards
from ganjax.media import molecule
from ganjax.method import name_nets
from ganjax.methods import molgan
from ganjax.sampling import latents
from ganjax.update import init

ATOMS, ELEMENTS, KEY = 5, 4, jax.random.key(0)
COLUMNS = 1 + ELEMENTS + molecule.BONDS * ATOMS


def sparse(count, elements, rng):
  """Shares of few atoms and bonds, of which some are valid molecules."""
  x = rng.random((count, ATOMS, 1 + elements + molecule.BONDS * ATOMS)).astype(np.float32)
  kinds, bonds = molecule.split(x)
  few = lambda x, more: x + more * (np.arange(x.shape[-1]) == 0).astype(np.float32)
  return molecule.join(few(kinds, 0.5), few(bonds, 0.6))


@pytest.mark.parametrize('elements', [4, 9])
def test_valid_is_what_rdkit_accepts(elements):
  pytest.importorskip('rdkit')
  x = sparse(2000, elements, np.random.default_rng(0))
  wanted = [molecule.smiles(one) is not None for one in molecule.to_stored(x)]
  assert 10 < sum(wanted) < 1000
  np.testing.assert_array_equal(jax.jit(rewards.valid)(x), wanted)
  whole = molecules.draw(np.arange(50), 0, 9, 4).astype(np.float32)
  assert rewards.valid(whole).min() == 1
  nothing = molecule.encode(np.zeros((1, 3), int), np.zeros((1, 3, 3), int), 5)
  assert rewards.valid(nothing.astype(np.float32)) == 0


@pytest.mark.parametrize('element', molecule.ELEMENTS)
def test_as_many_bonds_as_rdkit_allows(element):
  """One atom of each element with one to seven carbons."""
  pytest.importorskip('rdkit')
  kinds, orders = np.ones((7, 8), int), np.zeros((7, 8, 8), int)
  kinds[:, 0] = 1 + molecule.ELEMENTS.index(element)
  for i in range(7):
    kinds[i, i + 2 :] = 0
    orders[i, 0, 1 : i + 2] = orders[i, 1 : i + 2, 0] = 1
  x = molecule.encode(kinds, orders, 1 + len(molecule.ELEMENTS))
  wanted = [molecule.smiles(one) is not None for one in x]
  np.testing.assert_array_equal(rewards.valid(x.astype(np.float32)), wanted)


def test_druglikeness_is_rdkits():
  pytest.importorskip('rdkit')
  from rdkit.Chem import QED, MolFromSmiles

  x = np.concatenate(
    [molecules.draw(np.arange(3), 0, ATOMS, 4), sparse(20, 4, np.random.default_rng(0)) > 0.5]
  )
  found = jax.jit(rewards.druglikeness)(x.astype(np.float32))
  names = [molecule.smiles(one) for one in molecule.to_stored(x)]
  np.testing.assert_allclose(
    found, [QED.qed(MolFromSmiles(n)) if n else 0 for n in names], rtol=1e-6
  )
  assert None in names


class Made(nn.Module):
  makes = 'molecule'

  @nn.compact
  def __call__(self, z, label=None, *, train):
    return nn.sigmoid(nn.Dense(ATOMS * COLUMNS)(z).reshape(-1, ATOMS, COLUMNS))


class Judge(nn.Module):
  sigmoid: bool = False

  @nn.compact
  def __call__(self, x, label=None, *, train):
    out = nn.Dense(1)(x.reshape(len(x), -1))[:, 0]
    return nn.sigmoid(out) if self.sigmoid else out


NETS = name_nets({'G': Made(), 'D': Judge(), 'V': Judge(True)})
BATCH = {'molecule': jnp.asarray(molecules.draw(np.arange(6), 0, ATOMS, ELEMENTS), jnp.float32)}


def made(**arguments):
  method = molgan.build(NETS, z_dim=3, penalties={'gradient_penalty': 10.0}, **arguments)
  sgd = optax.with_extra_args_support(optax.sgd(0.1))
  return method, init(method, dict.fromkeys('DGV', sgd), KEY, BATCH)


def run(method, state, name):
  (phase,) = (phase for phase in method.phases if phase.name == name)
  return phase.loss(state, BATCH, KEY)


def test_V_learns_the_reward_of_real_and_made_molecules():
  method, state = made()
  assert [phase.name for phase in method.phases] == ['D', 'V', 'G'] and method.n_critic == 4
  fakes = NETS['G'].apply({'params': state.params['G']}, latents.normal(KEY, 6, 3), train=True)
  V = lambda x: NETS['V'].apply({'params': state.params['V']}, x, train=True)
  loss, aux = run(method, state, 'V')
  wanted = [np.mean((V(x) - rewards.valid(x)) ** 2) for x in (BATCH['molecule'], fakes)]
  np.testing.assert_allclose(
    [aux.metrics['loss_V_real'], aux.metrics['loss_V_fake']], wanted, rtol=1e-5
  )
  np.testing.assert_allclose(loss, sum(wanted), rtol=1e-5)
  assert aux.metrics['reward_real'] == 1


@pytest.mark.parametrize('share', [1.0, 0.25, 0.0])
def test_G_learns_both_by_lambda(share):
  """V's part has the size of the other, whose gradient alone is left at 1 and V's alone at 0."""
  method, state = made(adversarial=share)
  fakes = NETS['G'].apply({'params': state.params['G']}, latents.normal(KEY, 6, 3), train=True)
  judge = lambda net, x: NETS[net].apply({'params': state.params[net]}, x, train=True).mean()
  game, wanted = -judge('D', fakes), -judge('V', fakes)
  loss, _ = run(method, state, 'G')
  np.testing.assert_allclose(
    loss, share * game + (1 - share) * abs(game / wanted) * wanted, rtol=1e-5
  )

  def slope(of):
    make = lambda p: NETS['G'].apply({'params': p}, latents.normal(KEY, 6, 3), train=True)
    return jax.tree.leaves(jax.grad(lambda p: -judge(of, make(p)))(state.params['G']))

  found = jax.grad(lambda p: run(method, state.replace(params={**state.params, 'G': p}), 'G')[0])
  scale = abs(game / wanted)
  for a, d, v in zip(jax.tree.leaves(found(state.params['G'])), slope('D'), slope('V')):
    np.testing.assert_allclose(a, share * d + (1 - share) * scale * v, rtol=1e-4, atol=1e-7)


def test_lambda_may_change_while_it_trains():
  ramp = dict(start=1.0, end=0.0, begin=2, steps=1, shape='linear')
  method, state = made(adversarial=ramp)
  at = lambda step: run(method, state.replace(step=jnp.int32(step)), 'G')[1].metrics['loss_G_V']
  assert at(0) == at(2) == 0 and at(3) != 0


@pytest.mark.parametrize('arguments, message', [
  (dict(reward='vaild'), "method.reward='vaild' is not known.*did you mean valid"),
  (dict(adversarial=1.5), 'method.adversarial=1.5'),
  (dict(zcr=3), 'method.zcr'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    made(**arguments)
  with pytest.raises(UserError, match='networks.value=True'):
    molgan.build({k: NETS[k] for k in 'GD'}, z_dim=3)
