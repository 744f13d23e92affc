"""How well pictures and texts go together, place by place and word by word (DAMSM; Xu et al. 2018, AttnGAN,
arXiv:1711.10485, section 3.2)."""

import jax
import jax.numpy as jnp
from jax import nn

# As in the authors' code; softness of the attention, of the words' maximum, and of the choice among pairs.
ATTENTION, MAXIMUM, CHOICE = 4.0, 5.0, 10.0


def words(places: jax.Array, text: jax.Array, there: jax.Array) -> jax.Array:
  """Scores [B, B], pictures by texts: how near each word is to the places of the picture that it looks at.

  Args:
    places: features of places of each picture, [B, P, F].
    text: of the words of each text, [B, L, F].
    there: which words there are, bool [B, L]; one of each text at least.

  Equations 7 to 10, with the logarithm of equation 10 taken MAXIMUM times as large, as the authors' code has it.
  """
  seen = there[None, :, None]
  scores = jnp.einsum('ipf,tlf->itpl', places, text)
  scores = nn.softmax(jnp.where(seen, scores, -jnp.inf), 3)  # the words of a place
  attention = nn.softmax(ATTENTION * scores, 2)  # the places of a word
  context = jnp.einsum('itpl,ipf->itlf', attention, places)
  near = MAXIMUM * cosine(context, text[None])
  return CHOICE * nn.logsumexp(jnp.where(there[None], near, -jnp.inf), 2)


def sentences(pictures: jax.Array, texts: jax.Array) -> jax.Array:
  """Scores [B, B] of vectors [B, F] of pictures and of texts."""
  return CHOICE * cosine(pictures[:, None], texts[None])


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
  """Of vectors along the last axis."""
  length = lambda x: jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), -1), 1e-16))
  return jnp.sum(a * b, -1) / (length(a) * length(b))


def matching(scores: jax.Array, alike: jax.Array) -> jax.Array:
  """Cross-entropy of finding each picture's text, and each text's picture, among the others of the batch; a scalar.

  Args:
    scores: [B, B].
    alike: bool [B, B], pairs of examples of one kind, which are no wrong choice for each other.
  """
  own = jnp.eye(len(scores), dtype=bool)
  scores = jnp.where(alike & ~own, -jnp.inf, scores)
  right = jnp.diagonal(scores)
  return sum(jnp.mean(nn.logsumexp(scores, axis) - right) for axis in (0, 1))
