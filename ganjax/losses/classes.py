"""Losses of the discriminator's class scores: pure functions `NAME(scores, label, ...) -> scalar`, which D minimises on
reals (and fakes, in AC-GAN's paper) and G on fakes.

What `scores` are is the matter of D's head: logits [B, num_classes] of its 'classifier', or of its 'proxy' the pair
(embeddings [B, E], proxies [num_classes, E]), all of unit length. `label` is int32 [B]. Similarities are taken over the
global batch.
"""

import jax
import jax.numpy as jnp

from ganjax.dtypes import widen

# Name of a loss -> head of D that it needs.
HEADS = {'auxiliary_classifier': 'classifier', 'contrastive_2c': 'proxy', 'd2d_ce': 'proxy'}


def auxiliary_classifier(scores: jax.Array, label: jax.Array) -> jax.Array:
  """-E log p(label): cross-entropy, the log-likelihood L_C of AC-GAN (arXiv:1610.09585, equation 3), negated.

  The paper trains D on it with reals and fakes (weights D and D_fake of the method), G with fakes.
  """
  return jnp.mean(_entropy(widen(scores), jax.nn.one_hot(label, scores.shape[-1], dtype=bool)))


def contrastive_2c(
  scores: tuple[jax.Array, jax.Array], label: jax.Array, temperature: float = 1.0
) -> jax.Array:
  """The conditional contrastive loss 2C of ContraGAN (arXiv:2006.12681, equation 8).

  For each sample: its own class's proxy and the other samples of its class against those and all other samples, in
  softmax of similarities / temperature.
  """
  own, pairs = _similarities(scores, label)
  n = len(label)
  same = label[:, None] == label[None]
  pairs = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, pairs / temperature)
  every = jnp.concatenate([own[:, None] / temperature, pairs], 1)
  wanted = jnp.concatenate([jnp.ones((n, 1), bool), same], 1)
  return jnp.mean(_entropy(every, wanted))


def d2d_ce(
  scores: tuple[jax.Array, jax.Array],
  label: jax.Array,
  temperature: float = 0.5,
  margin: float = 0.98,
) -> jax.Array:
  """The data-to-data cross-entropy of ReACGAN (arXiv:2111.01118, equation 8 of section 3.3).

  For each sample: its class's proxy against the samples of other classes. A similarity to the proxy above `margin`
  (m_p) counts as m_p, one to another sample below 1 - m_p as that: easy pairs have no gradient. (The authors' later
  code divides the samples' terms, but not the proxy's, by the largest of them; the paper does not, nor do we.)
  """
  own, pairs = _similarities(scores, label)
  own = jnp.minimum(own - margin, 0) / temperature
  pairs = jnp.maximum(pairs - (1 - margin), 0) / temperature
  pairs = jnp.where(label[:, None] == label[None], -jnp.inf, pairs)
  every = jnp.concatenate([own[:, None], pairs], 1)
  return jnp.mean(_entropy(every, jnp.arange(len(label) + 1)[None] == 0))


def _similarities(scores, label):
  """Those of each embedding to its class's proxy [B], and to all embeddings [B, B]."""
  embeddings, proxies = map(widen, scores)
  with jax.default_matmul_precision('highest'):
    return jnp.sum(embeddings * proxies[label], -1), embeddings @ embeddings.T


def _entropy(logits, wanted):
  """-log of the share of softmax(logits) [B, N] that falls on `wanted`, booleans [B, N]: [B]."""
  hits = jax.nn.logsumexp(logits, 1, where=jnp.broadcast_to(wanted, logits.shape))
  return jax.nn.logsumexp(logits, 1) - hits
