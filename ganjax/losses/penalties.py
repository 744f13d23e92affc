"""Penalties of the discriminator: gradient penalties and consistency, which keep it smooth.

Each is `NAME(D, real, fake, key) -> scalar`, which a method multiplies by its weight:

  D: images [B, H, W, C] -> logits [B, ...].
  real, fake: images of equal shapes [B, H, W, C]; each penalty uses those in its formula.
  key: a random key, for penalties that draw.

Gradients are of the sum of D's logits. If D treats images independently, this is the gradient of each image. With batch
norm in D it is not, and the penalty differs from the published one: use another norm in D, or none. A logit map
[B, h, w] counts as its sum. Training differentiates once more, reverse over reverse.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ganjax.dtypes import wide, widen
from ganjax.losses import consistency
from ganjax.views import diffaugment


def _squares(D, images):
  """|gradient of D at each image|^2, summed over all pixels and channels: [B], in float32 at least."""
  dtype = wide(jnp.result_type(jax.eval_shape(D, images), images))
  slopes = jax.grad(lambda x: jnp.sum(D(x), dtype=dtype))(images.astype(dtype))
  return jnp.sum(slopes**2, range(1, images.ndim))


def _off_one(D, images, target=1.0):
  """E (|gradient| / target - 1)^2, with derivative 0 where a gradient is 0: the square root has none there."""
  squares = _squares(D, images)
  norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
  return jnp.mean((norms / target - 1) ** 2)


def gradient_penalty(
  D: Callable[[jax.Array], jax.Array],
  real: jax.Array,
  fake: jax.Array,
  key: jax.Array,
  target: float = 1.0,
) -> jax.Array:
  """E (|grad D(x)| - 1)^2 at x between real and fake, a point for each pair: WGAN-GP (arXiv:1704.00028, equation 3).

  The weight is the paper's lambda, 10. With a `target` it is E (|grad D(x)| / target - 1)^2 (progressive growing,
  arXiv:1710.10196, appendix A.1, where it is 750 for CIFAR-10).
  """
  share = jax.random.uniform(key, (len(real),) + (1,) * (real.ndim - 1), real.dtype)
  return _off_one(D, share * real + (1 - share) * fake, target)


def dragan(
  D: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array | None, key: jax.Array
) -> jax.Array:
  """E (|grad D(x)| - 1)^2 at x = real + std(real) / 2 * U(0, 1) of each pixel: DRAGAN (arXiv:1705.07215).

  The paper writes normal noise. Its authors' code draws uniform noise above the image, scaled by the deviation of all
  pixels of the batch, and goes a random share of the way there; chainer-gan-lib has each pixel's own deviation over the
  batch, and goes all the way. Here: the deviation of all, all the way. The weight is the paper's lambda, 10.
  """
  noise = jax.random.uniform(key, real.shape, real.dtype)
  return _off_one(D, real + jnp.std(real, dtype=float) / 2 * noise)


def r1(
  D: Callable[[jax.Array], jax.Array],
  real: jax.Array,
  fake: jax.Array | None,
  key: jax.Array | None,
) -> jax.Array:
  """E |grad D(real)|^2 / 2: R1 (arXiv:1801.04406, equation 9). The half is in here: the weight is the paper's gamma."""
  return jnp.mean(_squares(D, real)) / 2


def r2(
  D: Callable[[jax.Array], jax.Array],
  real: jax.Array | None,
  fake: jax.Array,
  key: jax.Array | None,
) -> jax.Array:
  """E |grad D(fake)|^2 / 2: R2 (arXiv:1801.04406, equation 10). The weight is the paper's gamma, as in `r1`."""
  return jnp.mean(_squares(D, fake)) / 2


def r1_difference(
  D: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array | None, key: jax.Array
) -> jax.Array:
  """E (D(real + s n) - D(real))^2 / (2 s^2), n ~ N(0, I), s = 0.01: `r1` by finite differences, without a gradient.

  Its mean over n is `r1` where D is linear over such steps; one draw of n per image spreads as chi^2 of one degree,
  sqrt(2) times its mean. For networks or kernels that have no second gradient. It is the approximation of adversarial
  flow models (Lin et al. 2025, arXiv:2511.22475), whose code takes a quarter of the batch and leaves the half away: its
  gp_scale of 0.25 is a weight of 0.5 here. D has to compute in float32: bfloat16 rounds such steps away.
  """
  return _difference(D, real, key)


def r2_difference(
  D: Callable[[jax.Array], jax.Array], real: jax.Array | None, fake: jax.Array, key: jax.Array
) -> jax.Array:
  """E (D(fake + s n) - D(fake))^2 / (2 s^2), n ~ N(0, I), s = 0.01: `r2` by a finite difference, as `r1_difference`."""
  return _difference(D, fake, key)


def _difference(D, images, key, step=0.01):
  images = images.astype(wide(images.dtype))
  moved = images + step * jax.random.normal(key, images.shape, images.dtype)
  each = lambda x: jnp.sum(widen(D(x)).reshape(len(x), -1), 1)
  return jnp.mean((each(moved) - each(images)) ** 2) / (2 * step**2)


def cr(
  D: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array | None, key: jax.Array
) -> jax.Array:
  """E (D(real) - D(T(real)))^2: consistency regularization (CR-GAN, arXiv:1910.12027, equation 2 at the last layer).

  T mirrors with probability 1/2 and moves by whole pixels, up to 1/8 of each side, rounded down (4 at 32
  pixels, 3 at 28), reflecting the border. The weight is the paper's lambda, 10. The mean is over all logits. Batch norm
  in D sees both batches apart.
  """
  return _inconsistency(D, real, key)


def bcr(
  D: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
  """`cr` of reals plus `cr` of fakes, with separate draws: balanced (bCR-GAN, arXiv:2002.04724, section 3.1).

  The weight is the paper's lambda_real and lambda_fake, which are both 10 on CIFAR-10.
  """
  keys = jax.random.split(key)
  return _inconsistency(D, real, keys[0]) + _inconsistency(D, fake, keys[1])


def _inconsistency(D, images, key):
  flip, move = jax.random.split(key)
  coins = jax.random.bernoulli(flip, 0.5, (len(images), 1, 1, 1))
  changed = jnp.where(coins, images[:, :, ::-1], images)
  changed = diffaugment.translate(changed, move, 'reflect', lambda side: side // 8)
  return consistency.zcr_D(D(images), D(changed))
