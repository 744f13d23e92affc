"""Regularizers of the generator."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ganjax.dtypes import wide, widen


def orthogonal(params: dict) -> jax.Array:
  """|W^T W * (1 - I)|^2 over the weights W of a network, a column per output (BigGAN, arXiv:1809.11096, equation 3).

  Only the angles between columns count, not their lengths; the published weight beta is 1e-4. BigGAN-PyTorch adds its
  weight times the gradient 2 W (W^T W * (1 - I)), which is half of the one here: its 1e-4 is 5e-5 here. Tables of
  classes ('embedding') are left out, as in the paper's G; so are vectors. Kernels of transposed convolutions, whose
  last axis is the input, are taken as they stand.

  Args:
    params: a pytree of parameters; kernels are [..., inputs, outputs].

  Returns:
    A float32 (or wider) scalar.
  """

  def term(path, w):
    if w.ndim < 2 or path[-1].key == 'embedding':
      return 0.0
    w = widen(w).reshape(-1, w.shape[-1])
    products = w.T @ w
    return jnp.sum(products**2) - jnp.sum(jnp.diagonal(products) ** 2)

  with jax.default_matmul_precision('highest'):
    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(term, params)))


def path_length(
  synthesize: Callable[[jax.Array], jax.Array],
  w: jax.Array,
  key: jax.Array,
  mean: float | jax.Array,
  decay: float = 0.99,
) -> tuple[jax.Array, jax.Array]:
  """E (|J_w^T y| - a)^2, y ~ N(0, I) images: path length regularization (StyleGAN2, arXiv:1912.04958, equation 4).

  J is the Jacobian of the images by w, and `a` the running mean of these lengths, which is moved first; gradients go
  through its move, as in StyleGAN2's code. Images are scaled by 1 / sqrt(H W), as published.

  Args:
    synthesize: styles [B, L, W] -> images [B, H, W, C].
    w: styles; the length is over W, its square the mean over the L layers.
    key: draws y.
    mean: `a`, a scalar.
    decay: decay of `a` per step.

  Returns:
    (the scalar penalty, the new `a`, which has no gradient).
  """
  images = jax.eval_shape(synthesize, w)
  dtype = wide(images.dtype)
  y = jax.random.normal(key, images.shape, dtype) / jnp.sqrt(images.shape[1] * images.shape[2])
  slopes = jax.grad(lambda w: jnp.sum(synthesize(w) * y, dtype=dtype))(w)
  lengths = jnp.sqrt(jnp.mean(jnp.sum(slopes.astype(dtype) ** 2, -1), -1))
  mean = mean + (1 - decay) * (jnp.mean(lengths) - mean)
  return jnp.mean((lengths - mean) ** 2), jax.lax.stop_gradient(mean)
