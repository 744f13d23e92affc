"""AdaIN style transfer (Huang and Belongie 2017, arXiv:1703.06868): a picture in the style of another, in one pass.

A batch has `source` [B, H, W, C], the content pictures, and `target`, the style pictures. They need not match. A frozen
encoder sees both. Each channel of the content's features gets the mean and deviation of the style's. G, the decoder,
makes a picture from them. Its loss compares what the encoder sees in this picture. There is no discriminator.
"""

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError, features, media
from ganjax.layers.norm import instance_norm
from ganjax.method import Aux, Frozen, Method, Phase, Stage, apply
from ganjax.wording import closest

# Maps that the style is compared in. The last, of an eighth of the sides, is the one that is brought to the style.
ENCODERS = {
  'vgg19_normalised': ('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1'),
  'vgg19': ('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1'),
  'efficientnet_lite0': ('block_0', 'block_2', 'block_4'),
}


def build(
  nets: dict[str, linen.Module],
  *,
  fields: dict[str, media.Field],
  network: str = 'vgg19_normalised',
  content_weight: float = 1.0,
  style_weight: float = 0.01,
) -> Method:
  """A step is an update of G.

  Args:
    nets: {'G': features [B, H / 8, W / 8, F] -> pictures [B, H, W, C]}.
    fields: of the data.
    network: the encoder, of ENCODERS: 'vgg19_normalised' in the paper. With 'efficientnet_lite0' loss weights and
      results are not comparable.
    content_weight: weight of the mean squared difference of features (equation 12).
    style_weight: weight of the squared differences of means and deviations, summed over channels and maps (equation
      13).

  Raises:
    UserError: a value that is none of these, or pictures that an encoder does not take.
  """
  G = nets['G']
  if network not in ENCODERS:
    raise UserError(
      f'method.network={network!r} is not known{closest(str(network), ENCODERS)}; there are {", ".join(ENCODERS)}'
    )
  if not min(content_weight, style_weight) >= 0:
    raise UserError(
      f'method.content_weight={content_weight} and style_weight={style_weight} must be numbers from 0'
    )
  height, width, channels = fields['source'].shape
  if channels not in (1, 3):
    raise UserError(f'method.name=adain takes pictures of 1 or 3 channels, not {channels}')
  F = features.module(network).Network(
    dtype=getattr(G, 'dtype', 'float32'), taps=ENCODERS[network], name='F'
  )
  frozen = Frozen(network, *features.frozen(network), samples=True)

  def look(state, images):
    """The maps of the encoder, in float32."""
    return apply(F, state, features.see(network, images), train=False)[0]

  def generator(state, batch, key):
    """G's loss, the sum of its metrics."""
    content, styles = (look(state, batch[name]) for name in ('source', 'target'))
    wanted = jax.lax.stop_gradient(transfer(content[-1], styles[-1]))
    fakes, state = apply(G, state, wanted, train=True)
    made = look(state, fakes)
    terms = {
      'loss_content': content_weight * jnp.mean(jnp.square(made[-1] - wanted)),
      'loss_style': style_weight * sum(style_distance(a, b) for a, b in zip(made, styles)),
    }
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    image = jnp.zeros((len(batch['source']), height, width, 3))
    maps, _ = jax.eval_shape(F.init_with_output, jax.random.key(0), image)
    return {'G': (jnp.zeros(maps[-1].shape),)}

  def rows(seeds, examples, alpha=1.0):
    """Content, style, and how far the features go from the one to the other."""
    whole = jnp.full(len(seeds), alpha, jnp.float32)
    return {'source': examples['source'], 'target': examples['target'], 'alpha': whole}

  def sample(state, row, **mode):
    content, style = (look(state, row[name])[-1] for name in ('source', 'target'))
    moved = transfer(content, style) - content
    return apply(G, state, content + row['alpha'][:, None, None, None] * moved, **mode)

  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    stages=(Stage((Phase('G', generator, ('G',), 'G'),), sample),),
    ema=('G',),
    frozen={'F': frozen},
    makes='target',
    examples=('source', 'target'),
    multiple=G.multiple,
    tiled=False,  # each tile would be brought to the style by itself
    style='target',
    options={'alpha': 1.0},
  )


def moments(x: jax.Array, eps: float = 0.0) -> tuple[jax.Array, jax.Array]:
  """Means and biased deviations of each channel [B, H, W, C] -> two of [B, 1, 1, C]; `eps` is added to the variance."""
  mean = jnp.mean(x, (1, 2), keepdims=True)
  return mean, jnp.sqrt(jnp.mean(jnp.square(x - mean), (1, 2), keepdims=True) + eps)


def transfer(content: jax.Array, style: jax.Array) -> jax.Array:
  """AdaIN (equation 8): content [B, h, w, C] with each channel's mean and deviation of style [B, H, W, C]."""
  mean, deviation = moments(style)
  return deviation * instance_norm(content) + mean


def style_distance(a: jax.Array, b: jax.Array) -> jax.Array:
  """A term of equation 13, of two maps [B, H, W, C]: squared, summed over channels, divided by B."""
  # As the published code adds it, so that a channel without any contrast has a gradient.
  pairs = zip(moments(a, 1e-6), moments(b, 1e-6))
  return sum(jnp.sum(jnp.square(x - y)) for x, y in pairs) / len(a)
