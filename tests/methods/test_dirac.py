"""Dirac-GAN (Mescheder, Geiger, Nowozin 2018, arXiv:1801.04406): the smallest game, through the real update.

The data are a point at 0, G is a point at theta, D(x) = psi x; the equilibrium is theta = psi = 0. D's update of size
`a` comes before G's of size `b`: alternating descent. With slope s = f'(0) of the loss at logit 0 (1/2 for minimax,
non-saturating and relativistic, 1 for Wasserstein and hinge) and the weight gamma of R1 and R2 (their sum), near the
equilibrium

  psi' = (1 - a gamma) psi - a s theta,  theta' = theta + b s psi'

so the update's Jacobian has trace 2 - a b s^2 - a gamma and determinant 1 - a gamma: without a penalty the paper's
lemma on alternating descent (section 2 and appendix), with one its eigenvalues of the vector field (section 3) as the
steps go to 0.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import slow

from ganjax.method import name_nets, spans
from ganjax.methods import gan
from ganjax.optim import optimizers as optim
from ganjax.update import active, init, make_update

SLOPE = {
  'minimax': 0.5,
  'non_saturating': 0.5,
  'relativistic': 0.5,
  'wasserstein': 1.0,
  'hinge': 1.0,
}
# The weights add up: R3GAN's proof is of both (arXiv:2501.05441, section 2).
ZERO_CENTRED = {'r1': {'r1': 1}, 'r2': {'r2': 1}, 'both': {'r1': 0.5, 'r2': 0.5}}
ONE_CENTRED = ('gradient_penalty', 'dragan')


class Point(nn.Module):
  """All pictures are the one number theta."""

  @nn.compact
  def __call__(self, z, label=None, *, train):
    theta = self.param('theta', nn.initializers.zeros, (), jnp.float64)
    return jnp.full((len(z), 1, 1, 1), theta)


class Line(nn.Module):
  @nn.compact
  def __call__(self, x, label=None, *, train):
    return self.param('psi', nn.initializers.zeros, (), jnp.float64) * x[:, 0, 0, 0]


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def game(loss, penalties=None, a=0.1, b=0.1, n_critic=1, clip=None):
  """A function: [theta, psi] -> those after one step of training."""
  made = gan.build(
    name_nets({'G': Point(), 'D': Line()}),
    z_dim=1,
    loss=loss,
    penalties=penalties,
    n_critic=n_critic,
  )
  sgd = lambda rate: optax.with_extra_args_support(optax.sgd(rate))
  optimizers = {'D': sgd(a), 'G': sgd(b)}
  if clip:
    optimizers['D'] = optax.chain(sgd(a), optim.clip_parameters(clip))
  batch = {'image': jnp.zeros((2, 1, 1, 1))}
  template = init(made, optimizers, jax.random.key(0), batch)
  update = make_update(made, spans(made, 8, 2)[0], optimizers)

  def step(point):
    state = template.replace(params={'G': {'theta': point[0]}, 'D': {'psi': point[1]}})
    new, _ = update(state, (batch,) * n_critic, {}, phases=active(made.stages[0], 0))
    return jnp.stack([new.params['G']['theta'], new.params['D']['psi']])

  return step


def eigenvalues(step, at=(0.0, 0.0)):
  return np.linalg.eigvals(jax.jit(jax.jacrev(step))(jnp.array(at)))


def closed_form(s, gamma=0.0, a=0.1, b=0.1):
  trace, determinant = 2 - a * b * s**2 - a * gamma, 1 - a * gamma
  return np.roots([1, -trace, determinant])


def in_order(values):
  return np.array(sorted(np.asarray(values, complex), key=lambda v: (v.real, v.imag)))


def path(step, start=(0.3, 0.4), steps=4000):
  """[theta, psi] before each step: [steps, 2]."""
  walk = jax.jit(lambda p: jax.lax.scan(lambda p, _: (step(p), p), p, None, steps)[1])
  return np.asarray(walk(jnp.array(start)))


def distances(*args, **kwargs):
  """The distance from the equilibrium before each step."""
  return np.linalg.norm(path(*args, **kwargs), axis=1)


@pytest.mark.parametrize('loss', slow.but([*SLOPE], 'minimax'))
def test_without_a_penalty_the_eigenvalues_lie_on_the_unit_circle(loss):
  """Alternating descent's lemma: eigenvalues of modulus 1 while a b s^2 <= 4, so no convergence at a linear rate."""
  found = eigenvalues(game(loss))
  np.testing.assert_allclose(in_order(found), in_order(closed_form(SLOPE[loss])), atol=1e-12)
  np.testing.assert_allclose(np.abs(found), 1, atol=1e-12)
  assert (found.imag != 0).all()
  # Two updates of D in a step count as one of twice the size; steps that are too long diverge.
  twice = eigenvalues(game(loss, n_critic=2))
  np.testing.assert_allclose(in_order(twice), in_order(closed_form(SLOPE[loss], a=0.2)), atol=1e-12)
  far = eigenvalues(game(loss, a=4.2, b=4.2))
  assert np.abs(far).max() > 1.1
  np.testing.assert_allclose(
    in_order(far), in_order(closed_form(SLOPE[loss], a=4.2, b=4.2)), atol=1e-12
  )


