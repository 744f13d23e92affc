"""methods/progressive.py: its stages, and what it refuses.

tests/parity/test_progressive_torch.py holds the updates of a fade to PyTorch's, tests/training/test_levels.py a run.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import progressive_celebahq, progressive_cifar, progressive_emoji, stylegan_ffhq1024
from ganjax import UserError, experiment
from ganjax.sampling import styles


def tiny():
  config = progressive_emoji.get_config()
  config.update(steps=6, batch_size=4)
  config.data.resolution = 8
  config.networks.update(width=4, channel_base=16)
  config.method.update(z_dim=3, steady_images=16, fade_images=8, batch_sizes=(8, 4), rates=(1, 2))
  return config


def stages(config):
  run = experiment.build(config)
  images = [(span.stop - span.start) * span.batch_size for span in run.spans]
  return run, images, [span.source['resolution'] for span in run.spans]


def test_levels_are_those_of_the_published_settings():
  run, images, sides = stages(progressive_cifar.get_config())
  assert sides == [4, 8, 8, 16, 16, 32, 32]
  assert images == [400_000] * 6 + [20_000_000 - 6 * 400_000]
  assert [span.stage.reset_opt for span in run.spans] == [False] + [True] * 6
  assert [phase.name for phase in run.method.phases[:2]] == ['G', 'D']  # from one batch of fakes
  run, images, sides = stages(progressive_celebahq.get_config())
  assert sides == [4, *(4 << i for i in range(1, 9) for _ in range(2))]
  batches = {256: 14, 512: 6, 1024: 3}
  assert [span.batch_size for span in run.spans] == [batches.get(side, 16) for side in sides]
  assert all(800_000 <= n < 800_006 + 8 for n in images[:-1])
  assert sum(images) == pytest.approx(19e6, rel=1e-5)
  run, images, sides = stages(stylegan_ffhq1024.get_config())
  assert sides == [8, *(8 << i for i in range(1, 8) for _ in range(2))]
  batches, rates = {8: 256, 16: 128, 32: 64}, {128: 1.5, 256: 2, 512: 3, 1024: 3}
  assert [span.batch_size for span in run.spans] == [batches.get(side, 32) for side in sides]
  assert [span.stage.rate for span in run.spans] == [rates.get(side, 1) for side in sides]
  assert sum(images) == pytest.approx(25e6, rel=1e-5)


@pytest.mark.slow
def test_pictures_of_stylegan_follow_from_its_styles():
  """At every level; the affines are those of its layers: without one its style moves nothing."""
  config = stylegan_ffhq1024.get_config()
  config.update(steps=100, batch_size=4)
  config.data.resolution = 16
  config.networks.update(width=4, channel_base=24, w_dim=6, mapping_layers=2)
  config.method.update(z_dim=5, steady_images=8, fade_images=8, batch_sizes=(4, 4), rates=())
  run = experiment.build(config)
  method, seeds = run.method, np.arange(3)
  state = jax.jit(run.init)(jax.random.key(0))
  # Strengths of noise and the mean style start at 0.
  lift = lambda path, x: x + 0.3 if 'noise_strength' in jax.tree_util.keystr(path) else x
  params = jax.tree_util.tree_map_with_path(lift, state.params)
  mean = {'styles': {'w_avg': jnp.full(6, 0.5)}}
  state = state.replace(params=params, stats={**state.stats, 'G': state.stats['G'] | mean})
  rows = method.rows(seeds, {}, truncation=0.7, cutoff=2)
  found = styles.find(method, state, rows)
  assert found['w'].shape == (3, *styles.shape(method, state)) == (3, 6, 6)
  still = method.rows(seeds, {}, truncation=0.7, cutoff=2, noise='constant')
  for span in run.spans:
    draw = lambda rows, state=state, stage=span.stage: stage.sample(state, rows, train=False)[0]
    np.testing.assert_allclose(draw(found), draw(rows), atol=1e-6)
    for other in (method.rows(seeds, {}), still):
      assert np.abs(draw(other) - draw(rows)).max() > 1e-3
  affines = method.styles.affines(state)
  assert [x.shape for x in affines] == [(6, 8)] * 2 + [(6, 2 * n) for n in (3, 3, 1, 1)]
  layers = state.params['G']['synthesis']
  for i, affine in enumerate(affines):
    assert affine is layers[f'b{4 << i // 2}_style{i % 2}']['affine']['kernel']


@pytest.mark.parametrize('fields, message', [
  ({'batch_size': 8}, r'config.batch_size=8 is that of the last level, of which.*says 4'),
  ({'method.batch_sizes': (4,)}, r'method.batch_sizes=\(4,\) must be 2 numbers above 0, one a level'),
  ({'method.rates': (1, 0)}, r'method.rates=\(1, 0\) must be 2 numbers above 0'),
  ({'method.first_level': 2}, r'method.first_level=2 must be from 0 to 1'),
  ({'method.fade_images': 0}, r'method.fade_images=0 must be a whole number from 1'),
  ({'method.mixing': 0.9}, r'method.mixing=0.9 must be finite and in \[0, 0\]'),
  ({'method.loss': 'hings'}, r"method.loss='hings' is not known.*hinge"),
  ({'steps': 4}, r'steps=4 cannot be laid out over the stages.*\[2, 2, 0\]'),
])  # fmt: skip
def test_refusals(fields, message):
  config = tiny()
  config.update_from_flattened_dict(fields)
  with pytest.raises(UserError, match=message):
    experiment.build(config)


def test_networks_that_do_not_grow():
  config = tiny()
  config.networks = dict(name='mlp', width=10)
  with pytest.raises(UserError, match='networks that grow'):
    experiment.build(config)
