"""AttnGAN (Xu et al. 2018, arXiv:1711.10485, section 3.1): pictures from the words of a text, in growing sizes.

The first stage draws from noise and the whole text. Each further stage doubles the maps, and each place attends to the
words. Every size has a discriminator. A bidirectional LSTM encodes texts. It is trained together with the picture
encoder (`methods/attngan.py`). Initial values are from memory of the authors' code.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax import UserError, component, media
from ganjax.layers.conv import Conv
from ganjax.layers.norm import BatchNorm
from ganjax.layers.resample import mean_pool

INIT = nn.initializers.orthogonal()


def small(
  key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
  """U(-0.1, 0.1)."""
  return jax.random.uniform(key, shape, dtype, -0.1, 0.1)


def attend(x: jax.Array, words: jax.Array, there: jax.Array) -> jax.Array:
  """What each place of x [B, H, W, C] gathers of words [B, L, C], bool [B, L] of which there are -> [B, H, W, C]."""
  scores = jnp.einsum('bhwc,blc->bhwl', x, words)
  weights = nn.softmax(jnp.where(there[:, None, None], scores, -jnp.inf))
  return jnp.einsum('bhwl,blc->bhwc', weights, words)


class TextEncoder(nn.Module):
  """Numbers of words int32 [B, L], 0 after their end -> (words [B, L, F], sentence [B, F], which words there are)."""

  vocabulary: int
  embedding: int
  features: int  # of both ends together
  dropout: float
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, words: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    words = jnp.asarray(words)
    there = (words > 0).at[:, 0].set(True)  # of no word at all, the first
    ids = jnp.where(words > 0, 1 + (words - 1) % (self.vocabulary - 1), 0)
    x = nn.Embed(self.vocabulary, self.embedding, embedding_init=small, **kinds)(ids)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    init = dict(kernel_init=small, recurrent_kernel_init=small, bias_init=small)
    ends = [nn.RNN(nn.OptimizedLSTMCell(self.features // 2, **init, **kinds)) for _ in range(2)]
    last, found = nn.Bidirectional(*ends, return_carry=True)(x, seq_lengths=there.sum(1))
    sentence = jnp.concatenate([hidden for _, hidden in last], 1)
    return jnp.where(there[..., None], found, 0), sentence, there


class ImageEncoder(nn.Module):
  """Two maps of a frozen network -> (places [B, P, F] of the first, the picture [B, F] by the mean of the second)."""

  features: int
  dtype: str
  param_dtype: str

  @nn.compact
  def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> tuple[jax.Array, jax.Array]:
    layer = dict(kernel_init=small, dtype=self.dtype, param_dtype=self.param_dtype)
    near, far = maps
    places = nn.Dense(self.features, use_bias=False, **layer)(
      near.reshape(len(near), -1, near.shape[-1])
    )
    return places, nn.Dense(self.features, **layer)(far.mean((1, 2)))


class _Net(nn.Module):
  """What both networks are made of."""

  width: int
  dtype: str
  param_dtype: str

  @property
  def layer(self):
    return dict(kernel_init=INIT, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype)

  def norm(self):
    around_one = lambda key, shape, dtype: 1 + 0.02 * jax.random.normal(key, shape, dtype)
    return BatchNorm(scale_init=around_one, dtype=self.dtype, param_dtype=self.param_dtype)


class Generator(_Net):
  """z [B, Z], noise [B, C] of the condition, what `TextEncoder` makes -> (pictures of each size, mean, log variance).

  Pictures [B, S, S, channels] are in (-1, 1). The condition is drawn from N(mean, variance), both [B, C].
  """

  sides: tuple = ()
  residuals: int = 2
  channels: int = 3

  @nn.compact
  def __call__(
    self,
    z: jax.Array,
    noise: jax.Array,
    words: jax.Array,
    sentence: jax.Array,
    there: jax.Array,
    *,
    train: bool,
  ) -> tuple[tuple[jax.Array, ...], jax.Array, jax.Array]:
    norm = lambda x: self.norm()(x, train=train)
    conv = lambda features: Conv(features, 3, padding=1, **self.layer)
    show = lambda x: jnp.tanh(conv(self.channels)(x))

    def double(x, features):
      y = Conv(2 * features, 3, padding=1, resample='up', **self.layer)(x)
      return nn.glu(norm(y))

    count = noise.shape[1]
    both = nn.glu(nn.Dense(4 * count, **{**self.layer, 'use_bias': True})(sentence))
    mean, log_variance = jnp.split(both, 2, 1)
    c = mean + jnp.exp(log_variance / 2) * noise
    levels = int(math.log2(self.sides[0])) - 2
    features = self.width * 2**levels
    x = nn.Dense(2 * 16 * features, **self.layer)(jnp.concatenate([c, z.astype(c.dtype)], 1))
    x = nn.glu(norm(x)).reshape(-1, 4, 4, features)
    for i in range(levels):
      x = double(x, features // 2 ** (i + 1))
    pictures = [show(x)]
    for _ in self.sides[1:]:
      own = nn.Dense(self.width, **self.layer)(words)
      x = jnp.concatenate([x, attend(x, own, there)], 3)
      for _ in range(self.residuals):
        y = nn.glu(norm(conv(4 * self.width)(x)))
        x += norm(conv(2 * self.width)(y))
      x = double(x, self.width)
      pictures.append(show(x))
    return tuple(pictures), mean, log_variance


class Judge(_Net):
  """The discriminator of one size."""

  side: int = 64

  def setup(self) -> None:
    half = lambda factor: Conv(factor * self.width, 4, stride=2, padding=1, **self.layer)
    same = lambda factor: Conv(factor * self.width, 3, padding=1, **self.layer)
    levels = int(math.log2(self.side)) - 2
    factors = [2**i for i in range(levels)]
    self.first = half(1)
    back = factors[-2:2:-1] if factors[-1] > 8 else []  # to 8 widths again
    self.others = [half(n) for n in factors[1:]] + [same(n) for n in back]
    self.norms = [self.norm() for _ in self.others]
    self.joint, self.joint_norm = same(min(factors[-1], 8)), self.norm()
    logit = lambda: Conv(1, 4, **{**self.layer, 'use_bias': True})
    self.plain, self.matched = logit(), logit()

  def look(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Pictures [B, S, S, C] -> features [B, 4, 4, F]."""
    x = act(self.first(x))
    for layer, norm in zip(self.others, self.norms):
      x = act(norm(layer(x), train=train))
    return x

  def alone(self, features: jax.Array) -> jax.Array:
    """Logits [B] of pictures by themselves."""
    return self.plain(features)[:, 0, 0, 0]

  def match(self, features: jax.Array, sentence: jax.Array, *, train: bool) -> jax.Array:
    """Logits [B] of pictures with texts."""
    there = jnp.broadcast_to(sentence[:, None, None], (*features.shape[:3], sentence.shape[1]))
    x = self.joint(jnp.concatenate([features, there.astype(features.dtype)], -1))
    return self.matched(act(self.joint_norm(x, train=train)))[:, 0, 0, 0]


