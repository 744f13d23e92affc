"""networks/stylegan3.py: published sizes and counts; pictures move, and turn, with their input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow

from ganjax import UserError
from ganjax.networks import stylegan3
from ganjax.sampling import latents
from ganjax.update import count

T, R = {}, dict(width=1024, channel_base=65536, rotates=True)
COUNTS = {
  (1024, False): 22_313_167, (512, False): 24_873_519, (256, False): 28_472_133, (128, False): 32_833_523,
  (1024, True): 15_093_151, (512, True): 16_665_594, (256, True): 18_816_387, (128, True): 21_366_701,
}  # fmt: skip


@pytest.mark.parametrize('side, rotates', [(1024, False), (256, True)])
def test_parameters_are_the_published_ones(side, rotates):
  G = stylegan3.build(resolution=side, channels=3, **(R if rotates else T))['G']
  shapes = jax.eval_shape(lambda: G.init(jax.random.key(0), jnp.zeros((1, 512)), train=False))
  assert count(shapes['params']) == COUNTS[side, rotates]


def test_maps_of_1024_pixels_are_those_of_the_paper():
  found = stylegan3.bands(1024, 3, 512, 32768, 14)
  assert [b.size for b in found] == [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, *[1044] * 3, 1024, 1024]  # fmt: skip
  assert [b.rate for b in found[:10]] == [16, 16, 32, 32, 64, 128, 128, 256, 256, 512]
  assert [b.features for b in found[7:]] == [323, 203, 128, 81, 51, 32, 32, 3]
  cutoffs = [2, 3.175, 5.04, 8, 12.699, 20.159, 32, 50.797, 80.635, 128, 203.187, 322.54, 512]
  np.testing.assert_allclose([b.cutoff for b in found[:13]], cutoffs, rtol=1e-4)
  widths = [6, 4.825, 10.96, 8, 19.301, 43.841, 32, 77.203, 47.365, 128, 308.813, 189.46, 118.346]
  np.testing.assert_allclose([b.width for b in found[:13]], widths, rtol=1e-4)


def decibel(a, b):
  """Signal to noise of the middle of pictures [H, W, C]."""
  a, b = a[8:-8, 8:-8], b[8:-8, 8:-8]
  return 10 * np.log10(np.var(a, (0, 1)).mean() / np.mean((a - b) ** 2))


@pytest.mark.parametrize('rotates', slow.but([False, True], True))
def test_shifts_and_turns_of_the_input_are_those_of_the_picture(rotates):
  """By whole pixels and by a quarter of a turn, untrained."""
  G = stylegan3.build(
    resolution=32, channels=3, width=8, channel_base=256, w_dim=4, layers=5, width_D=4, rotates=rotates
  )['G']  # fmt: skip
  places = (0.0, 0.0, 0.0), (3 / 32, -2 / 32, 0.0), (0.0, 0.0, 90.0)
  user = jnp.stack([latents.transform(*place) for place in places])
  w = jnp.ones((3, 7, 4))
  run = lambda: G.init_with_output(
    jax.random.key(1), w, train=False, transform=user, method='synthesize'
  )[0]
  still, moved, turned = np.asarray(jax.jit(run)())
  assert decibel(np.roll(still, (-2, 3), (0, 1)), moved) > 40 > 15 > decibel(still, moved)
  follows = decibel(np.rot90(still), turned)
  assert follows > 40 if rotates else follows < 20


@pytest.mark.parametrize('arguments, message', [
  (dict(resolution=(32, 64)), 'a square of a power of two pixels from 16, not 32x64'),
  (dict(resolution=48), 'not 48x48'),
  (dict(resolution=8), 'not 8x8'),
  (dict(width=0), r'width from 1.*got 512, 4, 0'),
  (dict(channel_base=16), 'channel_base from 32 at 32x32'),
  (dict(layers=2), 'networks.layers=2 must be from 3 to 64'),
  (dict(mapping_layers=0), 'networks.mapping_layers=0 must be from 1'),
  (dict(clamp=-1.0), 'clamp=-1.0'),
])  # fmt: skip
def test_what_networks_refuse(arguments, message):
  with pytest.raises(UserError, match=message):
    stylegan3.build(**{'resolution': 32, 'channels': 3, **arguments})
