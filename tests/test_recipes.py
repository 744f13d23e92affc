"""Every config, shrunk, through its own update: finite, and each phase trains its own networks."""

import functools

import jax
import numpy as np
import pytest
from test_config import FILES, load

from ganjax import experiment
from ganjax.update import active, all_finite

# Where a width of 4 is not the smallest.
SMALLEST = {
  'mlp': dict(width=30),
  'r3gan': dict(width=8, cardinality=2, blocks=1),
  'stylegan2': dict(w_dim=8, mapping_layers=1),
  'stylegan3': dict(w_dim=8, width_D=4, layers=3),
  'progressive': dict(channel_base=32),
  'stylegan': dict(channel_base=32, w_dim=8, mapping_layers=1),
  'pix2pix': dict(downs=3, dropout_levels=(0,), layers_D=1),
  'cyclegan': dict(blocks=1, layers_D=1),
  'cut': dict(blocks=2, layers_D=1),
  'srresnet': dict(blocks=1),
  'rrdb': dict(blocks=1, growth=2),
  'real_esrgan': dict(blocks=1, growth=2),
  'srvgg': dict(layers=1),
  'attngan': dict(sides=(8, 16), residuals=1, vocabulary=8, embedding=4, features=4),
}
SIDES = {
  'stylegan2': 8,
  'stylegan3': 16,
  'progressive': 8,
  'stylegan': 8,
  'pix2pix': 16,
  'cyclegan': 16,
  'cut': 16,
  'srresnet': 32,
  'rrdb': 32,
  'real_esrgan': 32,
  'srvgg': 32,
  'gan3d': 8,
  'can': 32,
  'adain': 16,
  'attngan': 16,
  'gangogh': 16,
  'dvdgan': 32,
  'dfgan': 8,
  'gan_cls': 64,
  'mocogan': 32,
  'vid2vid': 16,
}  # whose stages are alike
BARS = ('musegan',)  # whose rolls get shorter
LENGTHS = {'wavegan': 256, 'specgan': 64, 'characters': 8}  # of sounds and lines
# Phases that take what the one before hands on.
SECOND = {'cut': 'G'}
# Large networks, those of which other configs have the same, and those whose methods have such a test of their own:
# their update is traced, not compiled.
TRACED = ('sagan_imagenet128', 'biggan_imagenet128', 'biggan_diffaug_cifar', 'biggan_lecam_cifar')
TRACED += ('stylegan2_emoji', 'stylegan2_cifar', 'stylegan2_ada_cifar')
TRACED += ('stylegan2_ffhq256', 'stylegan2_ffhq1024')
TRACED += ('stylegan3_emoji', 'stylegan3t_ffhq256', 'stylegan3r_ffhq256')
TRACED += ('fastgan_emoji', 'projected_emoji', 'projected_cifar', 'projected_folder')
TRACED += ('progressive_emoji', 'progressive_cifar', 'progressive_celebahq', 'stylegan_ffhq1024')
TRACED += (
  'pix2pix_sketch',
  'pix2pix_emoji',
  'pix2pix_facades',
  'cyclegan_emoji',
  'cyclegan_horse2zebra',
)
TRACED += ('cut_horse2zebra', 'dcgan_emoji')
TRACED += ('srgan_div2k', 'esrgan_div2k', 'realesrgan_div2k', 'realesrgan_compact_div2k')
TRACED += ('srgan_emoji',)
# Trained in training/test_kinds_recipes.py.
TRACED += ('wavegan_notes', 'wavegan_folder', 'specgan_notes', 'musegan_chorales', 'musegan_folder')
TRACED += ('wgan_gp_text', 'gan3d_solids', 'gan3d_folder', 'molgan_smiles')
TRACED += (
  'adain_style',
  'adain_wikiart',
  'attngan_emoji',
  'attngan_cub',
  'gangogh_wikiart',
  'dvdgan_emoji',
  'can_emoji',
  'text_emoji',
  'gan_cls_cub',
  'dfgan_cub',
  'dfgan_coco',
  'mocogan_actions',
  'mocogan_emoji',
  'mocogan_mnist',
  'vid2vid_emoji',
)
TRACED += ('emoji', 'emoji32', 'digits', 'reacgan_cifar', 'contragan_cifar', 'sngan_stl10')
TRACED += ('dcgan_celeba',)
# One of each kind of network and penalty by default: the rest takes minutes.
QUICK = ('wgan_gp_cnn_cifar', 'progressive_emoji', 'stylegan2_ada_cifar')


