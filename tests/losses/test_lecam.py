"""LeCam against a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.losses import lecam

RNG = np.random.default_rng(0)


def test_training_with_lecam_as_a_loop_in_numpy():
  averages, real_mean, fake_mean = lecam.start(), 0.0, 0.0
  assert {k: (float(v), v.dtype) for k, v in averages.items()} == {
    'real': (0, jnp.float32),
    'fake': (0, jnp.float32),
  }
  update, penalty = jax.jit(lecam.update), jax.jit(lecam.penalty)
  for _ in range(30):
    # Logits of both signs and orders, so that both relus cut some of them.
    real, fake = RNG.normal(0.5, 2, 8), RNG.normal(-0.5, 2, (8, 2, 2))
    expected = np.mean(np.maximum(real - fake_mean, 0) ** 2)
    expected += np.mean(np.maximum(real_mean - fake, 0) ** 2)
    logits = jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32)
    np.testing.assert_allclose(penalty(averages, *logits), expected, rtol=1e-5)
    averages = update(averages, *logits)
    real_mean = 0.99 * real_mean + 0.01 * real.mean()
    fake_mean = 0.99 * fake_mean + 0.01 * fake.mean()
    np.testing.assert_allclose(averages['real'], real_mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(averages['fake'], fake_mean, rtol=1e-4, atol=1e-6)
  assert abs(real_mean) > 0.02 and abs(fake_mean) > 0.02
  half = lecam.update(averages, *logits, decay=0.5)
  np.testing.assert_allclose(half['real'], (averages['real'] + real.mean()) / 2, rtol=1e-5)


def test_the_gradient_is_that_of_the_logits_alone():
  averages = {'real': jnp.float32(1.0), 'fake': jnp.float32(-0.5)}
  real, fake = jnp.array([2.0, -3, 0.5]), jnp.array([0.0, 4, -1])
  slopes = jax.grad(lecam.penalty, (0, 1, 2))(averages, real, fake)
  assert slopes[0] == {'real': 0, 'fake': 0}
  np.testing.assert_allclose(slopes[1], 2 * np.array([2.5, 0, 1]) / 3, rtol=1e-6)
  np.testing.assert_allclose(slopes[2], -2 * np.array([1, 0, 2]) / 3, rtol=1e-6)
  for kind in averages:
    average = lambda *logits, kind=kind: lecam.update(averages, *logits)[kind]
    slopes = jax.grad(average, (0, 1))(real, fake)
    np.testing.assert_array_equal(np.concatenate(slopes), 0)


def test_half_precision_logits_are_averaged_in_float32():
  real, fake = jnp.full(300, 1.003, jnp.bfloat16), jnp.full(300, -2, jnp.bfloat16)
  averages = lecam.update(lecam.start(), real, fake, decay=0.0)
  assert {x.dtype for x in averages.values()} == {jnp.dtype('float32')}
  np.testing.assert_allclose(averages['real'], np.float32(real[0]))
  value = lecam.penalty({'real': jnp.float32(0.001), 'fake': jnp.float32(0.001)}, real, fake)
  assert value.dtype == jnp.float32
  np.testing.assert_allclose(value, (float(real[0]) - 0.001) ** 2 + 2.001**2, rtol=1e-6)
