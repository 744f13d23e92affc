"""vid2vid (Wang et al. 2018, arXiv:1808.06601, section 3): clips translated frame by frame, learnt from pairs.

A batch has `source` [B, T, H, W, S], such as edges or labels, and `target` [B, T, H, W, C]. G makes a frame of the
labels of three frames and of the two frames that it made before. One discriminator sees a frame with its labels, others
see three frames, near and far. Where the data have the true `flow` [B, T, H, W, 2], G's flow is held to it, and it is
the condition of the discriminators of clips. The paper has it from FlowNet2, which is not here. Without it these see
frames alone, and the second part of L_W (section 3) alone teaches flow: the previous frame of the target, warped, shall
be this one.

As in the authors' code with its option no_first_img the first frame is the hallucinated picture, and the frames before
it are grey. Here the labels before the first are the first. No gradient goes from a frame to the ones before. The
distance of VGG19's features is left out.
"""

import jax
import jax.numpy as jnp
from flax import linen

from ganjax import UserError, media
from ganjax.devices import backend
from ganjax.layers.warp import warp
from ganjax.losses import translation
from ganjax.method import Aux, Method, Phase, Stage, apply, named
from ganjax.networks.vid2vid import BEFORE, FLOW_UNIT, STRETCH, spacing

SURE = 0.02  # squared distance of colours from which on a flow does not explain a pixel


def build(
  nets: dict[str, linen.Module],
  *,
  fields: dict[str, media.Field],
  loss: str = 'least_squares',
  feature_weight: float = 10.0,
  flow_weight: float = 10.0,
  warp_weight: float = 10.0,
  mask_weight: float = 1.0,
) -> Method:
  """A step is an update of G, then one of all discriminators, on the frames that G made before its update.

  Args:
    nets: {'G': (labels, previous frames) -> (frame, hallucinated picture, flow, mask); 'D_frames': labels and frame ->
      maps of each scale; 'D_clips_0', ...: three frames, and their flows where they are known -> such maps}.
    fields: of the data.
    loss: 'least_squares' or 'non_saturating', see `losses/translation.py`; summed over the scales.
    feature_weight: weight of the L1 distance of the discriminators' maps (pix2pixHD, arXiv:1711.11585, equation 4).
    flow_weight: weight of the L1 distance from the true flow, in pixels.
    warp_weight: of the L1 distance of the target, warped by G's flow, from the target. With the true flow also of each
      frame of G from the one before, warped by it.
    mask_weight: weight of the mask where the true flow explains the target: there G should take the warped frame.

  Raises:
    UserError: a value that is none of these.
  """
  G = nets['G']
  loss_D, loss_G = translation.pair(loss)
  weights = dict(feature=feature_weight, flow=flow_weight, warp=warp_weight, mask=mask_weight)
  for name, weight in weights.items():
    if not isinstance(weight, (int, float)) or weight < 0:
      raise UserError(f'method.{name}_weight={weight!r} must be a number from 0')
  # Of the names of their terms.
  ends = {name: name.removeprefix('D') for name in nets if name != 'G'}
  rates = range(len(ends) - 1)
  (length, *_, channels), knows_flow = fields['target'].shape, 'flow' in fields

  def windows(source):
    """The labels that each frame is made of, [B, T, H, W, 3 S]."""
    padded = jnp.concatenate([jnp.repeat(source[:, :1], BEFORE, 1), source], 1)
    return _join(*(padded[:, i : i + source.shape[1]] for i in range(1 + BEFORE)))

  def translate(state, source, **mode):
    """(clips [B, T, H, W, C], the state), frame after frame."""
    labels = jnp.moveaxis(windows(source), 1, 0)

    def make(stats, labels, previous):
      """(frame, hallucinated picture, G's statistics)."""
      own = state.replace(stats={**state.stats, G.name: stats})
      (frame, picture, *_), own = apply(G, own, labels, previous, **mode)
      return frame, picture, own.stats[G.name]

    def step(carry, labels):
      stats, previous = carry
      frame, _, stats = make(stats, labels, previous)
      return (stats, _join(previous[..., channels:], frame)), frame

    nothing = jnp.zeros((*labels.shape[1:-1], BEFORE * channels), labels.dtype)
    _, first, stats = make(state.stats[G.name], labels[0], nothing)
    start = stats, _join(nothing[..., channels:], first)
    (stats, _), rest = backend.fold(step, start, labels[1:])
    frames = jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, 1)
    return frames, state.replace(stats={**state.stats, G.name: stats})

  def make_again(state, source, frames):
    """All that G makes of the frames before, (frames, hallucinated pictures, flows, masks), [B, T, ...] each.

    They are what `translate` made, each normalised by the statistics of its own time. No gradient goes from a frame to
    the ones before. So all times are made at once, and the loop, which CPUs unroll, has no gradient to be compiled.
    """
    before = jnp.pad(frames, [(0, 0), (BEFORE, 0), *[(0, 0)] * (frames.ndim - 2)])
    previous = _join(*(before[:, i : i + frames.shape[1]] for i in range(BEFORE)))
    make = lambda labels, previous: apply(G, state, labels, previous, train=True)[0]
    frames, pictures, flows, masks = jax.vmap(make, 1, 1)(windows(source), previous)
    return jnp.concatenate([pictures[:, :1], frames[:, 1:]], 1), pictures, flows, masks

  def look(batch, made, key):
    """{discriminator: [what it sees of the targets, of G's frames, of its hallucinated pictures if it sees these]}."""
    target, (frames, pictures) = batch['target'], made
    at = _draw(named(key, 'frames'), len(target), length)
    labels = _take(batch['source'], at)
    seen = {'D_frames': [_join(labels, _take(x, at)) for x in (target, frames, pictures)]}
    for rate in rates:
      every, name = spacing(rate), f'D_clips_{rate}'
      start = _draw(named(key, name), len(target), length - (STRETCH - 1) * every)
      times = [start + i * every for i in range(STRETCH)]
      flows = [_flow(batch['flow'], at, every) for at in times[1:]] if knows_flow else []
      flows = [flow / FLOW_UNIT for flow in flows]
      seen[name] = [_join(*(_take(x, at) for at in times), *flows) for x in (target, frames)]
    return seen

  def judge(state, name, seen):
    """(maps of each scale, [n, B, h, w, F] of n things seen; the state with the mean of the statistics).

    Each is normalised by its own statistics. One program for all compiles faster.
    """

    def one(x):
      maps, after = apply(nets[name], state, x, train=True)
      return maps, after.stats[name]

    maps, stats = jax.vmap(one)(jnp.stack(seen))
    stats = jax.tree.map(lambda x: jnp.mean(x, 0), stats)
    return maps, state.replace(stats={**state.stats, name: stats})

  def generator(state, batch, key):
    """G's loss, the sum of its metrics. Keeps G's statistics; those of the discriminators are dropped."""
    source, still = batch['source'], jax.lax.stop_gradient(state.params)
    first, after = translate(state.replace(params=still), source, train=True)
    frames, pictures, flows, masks = make_again(state, source, first)
    state = state.replace(stats=after.stats)
    terms, seen = {}, look(batch, (frames, pictures), key)
    for name, end in ends.items():
      maps, _ = judge(state, name, seen[name])
      logits = [scale[-1][..., 0] for scale in maps]
      terms[f'loss_G{end}'] = sum(loss_G(fake) for x in logits for fake in x[1:])
      terms[f'loss_features{end}'] = feature_weight * _features(maps)
    target = batch['target']
    now, before, moved = _flat(target[:, 1:]), _flat(target[:, :-1]), _flat(flows[:, 1:])
    sure = 1.0
    if knows_flow:
      true = _flat(batch['flow'][:, 1:])
      missed = jnp.sum(jnp.square(now - warp(before, true)), -1, keepdims=True)
      sure = (missed < SURE).astype(now.dtype)
      own = warp(jax.lax.stop_gradient(_flat(frames[:, :-1])), true)
      terms['loss_flow'] = flow_weight * _distance(moved, true, sure)
      terms['loss_warp_frames'] = warp_weight * _distance(_flat(frames[:, 1:]), own, sure)
      terms['loss_mask'] = mask_weight * _distance(_flat(masks[:, 1:]), 0.0, sure)
    terms['loss_warp'] = warp_weight * _distance(warp(before, moved), now, sure)
    # The discriminators learn of the same frames, so that XLA runs them once.
    return sum(terms.values()), Aux(state, terms, {'seen': seen})

  def discriminators(state, batch, key):
    """The sum of all losses. Keeps the means of the statistics of the target's pass and of the others."""
    terms = {}
    for name, end in ends.items():
      maps, state = judge(state, name, batch['seen'][name])
      logits = [scale[-1][..., 0] for scale in maps]
      found = [loss_D(x[0], fake) for x in logits for fake in x[1:]]
      for term in found[0]:
        terms[f'{term}{end}'] = sum(one[term] for one in found)
    return sum(terms.values()), Aux(state, terms)

  def inputs(batch):
    source, target = batch['source'], batch['target']
    seen = look(batch, (target, target), jax.random.key(0))
    labels, before = (
      jnp.concatenate([x[:, 0]] * n, -1) for x, n in ((source, 1 + BEFORE), (target, BEFORE))
    )
    return {'G': (labels, before), **{name: (real,) for name, (real, *_) in seen.items()}}

  def rows(seeds, examples):
    """The clips to be translated."""
    return {'source': examples['source']}

  def sample(state, row, **mode):
    return translate(state, row['source'], **mode)

  phases = Phase('G', generator, ('G',), 'G'), Phase('D', discriminators, tuple(ends), 'D')
  return Method(
    nets=nets,
    inputs=inputs,
    rows=rows,
    stages=(Stage(phases, sample),),
    ema=('G',),
    makes='target',
    examples=('source',),
  )


