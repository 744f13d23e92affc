"""Every config, shrunk, through its own update: finite, each phase trains its own networks, and what makes a recipe."""

import jax
import numpy as np
import pytest
from test_config import FILES, load

from ganjax import experiment
from ganjax.update import active, all_finite

# Where a width of 4 is not the smallest.
SMALLEST = {'mlp': dict(width=30), 'r3gan': dict(width=8, cardinality=2, blocks=1)}
# Slow: a minute each, and those whose networks other configs have too.
LARGE = ('sagan_imagenet128', 'biggan_imagenet128')
LIKE = ('biggan_diffaug_cifar', 'biggan_lecam_cifar', 'reacgan_cifar', 'projection_cifar')


def shrunk(name):
  config, _ = load(name)
  config.update(batch_size=4, steps=10)
  # Self-attention takes channels in eights: those of 64x64 maps are as many as the width.
  width = 8 if name == 'biggan_imagenet128' else 4
  config.networks.width = width
  if 'width_D' in config.networks:
    config.networks.width_D = width
  config.networks.update(SMALLEST.get(config.networks.name, {}))
  config.method.n_critic = 1  # each more is compiled again
  return experiment.build(config)


def flat(state, net):
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.params[net])])


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE + LIKE)) for n in FILES]
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


SG, TWO = (2e-4, (0.5, 0.999)), (0.0, 0.9)
AVERAGE = (443_600, 1000)  # half-life in images, start: 0.9999 a step of 64
NO = (0, 0)


# steps, batch, z, loss, n_critic, fakes a real; G's rate and betas, D's; the average.
@pytest.mark.parametrize(
  'name, numbers, G, D, average',
  [
    ('dragan_cifar', (100_000, 64, 128, 'non_saturating', 2, 1), (1e-4, TWO), (1e-4, TWO), NO),
    ('sngan_cnn_cifar', (100_000, 128, 100, 'hinge', 1, 2), (2e-4, TWO), (2e-4, TWO), NO),
    ('sagan_imagenet128', (1_000_000, 256, 128, 'hinge', 1, 1), (1e-4, TWO), (4e-4, TWO), NO),
    ('acgan_cifar', (100_000, 64, 128, 'wasserstein', 5, 2), (2e-4, TWO), (2e-4, TWO), NO),
    ('projection_cifar', (50_000, 64, 128, 'hinge', 5, 2), (2e-4, TWO), (2e-4, TWO), NO),
    ('biggan_cifar', (100_000, 64, 80, 'hinge', 5, 1), SG, SG, AVERAGE),
    ('biggan_diffaug_cifar', (200_000, 64, 80, 'hinge', 5, 1), SG, SG, AVERAGE),
    ('biggan_lecam_cifar', (200_000, 64, 80, 'hinge', 5, 1), SG, SG, AVERAGE),
    ('contragan_cifar', (100_000, 64, 80, 'hinge', 5, 1), SG, SG, AVERAGE),
    (
      'reacgan_cifar',
      (100_000, 128, 80, 'hinge', 5, 1),
      (2.8284e-4, (0.5, 0.999)),
      (2.8284e-4, (0.5, 0.999)),
      (887_200, 1000),
    ),
    (
      'biggan_imagenet128',
      (250_000, 2048, 120, 'hinge', 2, 1),
      (5e-5, (0.0, 0.999)),
      (2e-4, (0.0, 0.999)),
      (14_195_000, 0),
    ),
  ],
)
def test_published_numbers(name, numbers, G, D, average):
  config, _ = load(name)
  method = config.method
  found = (method.z_dim, method.loss, method.n_critic, method.fakes_per_real)
  assert (config.steps, config.batch_size, *found) == numbers
  for optim, wanted in ((config.optim.G, G), (config.optim.D, D)):
    assert (optim.lr, (optim.b1, optim.b2)) == wanted
  assert (config.ema.half_life_images, config.ema.start_steps) == average
  # After a half-life, 0.9999 a step of G has come to one half.
  if average[0]:
    steps = average[0] / config.batch_size
    np.testing.assert_allclose(0.9999**steps, 0.5, rtol=1e-3)


def test_what_makes_each_of_the_family():
  field = lambda name, key: load(name)[0].method[key].to_dict()
  networks = lambda name: load(name)[0].networks
  assert field('dragan_cifar', 'penalties') == {'dragan': 10}
  assert field('acgan_cifar', 'penalties') == {'gradient_penalty': 10}
  assert field('acgan_cifar', 'class_loss') == dict(
    name='auxiliary_classifier', D=1, D_fake=0, G=0.1
  )
  assert field('contragan_cifar', 'class_loss') == dict(
    name='contrastive_2c', D=1, G=1, temperature=1
  )
  assert field('reacgan_cifar', 'class_loss') == dict(
    name='d2d_ce', D=0.5, G=0.5, temperature=0.5, margin=0.98
  )
  assert field('biggan_lecam_cifar', 'lecam') == dict(weight=0.3, decay=0.99, start_steps=1000)
  assert load('biggan_diffaug_cifar')[0].method.diffaugment == 'color,translation,cutout'
  for name in ('biggan_cifar', 'biggan_lecam_cifar', 'reacgan_cifar', 'biggan_imagenet128'):
    found = networks(name)
    assert (found.width, found.width_D, found.shared_dim) == (96, 96, 128)
    assert found.attention == load(name)[0].data.resolution // 2
  sagan = networks('sagan_imagenet128')
  assert (sagan.attention, sagan.spectral, sagan.spectral_G, sagan.wide) == (32, True, True, True)
  for name in ('contragan_cifar', 'reacgan_cifar'):
    assert (networks(name).head, networks(name).embed_dim) == ('proxy', 512)


def test_r3gan_is_the_published_preset():
  config, _ = load('r3gan_cifar')
  ramp = lambda start, end: dict(start=start, end=end, steps=39_062, shape='cosine')
  assert (config.steps, config.batch_size, config.data.flip) == (488_281, 512, True)
  assert config.steps * config.batch_size == pytest.approx(250e6, rel=1e-5)
  assert config.method.penalties.to_dict() == dict(r1=ramp(0.05, 0.005), r2=ramp(0.05, 0.005))
  assert config.method.ada.p.to_dict() == ramp(0.0, 0.55)
  for optim in (config.optim.G, config.optim.D):
    assert (optim.lr.to_dict(), optim.b1, optim.b2.to_dict()) == (
      ramp(2e-4, 5e-5),
      0,
      ramp(0.9, 0.99),
    )
  assert config.ema.half_life_images.to_dict() == ramp(0, 5_000_000)
