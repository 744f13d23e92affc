"""AttnGAN (Xu et al. 2018, arXiv:1711.10485): pictures from texts, word by word.

A batch has `image` [B, H, W, C] and `words` int32 [B, L], the numbers of its caption's words. First a text encoder and
a picture encoder learn to match texts and pictures (DAMSM). The picture encoder sees maps of a frozen network; the
authors take Inception-v3. Then G and D are trained too. D sees pictures of several sizes, with and without the text.
G's loss also measures how well the words match its largest picture.
"""

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError, features, media
from ganjax.layers.resample import interpolate
from ganjax.losses import adversarial, damsm
from ganjax.method import Aux, Frozen, Method, Phase, Stage, apply, named
from ganjax.networks.attngan import sizes
from ganjax.sampling import latents


def build(
  nets: dict[str, linen.Module],
  *,
  fields: dict[str, media.Field],
  z_dim: int = 100,
  condition_dim: int = 100,
  pretrain: int | float = 0.2,
  damsm_weight: float = 5.0,
  kl_weight: float = 1.0,
  network: str = 'efficientnet_lite0',
  side: int = 128,
  alike: str = 'label',
) -> Method:
  """Two stages: the encoders alone, then an update of D and one of G a step, on the same fakes.

  Args:
    nets: {'T': words -> (words, sentence, which there are), 'I': two maps -> (places, picture), 'G': (z, noise, and
      what T makes) -> (pictures of each size, mean, log variance), 'D': (pictures, sentence) -> logits}.
    fields: of the data.
    z_dim, condition_dim: lengths of the latent and of the condition that is drawn from the text, both N(0, I).
    pretrain: length of the first stage: a number of steps, or a fraction of all steps.
    damsm_weight: lambda of equation 3: 5 for birds, 50 for COCO.
    kl_weight: weight of the condition's Kullback-Leibler divergence from N(0, I).
    network: the frozen network, of `ganjax.features`, with `TAPS`. The last map but one gives the image regions.
    side: side in pixels to which pictures are enlarged for the frozen network, a multiple of 32.
    alike: a field of the data: examples with the same value are no wrong matches for each other. Without the field,
      examples with the same words.

  Raises:
    UserError: a value that is none of these.
  """
  T, I, G, D = (nets[name] for name in 'TIGD')
  latents.check_length(z_dim)
  latents.check_length(condition_dim)
  if not isinstance(pretrain, (int, float)) or pretrain <= 0:
    raise UserError(f'method.pretrain={pretrain!r} must be a number of steps, or a share of them')
  if not min(damsm_weight, kl_weight) >= 0:
    raise UserError(
      f'method.damsm_weight={damsm_weight} and kl_weight={kl_weight} must be numbers from 0'
    )
  if not isinstance(side, int) or side < 64 or side % 32 or side > 2**12:
    raise UserError(f'method.side={side} must be a multiple of 32 from 64 to 4096')
  if 'words' not in fields:
    raise UserError('method.name=attngan needs data.words: how many words of a caption are read')
  frozen = Frozen(network, *features.frozen(network))
  own = features.module(network)
  near, far = list(own.TAPS)[-2:]
  F = own.Network(dtype=getattr(G, 'dtype', 'float32'), taps=(near, far), name='F')
  channels = fields['image'].shape[2]
  if channels not in (1, 3):
    raise UserError(f'method.name=attngan takes pictures of 1 or 3 channels, not {channels}')

  def match(state, images, text, kinds):
    """Losses of finding texts by words and by sentences, and the share of pictures whose sentence is found."""
    words, sentence, there = text
    seen = features.see(network, interpolate(images, (side, side)))
    maps = apply(F, state, seen, train=False)[0]
    (places, pictures), _ = apply(I, state, maps, train=True)
    found = damsm.sentences(pictures, sentence)
    terms = {
      'loss_words': damsm.matching(damsm.words(places, words, there), kinds),
      'loss_sentence': damsm.matching(found, kinds),
    }
    others = jnp.where(kinds & ~jnp.eye(len(kinds), dtype=bool), -jnp.inf, found)
    right = jnp.argmax(others, 1) == jnp.arange(len(kinds))
    return terms, jnp.mean(right.astype(found.dtype))

  def kinds_of(batch):
    x = batch[alike] if alike in batch else batch['words']
    x = x.reshape(len(x), -1)
    return jnp.all(x[:, None] == x[None], 2)

  def read(state, batch):
    return apply(T, state, batch['words'], train=False)[0]

  def encoders(state, batch, key):
    """The loss of T and I, the sum of its metrics loss_*."""
    text, state = apply(T, state, batch['words'], train=True, key=named(key, 'dropout'))
    terms, right = match(state, batch['image'], text, kinds_of(batch))
    return sum(terms.values()), Aux(state, {**terms, 'found_in_batch': right})

  def draw(key, batch):
    count = len(batch['image'])
    return (
      latents.normal(named(key, 'z'), count, z_dim),
      latents.normal(named(key, 'condition'), count, condition_dim),
    )

  def run(state, method, *args):
    return apply(D, state, *args, method=method, train=True)

  def discriminator(state, batch, key):
    """D's loss, the sum of its metrics loss_*, over all sizes. Keeps D's statistics of all passes; G's are dropped."""
    drawn, text = draw(key, batch), read(state, batch)
    sentence = text[1]
    (fakes, *_), _ = apply(G, state, *drawn, *text, train=True)
    looks = {}
    looks['real'], state = run(state, 'look', sizes(batch['image'], G.sides))
    looks['fake'], state = run(state, 'look', fakes)
    # Real pictures with the texts of their neighbours.
    looks['mismatched'] = [jnp.roll(x, -1, 0) for x in looks['real']]
    logits = {}
    for name, x in looks.items():
      logits[f'{name}_text'], state = run(state, 'match', x, sentence)
    for name in 'real', 'fake':
      logits[name], state = run(state, 'alone', looks[name])
    target = lambda name: 'loss_real' if name.startswith('real') else 'loss_fake'
    terms = {}
    for name, some in logits.items():
      share = 1 / 2 if name.startswith('real') else 1 / 3
      losses = [adversarial.non_saturating_D(x, x)[target(name)] for x in some]
      terms[f'loss_{name}'] = share * sum(losses)
    means = {f'D_{name}': jnp.mean(some[-1]) for name, some in logits.items()}
    # G's phase draws the same fakes, so that XLA makes them once.
    return sum(terms.values()), Aux(state, {**terms, **means}, {'z': drawn[0], 'noise': drawn[1]})

  def generator(state, batch, key):
    """G's loss, the sum of its metrics (equation 3). Keeps G's statistics; D's are dropped."""
    text = read(state, batch)
    made, state = apply(G, state, batch['z'], batch['noise'], *text, train=True)
    fakes, mean, log_variance = made
    (alone, matched), _ = apply(D, state, fakes, text[1], train=True)
    # log_variance is that of a Gaussian: its divergence from N(0, I), the mean over numbers.
    kl = -jnp.mean(1 + log_variance - mean**2 - jnp.exp(log_variance)) / 2
    found, right = match(state, fakes[-1], text, kinds_of(batch))
    terms = {
      'loss_G': sum(map(adversarial.non_saturating_G, alone)),
      'loss_G_text': sum(map(adversarial.non_saturating_G, matched)),
      'loss_kl': kl_weight * kl,
      **{f'{name}_G': damsm_weight * term for name, term in found.items()},
    }
    return sum(terms.values()), Aux(state, {**terms, 'G_found_in_batch': right})

  def inputs(batch):
    count, words = len(batch['image']), batch['words']
    maps, _ = jax.eval_shape(
      F.init_with_output, jax.random.key(0), jnp.zeros((count, side, side, 3))
    )
    zeros = lambda x: jnp.zeros(x.shape, x.dtype)
    text = [
      jnp.zeros((count, words.shape[1], T.features)),
      jnp.zeros((count, T.features)),
      words >= 0,
    ]
    return {
      'T': (words,),
      'I': ([zeros(x) for x in maps],),
      'G': (jnp.zeros((count, z_dim)), jnp.zeros((count, condition_dim)), *text),
      'D': (sizes(batch['image'], G.sides), text[1]),
    }

  def rows(seeds, examples, truncation=0.0):
    """A latent for each seed, noise of the condition, and the words of its text."""
    drawn = latents.per_seed(seeds, z_dim + condition_dim, truncation=truncation)
    return {'z': drawn[:, :z_dim], 'noise': drawn[:, z_dim:], 'words': examples['words']}

  def sample(state, row, **mode):
    made, state = apply(G, state, row['z'], row['noise'], *read(state, row), **mode)
    return made[0][-1], state

  second = Phase('D', discriminator, ('D',), 'D'), Phase('G', generator, ('G',), 'G')
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    options={'truncation': 0.0},
    stages=(
      Stage((Phase('damsm', encoders, ('T', 'I'), 'damsm'),), sample, steps=pretrain),
      Stage(second, sample),
    ),
    ema=('G',),
    frozen={'F': frozen},
    examples=('text', 'words'),
  )
