"""layers/filtered.py: both forms of the filters are one map; waves are even over a disc, and move with a transform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.devices import backend
from ganjax.layers import filtered
from ganjax.sampling import latents

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('up, radial', [(2, True), (4, False)])
def test_matrices_and_convolutions_are_one_map(monkeypatch, up, radial):
  taps = filtered.lowpass(6 * up, 2.0, 10.0, 64.0), filtered.lowpass(12, 3.0, 9.0, 64.0, radial)
  x = jnp.asarray(RNG.normal(size=(2, 12, 12, 3)), jnp.float32)
  ct = jnp.asarray(RNG.normal(size=(2, 8, 8, 3)), jnp.float32)
  run = lambda x: filtered.filtered_leaky_relu(x, 8, up, 2, *taps, 1.0)

  def both(x):
    value, pull = jax.vjp(run, x)
    return value, pull(ct)[0]

  found = []
  for units in False, True:
    monkeypatch.setattr(backend, 'has_matrix_units', lambda units=units: units)
    found.append(jax.jit(lambda x: both(x))(x))  # noqa: PLW0108 (traced anew)
  for a, b in zip(*found):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  assert np.abs(found[0][0]).max() > 0.1


def test_a_constant_stays_but_for_its_nonlinearity():
  taps = filtered.lowpass(12, 8.0, 16.0, 64.0)
  x = jnp.ones((1, 40, 40, 1)) * jnp.array([-1.0, 2.0])
  y = filtered.filtered_leaky_relu(x, 36, 2, 2, taps, taps, 0.0)[0, 15:20, 15:20]
  np.testing.assert_allclose(y, jnp.broadcast_to(jnp.array([-0.2, 2.0]) * 2**0.5, y.shape), 1e-3)


def test_waves_are_even_over_a_disc_and_move():
  net = filtered.FourierInput(500, 6, 4.0, 2.0, 'float32')
  w = jnp.zeros((5, 3))
  places = (0, 0, 0), (0.25, 0, 0), (0, 0.25, 0), (0, 0, 90), (0.25, 0, 90)
  transforms = jnp.stack([latents.transform(*map(float, place)) for place in places])
  run = jax.jit(lambda: net.init_with_output(jax.random.key(0), w, transforms))
  (still, right, down, turned, both), variables = run()
  length = np.linalg.norm(variables['fourier']['freqs'], axis=1)
  assert length.max() <= 2
  # The share within a radius is that of the area.
  np.testing.assert_allclose(np.mean(length < 1), 0.25, atol=0.06)
  phases = variables['fourier']['phases']
  assert -0.5 <= phases.min() < -0.49 and 0.5 >= phases.max() > 0.49
  # A quarter of the picture's side is one pixel at a rate of 4 to it; y points down.
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4)
  close(right[:, 1:], still[:, :-1])
  close(down[1:], still[:-1])
  close(turned, np.rot90(still))
  close(both[:, 1:], np.rot90(still)[:, :-1])  # the turn comes first
  np.testing.assert_array_equal(variables['params']['affine_bias'], [1, 0, 0, 0])
