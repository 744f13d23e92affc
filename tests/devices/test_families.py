"""One update of each family of networks and methods, on one device and on four, in float64."""

import jax
import numpy as np
import pytest
from test_recipes import example, shrunk

from ganjax import run_state
from ganjax.devices import sharding
from ganjax.update import active

# DCGAN, pix2pix, CycleGAN and ADA have such tests of their own.
FAMILIES = (
  'stylegan2_emoji',
  'stylegan3_emoji',
  'progressive_emoji',
  'fastgan_emoji',
  'cut_emoji',
  'srgan_emoji',
  'text_emoji',
  'attngan_emoji',
  'mocogan_emoji',
  'dvdgan_emoji',
  'vid2vid_emoji',
  'can_emoji',
  'gangogh_wikiart',
  'wavegan_notes',
  'specgan_notes',
  'musegan_chorales',
  'wgan_gp_text',
  'gan3d_solids',
  'molgan_smiles',
)


def train(run, state, mesh):
  """(parameters, metrics) after one update with all phases that step 0 has."""
  span = run.spans[0]
  with jax.set_mesh(mesh):
    batches = (sharding.place_batch(example(run, span), mesh),) * run.method.n_critic
    draw = lambda shape: 0.1 * np.random.default_rng(0).normal(size=shape.shape).astype(shape.dtype)
    frozen = {n: jax.tree.map(draw, net.variables) for n, net in run.method.frozen.items()}
    state, metrics = run.update(span)(
      sharding.replicate(state, mesh), batches, frozen, phases=active(span.stage, 0)
    )
    return jax.device_get((state.params, metrics))


@pytest.mark.slow
@pytest.mark.parametrize('name', FAMILIES)
def test_one_and_four_devices_agree(name):
  with jax.enable_x64(True):
    run = shrunk(name, dtype='float64', param_dtype='float64')
    alone, together = (sharding.make_mesh(jax.devices()[:count]) for count in (1, 4))
    with jax.set_mesh(alone):
      state, *_ = run_state.start(run, alone)
    # The update frees the state that it is given; four devices get a copy.
    four, one = (train(run, state, mesh) for mesh in (together, alone))
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(four)):
    # Adam turns gradients near 0 into steps of any size up to its rate.
    np.testing.assert_allclose(y, x, rtol=1e-7, atol=1e-7, err_msg=jax.tree_util.keystr(path))
