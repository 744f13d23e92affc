"""A run that grows: pictures have the size of their level; stopped at the borders of levels it is the same run."""

import jax
import numpy as np
import PIL.Image
import pytest
from test_dispatch import Signalled, configure, train  # noqa: F401

from ganjax import config as configs
from ganjax import experiment


def tiny():
  """4x4 for two steps, two of a fade, two of 8x8; in float64."""
  config = configure(steps=6, batch_size=4, steps_per_dispatch=1)
  config.update(log_every_steps=1, sample_every_steps=2, checkpoint_every_steps=6)
  kinds = dict(dtype='float64', param_dtype='float64')
  config.networks = dict(name='progressive', width=4, channel_base=16, mbstd_group=4, **kinds)
  steps = dict(steady_images=16, fade_images=8, batch_sizes=(8, 4))
  config.method = dict(name='progressive', z_dim=3, gp_weight=10.0, drift=0.001, **steps)
  adam = configs.adam(lr=1e-3, b1=0.0, b2=0.99)
  config.optim = dict(G=adam, D=adam)
  config.ema.update(half_life_images=20, rampup=0.0)
  return config


@pytest.mark.slow
def test_stopped_at_the_borders_of_levels_it_is_the_same_run(train, tmp_path):  # noqa: F811
  status, whole, lines = train('whole', tiny())
  assert status == 0
  assert [line['alpha'] for line in lines] == [1, 1, 0, 0.5, 1, 1]
  # Optimizers count the steps of the last stage alone.
  counts = [x for x in jax.tree.leaves(whole['opt']) if np.ndim(x) == 0]
  assert counts and all(count == 2 for count in counts)
  for step, side in (0, 4), (2, 4), (4, 8), (6, 8):
    with PIL.Image.open(tmp_path / f'whole/samples/{step:08}.png') as grid:
      assert grid.size == (8 * side, 8 * side), step
  for last in 2, 4:
    Signalled.last = last
    status, border, _ = train('parts', tiny(), make=lambda c: Signalled(*experiment.build(c)))
    assert status == 143 and border['step'] == last
  status, resumed, _ = train('parts', tiny())
  assert status == 0
  jax.tree.map(np.testing.assert_array_equal, resumed, whole)
