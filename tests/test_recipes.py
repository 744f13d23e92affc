"""Every config, shrunk, through its own update: finite, each phase trains its own networks, and what makes a recipe."""

import jax
import numpy as np
import pytest
from test_config import FILES, load

from ganjax import experiment
from ganjax.update import active, all_finite

# Where a width of 4 is not the smallest.
SMALLEST = {'mlp': dict(width=30), 'r3gan': dict(width=8, cardinality=2, blocks=1)}
LARGE = ('sagan_imagenet128', 'biggan_imagenet128')  # a minute each


def shrunk(name):
  config, _ = load(name)
  config.update(batch_size=4, steps=10)
  config.networks.width = 4
  if 'width_D' in config.networks:
    config.networks.width_D = 4
  config.networks.update(SMALLEST.get(config.networks.name, {}))
  config.method.n_critic = 1  # each more is compiled again
  return experiment.build(config)


def flat(state, net):
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.params[net])])


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in FILES]
)
def test_one_update(name):
  run = shrunk(name)
  span, data = run.spans[0], run.config.data
  rng = np.random.default_rng(0)
  size = (4, data.resolution, data.resolution, data.channels)
  batches = tuple(
    {'image': rng.integers(0, 256, size, np.uint8), 'label': np.arange(4, dtype=np.int32)}
    for _ in range(run.method.n_critic)
  )
  state = jax.jit(run.init)(jax.random.key(0))
  update = run.update(span)
  before = {net: flat(state, net) for net in state.params}
  for phase in active(span.stage, 0):
    state, metrics = update(state, batches, {}, phases=(phase,))
    assert all_finite(state) and all(np.isfinite(v) for v in metrics.values())
    (trained,) = (p.nets for p in span.stage.phases if p.name == phase)
    for net in before:
      assert np.any(before[net] != flat(state, net)) == (net in trained), (phase, net)
    before = {net: flat(state, net) for net in state.params}
    penalties = run.config.method.get('penalties', {})
    if phase == 'D':
      assert {f'loss_{p}' for p in penalties} <= metrics.keys()
  clip = run.config.optim.D.get('clip')
  if clip:
    # The update before had no gradient that would bring it in: what starts outside the box is clipped into it.
    state = state.replace(
      params={**state.params, 'D': jax.tree.map(lambda x: x + 1, state.params['D'])}
    )
    state, _ = update(state, batches, {}, phases=('D',))
    np.testing.assert_allclose(flat(state, 'D'), clip, rtol=1e-6)
    assert np.abs(flat(state, 'G')).max() > clip


@pytest.mark.parametrize(
  'name, steps, batch, critic, loss, penalties, betas, decay, clip',
  [
    ('lsgan_cifar', 200_000, 64, 2, 'least_squares', {}, (0.5, 0.999), 'constant', None),
    ('wgan_cifar', 100_000, 128, 1, 'wasserstein', {}, (0.0, 0.9), 'linear', 0.1),
    (
      'wgan_gp_cnn_cifar',
      100_000,
      128,
      1,
      'wasserstein',
      {'gradient_penalty': 10},
      (0.0, 0.9),
      'linear',
      None,
    ),
    ('dcgan_celeba', 300_000, 128, 1, 'non_saturating', {}, (0.5, 0.999), 'constant', None),
  ],
)
def test_published_settings(name, steps, batch, critic, loss, penalties, betas, decay, clip):
  config, _ = load(name)
  method = config.method
  assert (config.steps, config.batch_size, method.n_critic, method.loss) == (
    steps,
    batch,
    critic,
    loss,
  )
  assert dict(method.get('penalties', {})) == penalties
  for net in 'G', 'D':
    optim = config.optim[net]
    assert (optim.lr, (optim.b1, optim.b2), optim.decay) == (2e-4, betas, decay)
  assert (config.optim.D.get('clip'), config.optim.G.get('clip')) == (clip, None)