@pytest.mark.parametrize(
  ('loss', 'penalty', 'gamma'),
  [
    ('hinge', 'both', 0.3),
    ('non_saturating', 'r1', 4.0),
    ('wasserstein', 'r2', 4.0),
    *[pytest.param(x, 'both', 0.3, marks=pytest.mark.slow) for x in SLOPE if x != 'hinge'],
  ],
)
def test_zero_centred_penalties_converge_at_the_rate_of_the_eigenvalues(loss, penalty, gamma):
  s = SLOPE[loss]
  weights = {name: share * gamma for name, share in ZERO_CENTRED[penalty].items()}
  step = game(loss, weights)
  found = eigenvalues(step)
  np.testing.assert_allclose(in_order(found), in_order(closed_form(s, gamma)), atol=1e-12)
  radius = np.abs(found).max()
  assert radius < 1
  # The vector field's own: -gamma / 2 +- sqrt(gamma^2 / 4 - s^2), which a step of h follows as 1 + h lambda + O(h^2).
  field = -gamma / 2 + np.array([1, -1]) * np.sqrt(complex(gamma**2 / 4 - s**2))
  small = eigenvalues(game(loss, weights, a=1e-5, b=1e-5))
  np.testing.assert_allclose(in_order((small - 1) / 1e-5), in_order(field), atol=1e-3)
  far = distances(step)
  assert far[-1] < 1e-5 * far[0]
  near = distances(step, start=(1e-6, 1e-6), steps=400)
  np.testing.assert_allclose((near[-1] / near[200]) ** (1 / 199), radius, atol=3e-3)


@pytest.mark.parametrize('loss', ['minimax', 'wasserstein', 'hinge'])
def test_these_orbit(loss):
  """None comes near or leaves: the continuous game keeps theta^2 + psi^2. Hinge is Wasserstein while psi theta > -1."""
  far = distances(game(loss))
  assert far.min() / far[0] > 0.8 and far.max() / far[0] < 1.25, (far.min(), far.max())


def test_clipped_weights_do_not_converge():
  """WGAN (section 3 of the paper): from outside the game falls on the widest orbit in the clip, and stays there."""
  step = game('wasserstein', clip=0.1)
  for start in ((0.3, 0.4), (-2.0, 0.0)):
    walk = path(step, start=start)
    assert np.abs(walk[1:, 1]).max() <= 0.1 + 1e-12
    late = np.linalg.norm(walk[-1000:], axis=1) / 0.1
    assert late.min() > 0.8 and late.max() < 1.25, (late.min(), late.max())
  # An orbit that fits does not feel it.
  inside = (0.03, 0.04)
  np.testing.assert_array_equal(path(step, start=inside), path(game('wasserstein'), start=inside))


@pytest.mark.parametrize('start', [(0.3, 0.4), (0.3, -0.4)])
def test_least_squares_stops_off_the_equilibrium(start):
  """Its targets 1 and 0 do not fit D(x) = psi x, which says 0 to every real image.

  So no gradient comes from there: D falls, by psi theta^2, whatever side the fakes are on. Where it has died G stands.
  """
  walk = path(game('least_squares'), start=start)
  assert abs(walk[-1, 1]) < 1e-9
  np.testing.assert_allclose(walk[-1, 0], walk[-1000, 0], atol=1e-9)
  assert np.sign(start[1]) * walk[-1, 0] > 0.3


@pytest.mark.parametrize('loss', ['non_saturating', 'relativistic'])
def test_the_non_saturating_game_converges_slower_than_any_rate(loss):
  """In continuous time r r' = theta psi (f'(theta psi) - f'(-theta psi)) <= 0, of fourth order in r."""
  far = distances(game(loss), start=(1.5, 1.5), steps=20_000)
  envelope = far.reshape(20, 1000).max(1)
  assert (np.diff(envelope) < 0).all()
  # r ~ 1 / sqrt(t): 1 / r^2 grows by equal amounts, where a linear rate would make it grow by equal factors.
  growth = np.diff(envelope[10:] ** -2)
  np.testing.assert_allclose(growth, growth.mean(), rtol=0.1)


@pytest.mark.parametrize(
  ('loss', 'penalty'), [('wasserstein', ONE_CENTRED[0]), ('minimax', ONE_CENTRED[1])]
)
def test_one_centred_penalties_never_arrive(loss, penalty):
  """WGAN-GP and DRAGAN pull |psi| to 1, and the equilibrium has psi = 0."""
  walk = path(game(loss, {penalty: 0.2}))
  theta, psi = walk[-1000:].T
  # For ever round the equilibrium, near and far of which there are turns.
  assert theta.min() < -0.3 and theta.max() > 0.3 and psi.min() < -0.3 and psi.max() > 0.3
  assert np.abs(walk).max() < 2
  # A weight that damps the turns (2 lambda >= 2 s) lets it rest, where the pull of the penalty is that of the fakes.
  walk = path(game(loss, {penalty: 2.0}))
  np.testing.assert_allclose(np.abs(walk[-1]), [4 / SLOPE[loss], 0], rtol=0.01, atol=1e-3)