def shrunk(name, **networks):
  """The experiment of a recipe at its smallest; `networks` are fields of it."""
  config, _ = load(name)
  config.networks.update(networks)
  config.update(batch_size=4, steps=10)
  # Self-attention takes channels in eights: those of 64x64 maps are as many as the width.
  width = 8 if name in ('biggan_imagenet128', 'emoji') else 4
  config.networks.width = width
  if 'width_D' in config.networks:
    config.networks.width_D = width
  config.networks.update(SMALLEST.get(config.networks.name, {}))
  config.data.resolution = SIDES.get(config.networks.name, config.data.resolution)
  if config.networks.name in LENGTHS:
    config.data.length = LENGTHS[config.networks.name]
  if config.networks.name in BARS:
    config.data.update(bars=1, steps=2)
  if 'n_critic' in config.method:
    config.method.n_critic = 1  # each more is compiled again
  if 'pretrain' in config.method:
    config.method.pretrain = 5
  if 'side' in config.method:
    config.method.side = 128
  if 'fade_images' in config.method:
    config.method.update(batch_sizes=(), rates=(), steady_images=4, fade_images=4, first_level=0)
  return experiment.build(config)


def flat(state, net):
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.params[net])])


def example(run, span):
  """A batch, as it is stored."""
  rng = np.random.default_rng(0)
  draw = lambda f: rng.integers(0, 10 if f.kind == 'label' else 2**8, (4, *f.shape)).astype(f.dtype)
  return {name: draw(field) for name, field in span.fields.items()}


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FILES]
)
def test_one_update(name):
  run = shrunk(name)
  span = run.spans[0]
  batches = (example(run, span),) * run.method.n_critic
  update = run.update(span)
  draw = lambda shape: 0.1 * np.random.default_rng(0).normal(size=shape.shape).astype(shape.dtype)
  frozen = {n: jax.tree.map(draw, net.variables) for n, net in run.method.frozen.items()}
  if name in TRACED:
    state = jax.eval_shape(run.init, jax.random.key(0))
    how = dict(phases=active(span.stage, 0))
    new, metrics = jax.eval_shape(functools.partial(update, **how), state, batches, frozen)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(
      lambda x: (x.shape, x.dtype), state
    )
    assert all(value.shape == () for value in metrics.values())
    return
  state = jax.jit(run.init)(jax.random.key(0))
  before = {net: flat(state, net) for net in state.params}
  for phase in active(span.stage, 0):
    phases = (phase,)
    if phase == SECOND.get(run.config.method.name):
      phases = active(span.stage, 0)
    state, metrics = update(state, batches, frozen, phases=phases)
    assert all_finite(state) and all(np.isfinite(v) for v in metrics.values())
    trained = {net for p in span.stage.phases if p.name in phases for net in p.nets}
    for net in before:
      assert np.any(before[net] != flat(state, net)) == (net in trained), (phase, net)
    before = {net: flat(state, net) for net in state.params}
    penalties = run.config.method.get('penalties', {})
    if phase == 'D':
      assert {f'loss_{p}' for p in penalties} <= metrics.keys()
  clip = run.config.optim.get('D', {}).get('clip')
  if clip:
    # The update before had no gradient that would bring it in: what starts outside the box is clipped into it.
    state = state.replace(
      params={**state.params, 'D': jax.tree.map(lambda x: x + 1, state.params['D'])}
    )
    state, _ = update(state, batches, {}, phases=('D',))
    np.testing.assert_allclose(flat(state, 'D'), clip, rtol=1e-6)
    assert np.abs(flat(state, 'G')).max() > clip


AVERAGED = ('biggan_cifar', 'biggan_diffaug_cifar', 'biggan_lecam_cifar', 'biggan_imagenet128')


@pytest.mark.parametrize('name', [*AVERAGED, 'contragan_cifar', 'reacgan_cifar'])
def test_averages_are_of_the_published_decay(name):
  """0.9999 a step: after the half-life, which is in images, it has come to one half."""
  config, _ = load(name)
  steps = config.ema.half_life_images / config.batch_size
  assert 0.9999**steps == pytest.approx(0.5, rel=1e-3)


def test_r3gan_moves_over_its_first_20_million_images():
  config, _ = load('r3gan_cifar')
  assert config.steps * config.batch_size == pytest.approx(250e6, rel=1e-5)
  penalties, optim = config.method.penalties, config.optim
  ramps = [config.method.ada.p, config.ema.half_life_images, *penalties.values()]
  ramps += [optim[net][field] for net in 'GD' for field in ('lr', 'b2')]
  assert len(ramps) == 8
  for ramp in ramps:
    assert ramp.steps * config.batch_size == pytest.approx(20e6, rel=1e-4)
