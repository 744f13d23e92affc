"""views/blur.py: the published weights along both axes, zeros outside, and none at a sigma of 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError
from ganjax.method import TrainState
from ganjax.views import view
from ganjax.views.blur import blur

X = np.random.default_rng(0).normal(size=(2, 24, 18, 3)).astype(np.float32)


def test_weights_fall_by_half_at_sigma_and_end_at_three_of_it():
  run = jax.jit(blur)
  for sigma in 1.5, 4.0:
    d = np.arange(-int(3 * sigma), int(3 * sigma) + 1)
    weights = 2.0 ** -((d / sigma) ** 2)
    wanted = X
    for axis in 1, 2:
      line = lambda row: np.convolve(row, weights / weights.sum())[len(d) // 2 :][: len(row)]  # noqa: B023
      wanted = np.apply_along_axis(line, axis, wanted)
    np.testing.assert_allclose(run(X, sigma), wanted, atol=1e-5)
  np.testing.assert_allclose(run(X, 0.0), X, atol=1e-6)


def test_a_view_blurs_as_far_as_the_step_says():
  fades = view.build(blur=dict(start=4.0, end=0.0, steps=10, shape='linear'))
  state = TrainState(jnp.int32(5), (), {}, {}, {}, {}, {})
  see = jax.jit(lambda step: fades.see(state.replace(step=step), X, None))
  np.testing.assert_allclose(see(5), blur(X, 2.0), atol=1e-5)
  np.testing.assert_allclose(see(20), X, atol=1e-5)
  np.testing.assert_array_equal(view.build().see(state, X, None), X)
  with pytest.raises(UserError, match=r'method.blur=101.0 must be finite and in \[0, 100\]'):
    view.build(blur=101.0)
