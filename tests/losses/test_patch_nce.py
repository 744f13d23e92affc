"""PatchNCE: closed forms, where its gradient goes, and whom a patch is compared with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.losses.patch_nce import patch_nce


def unit(*shape, seed=0):
  x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_of_features_that_stayed_the_same():
  """log(1 + sum over the others of exp((s_ij - 1) / T))."""
  x = unit(2, 5, 4)
  others = [
    [np.delete(np.exp((one[i] @ one.T - 1) / 0.07), i).sum() for i in range(5)] for one in x
  ]
  np.testing.assert_allclose(patch_nce(x, x), np.log1p(others).mean(), rtol=1e-4)
  same = np.tile(unit(1, 1, 4), (2, 5, 1))
  np.testing.assert_allclose(patch_nce(same, same), np.log(5), rtol=1e-5)
  np.testing.assert_allclose(patch_nce(np.eye(4)[None], np.eye(4)[None], 0.01), 0, atol=1e-6)


def test_pictures_are_apart_and_keys_are_constants():
  query, key = unit(2, 5, 4), unit(2, 5, 4, seed=1)
  apart = [patch_nce(query[i : i + 1], key[i : i + 1]) for i in range(2)]
  np.testing.assert_allclose(patch_nce(query, key), np.mean(apart), rtol=1e-5)
  by_query, by_key = jax.grad(patch_nce, (0, 1))(jnp.asarray(query), jnp.asarray(key))
  assert np.abs(by_query).max() > 0 and np.abs(by_key).max() == 0
  with pytest.raises(ValueError, match='equal shapes'):
    patch_nce(query, key[:, :4])