def _join(*maps):
  """[B, H, W, C] of several, by channels."""
  return jnp.concatenate(maps, -1)


def _flat(clips):
  """[B, T, ...] -> [B T, ...]."""
  return clips.reshape(-1, *clips.shape[2:])


def _draw(key, count, most):
  """A time from 0 to most - 1 for each of `count` clips, int32 [count]."""
  return jax.random.randint(key, (count,), 0, most)


def _take(clips, at):
  """[B, T, ...] and times [B] -> the frames [B, ...]."""
  return jax.vmap(lambda clip, at: clip[at])(clips, at)


def _flow(flows, at, every):
  """Of flows [B, T, H, W, 2], a frame each, the flow [B, H, W, 2] over `every` frames to those at the times [B]."""
  found = _take(flows, at)
  for i in range(1, every):
    found += warp(_take(flows, at - i), found)
  return found


def _distance(a, b, sure):
  """The mean of |a - b| where `sure` is 1; 0 elsewhere."""
  return jnp.mean(jnp.abs(a - b) * sure)


def _features(maps):
  """The L1 distances of maps [1 + n, B, h, w, F] from the first ones, the logits left out, summed over n.

  They are weighed as in the authors' code: the mean over the maps of a scale, 4 times the mean over the scales.
  """
  distance = lambda x: sum(_distance(one, jax.lax.stop_gradient(x[0]), 1.0) for one in x[1:])
  return 4 * sum(distance(x) / (len(scale) - 1) for scale in maps for x in scale[:-1]) / len(maps)
