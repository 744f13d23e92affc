"""Penalties, RMSProp and clipped weights against PyTorch's own double backward and optimizer, on one small critic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax import config as configs
from ganjax.layers.conv import conv, conv_transpose
from ganjax.losses import penalties
from ganjax.method import Phase
from ganjax.networks import cnn
from ganjax.optim import optimizers as optim

torch = pytest.importorskip('torch')

KEY = jax.random.key(3)
REAL, FAKE = np.random.default_rng(0).normal(size=(2, 4, 16, 16, 3)).astype(np.float32)


def parameters():
  D = cnn.build(resolution=16, channels=3, width=2)['D']
  params = jax.jit(lambda x: D.init(KEY, x, train=False))(REAL)['params']
  return D, jax.tree.map(lambda p: p * 5, params)  # N(0, 0.1): gradients of size


def twin(params):
  """The same network in PyTorch, as (its parameters by ours' names, images [B, C, H, W] -> logits)."""
  weights = {
    f'{layer}/{name}': torch.tensor(np.asarray(value), requires_grad=True)
    for layer, values in params.items()
    for name, value in values.items()
  }

  def logits(x):
    for i in range(7):
      kernel = weights[f'Conv_{i}/kernel'].permute(3, 2, 0, 1)
      x = torch.nn.functional.conv2d(x, kernel, weights[f'Conv_{i}/bias'], 1 + i % 2, 1)
      x = torch.nn.functional.leaky_relu(x, 0.1)
    x = x.permute(0, 2, 3, 1).flatten(1)
    return (x @ weights['Dense_0/kernel'] + weights['Dense_0/bias'])[:, 0]

  return weights, logits


def theirs(name, logits):
  share = np.asarray(jax.random.uniform(KEY, (4, 1, 1, 1)))
  noise = np.asarray(jax.random.uniform(KEY, REAL.shape))
  points = {
    'gradient_penalty': share * REAL + (1 - share) * FAKE,
    'dragan': REAL + REAL.std() / 2 * noise,
    'r1': REAL,
    'r2': FAKE,
  }[name]
  x = torch.tensor(points).permute(0, 3, 1, 2).requires_grad_()
  (slopes,) = torch.autograd.grad(logits(x).sum(), x, create_graph=True)
  norms = slopes.flatten(1).norm(dim=1)
  return (norms**2).mean() / 2 if name in ('r1', 'r2') else ((norms - 1) ** 2).mean()


@pytest.mark.parametrize('name', ['gradient_penalty', 'dragan', 'r1', 'r2'])
def test_values_and_gradients(name):
  D, params = parameters()

  @jax.jit
  def ours(params):
    logits = lambda x: D.apply({'params': params}, x, train=True)
    return getattr(penalties, name)(logits, jnp.asarray(REAL), jnp.asarray(FAKE), KEY)

  weights, logits = twin(params)
  expected = theirs(name, logits)
  np.testing.assert_allclose(ours(params), expected.item(), rtol=1e-5)
  expected.backward()
  for layer, values in jax.jit(jax.grad(ours))(params).items():
    for kind, value in values.items():
      grad = weights[f'{layer}/{kind}'].grad
      grad = np.zeros_like(value) if grad is None else grad.numpy()
      np.testing.assert_allclose(value, grad, rtol=1e-4, atol=1e-6, err_msg=f'{layer}/{kind}')


@pytest.mark.parametrize('axes', [1, 3])
def test_double_backward_through_convolutions_of_one_and_three_axes(axes):
  """A strided one and two transposed ones: the gradients of a penalty of the gradient, in the input and all weights."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *(8,) * axes, 2))
  sizes = (4, 2, 3), (4, 3, 3), (3, 2, 3)
  w = [rng.normal(size=(*(k,) * axes, a, b)) / (k**axes * a) ** 0.5 for k, a, b in sizes]

  def ours(x, w):
    def critic(x):
      x = jnp.tanh(conv_transpose(jnp.tanh(conv(x, w[0], 2, 1)), w[1], 2, 1))
      return jnp.sum(conv_transpose(x, w[2], 1, 1) ** 2)

    return jnp.sum(jax.grad(critic)(x) ** 2)

  with jax.enable_x64(True):
    value, found = jax.jit(jax.value_and_grad(ours, (0, 1)))(x, w)
  first = lambda a: torch.tensor(np.moveaxis(a, (-1, -2), (0, 1)).copy(), requires_grad=True)
  down, up = (getattr(torch.nn.functional, f'{name}{axes}d') for name in ('conv', 'conv_transpose'))
  points = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
  weights = [first(each) for each in w]
  y = up(down(points, weights[0], None, 2, 1).tanh(), weights[1], None, 2, 1).tanh()
  y = up(y, weights[2], None, 1, 1)
  (slopes,) = torch.autograd.grad((y**2).sum(), points, create_graph=True)
  total = (slopes**2).sum()
  total.backward()
  np.testing.assert_allclose(value, total.item(), rtol=1e-10)
  np.testing.assert_allclose(np.moveaxis(found[0], -1, 1), points.grad, rtol=1e-8, atol=1e-8)
  for a, b in zip(found[1], weights):
    np.testing.assert_allclose(np.moveaxis(a, (-1, -2), (0, 1)), b.grad, rtol=1e-8, atol=1e-8)


def test_rmsprop_and_clipping_are_torchs():
  opt = optim.build({'D': configs.rmsprop(lr=0.01, clip=0.1)}, [Phase('D', None, ('D',), 'D')], 9)[
    'D'
  ]
  rng = np.random.default_rng(1)
  start = rng.uniform(-0.1, 0.1, 20).astype(np.float32)
  p, x = jnp.asarray(start), torch.tensor(start, requires_grad=True)
  state, reference = opt.init(p), torch.optim.RMSprop([x], lr=0.01)
  for step in range(9):
    grad = rng.normal(size=20).astype(np.float32)
    change, state = opt.update(jnp.asarray(grad), state, p, step=step)
    p = optax.apply_updates(p, change)
    x.grad = torch.tensor(grad)
    reference.step()
    x.data.clamp_(-0.1, 0.1)
    np.testing.assert_allclose(p, x.detach().numpy(), rtol=1e-5, atol=1e-7)
  assert np.isclose(np.abs(p), 0.1).any()