class Discriminator(nn.Module):
  """One `Judge` a size: pictures of each, and vectors of texts -> logits [B] of each, without and with the text."""

  sides: tuple
  width: int
  dtype: str
  param_dtype: str

  def setup(self) -> None:
    kinds = dict(width=self.width, dtype=self.dtype, param_dtype=self.param_dtype)
    self.judges = [Judge(side=side, **kinds) for side in self.sides]

  def __call__(
    self, pictures: Sequence[jax.Array], sentence: jax.Array, *, train: bool
  ) -> tuple[list[jax.Array], list[jax.Array]]:
    features = self.look(pictures, train=train)
    return self.alone(features, train=train), self.match(features, sentence, train=train)

  def look(self, pictures: Sequence[jax.Array], *, train: bool) -> list[jax.Array]:
    return [judge.look(x, train=train) for judge, x in zip(self.judges, pictures)]

  def alone(self, features: list[jax.Array], *, train: bool) -> list[jax.Array]:
    return [judge.alone(x) for judge, x in zip(self.judges, features)]

  def match(
    self, features: list[jax.Array], sentence: jax.Array, *, train: bool
  ) -> list[jax.Array]:
    return [judge.match(x, sentence, train=train) for judge, x in zip(self.judges, features)]


def act(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, 0.2)


def sizes(image: jax.Array, sides: Sequence[int]) -> list:
  """A picture [B, S, S, C] at each of the sides, of which S is the last: means of its pixels."""
  found = [image]
  for _ in sides[1:]:
    found.insert(0, mean_pool(found[0]))
  return found


def build(
  *,
  resolution: int | Sequence[int],
  channels: int,
  sides: Sequence[int] = (64, 128, 256),
  width: int = 32,
  width_D: int = 64,
  residuals: int = 2,
  vocabulary: int = 8192,
  embedding: int = 300,
  features: int = 256,
  dropout: float = 0.5,
  dtype: str = 'float32',
  param_dtype: str = 'float32',
) -> dict[str, nn.Module]:
  """The networks {'T', 'I', 'G', 'D'}.

  Args:
    resolution: side of the largest pictures, the last of `sides`.
    channels: of the pictures.
    sides: sides of the pictures of each stage, each twice the one before, powers of 2 from 8.
    width: channels of G's largest maps.
    width_D: channels of the first maps of each discriminator.
    residuals: residual blocks of each stage after the first.
    vocabulary: number of words that T distinguishes.
    embedding, features: length of a word's vector before and after T's LSTM; `features` is also the length for
      sentences and image regions.
    dropout: fraction of a word's vector that T drops in training.
    dtype, param_dtype: dtypes of activations and of parameters.

  Raises:
    UserError: sizes that do not fit.
  """
  sides = tuple(sides)
  whole = all(isinstance(n, int) and n >= 8 and not n & (n - 1) for n in sides)
  grows = all(2 * a == b for a, b in zip(sides, sides[1:]))
  if not (sides and whole and grows and media.sides(resolution) == (sides[-1], sides[-1])):
    raise UserError(
      f'networks.sides={sides} must be powers of 2 from 8, each twice the one before, up to '
      f'data.resolution={resolution}'
    )
  component.check_depth(residuals=residuals)
  if (
    min(width, width_D, residuals, embedding) < 1 or vocabulary < 2 or features < 2 or features % 2
  ):
    raise UserError(
      f'networks.width={width}, width_D={width_D}, residuals={residuals} and embedding={embedding} must be at least 1, '
      f'vocabulary={vocabulary} at least 2, and features={features} even'
    )
  if not 0 <= dropout < 1:
    raise UserError(f'networks.dropout={dropout} must be in [0, 1)')
  kinds = dict(dtype=dtype, param_dtype=param_dtype)
  return {
    'T': TextEncoder(vocabulary, embedding, features, dropout, **kinds),
    'I': ImageEncoder(features, **kinds),
    'G': Generator(width, sides=sides, residuals=residuals, channels=channels, **kinds),
    'D': Discriminator(sides, width_D, **kinds),
  }
