"""vid2vid (Wang et al. 2018, arXiv:1808.06601, section 3): clips translated frame by frame, learnt from pairs.

A batch has `source` [B, T, H, W, S], such as edges or labels, and `target` [B, T, H, W, C]. G makes a frame of the
labels of three frames and of the two frames that it made before. One discriminator sees a frame with its labels, others
see three frames, near and far. Where the data have the true `flow` [B, T, H, W, 2], G's flow is held to it, and it is
the condition of the discriminators of clips. The paper has it from FlowNet2 (section 4), which is not here. Without it
the second part of the paper's L_W alone teaches flow: the previous frame of the target, warped, shall be this one.

As in the authors' code with its option no_first_img the first frame is the hallucinated picture, and the frames before
it are grey. Here the labels before the first are the first. No gradient goes from a frame to the ones before. The
distance of VGG19's features is left out.
"""

import jax
import jax.numpy as jnp

from ganjax import UserError
from ganjax.devices import backend
from ganjax.layers.warp import warp
from ganjax.losses import translation
from ganjax.losses.term import named
from ganjax.networks.vid2vid import BEFORE, FLOW_UNIT, STRETCH, spacing
from ganjax.update import Aux, Method, Phase, Stage, apply

SURE = 0.02  # squared distance of colours from which on a flow does not explain a pixel


def build(
  nets,
  *,
  fields,
  loss='least_squares',
  feature_weight=10.0,
  flow_weight=10.0,
  warp_weight=10.0,
  mask_weight=1.0,
):
  """A step is an update of G, then one of all discriminators, on the frames that G made before its update.

  Args:
    nets: {'G': (labels, previous frames) -> (frame, hallucinated picture, flow, mask); 'D_frames': labels and frame ->
      maps of each scale; 'D_clips_0', ...: three frames, and their flows where they are known -> such maps}.
    fields: of the data.
    loss: 'least_squares' or 'non_saturating', see `losses/translation.py`; the sum over the scales.
    feature_weight: of the L1 distance of the discriminators' maps (pix2pixHD, arXiv:1711.11585, equation 4).
    flow_weight: of the L1 distance from the true flow, in pixels.
    warp_weight: of the L1 distance of the target, warped by G's flow, from the target. With the true flow also of each
      frame of G from the one before, warped by it.
    mask_weight: of the mask where the true flow explains the target: the warped frame shall be taken there.

  Raises:
    UserError: a value that is none of these.
  """
  G = nets['G']
  loss_D, loss_G = translation.pair(loss)
  weights = dict(feature=feature_weight, flow=flow_weight, warp=warp_weight, mask=mask_weight)
  for name, weight in weights.items():
    if not isinstance(weight, (int, float)) or weight < 0:
      raise UserError(f'method.{name}_weight={weight!r} must be a number from 0')
  rates = range(sum(name.startswith('D_clips_') for name in nets))
  length, knows_flow = fields['target'].shape[0], 'flow' in fields

  def translate(state, source, **mode):
    """Clips of all that G makes, (frame, picture, flow, mask), the last two from the second frame on; the state."""
    before = jnp.repeat(source[:, :1], BEFORE, 1)
    padded, count = jnp.concatenate([before, source], 1), source.shape[1]
    labels = jnp.concatenate([padded[:, i : i + count] for i in range(1 + BEFORE)], -1)
    labels = jnp.moveaxis(labels, 1, 0)
    channels = fields['target'].shape[-1]

    def frame(stats, labels, previous):
      own = state.replace(stats={**state.stats, G.name: stats})
      made, own = apply(G, own, labels, previous, **mode)
      return own.stats[G.name], made

    def go_on(previous, frame):
      return jax.lax.stop_gradient(jnp.concatenate([previous[..., channels:], frame], -1))

    def step(carry, labels):
      stats, previous = carry
      stats, made = frame(stats, labels, previous)
      return (stats, go_on(previous, made[0])), made

    nothing = jnp.zeros((*source[:, 0, ..., :1].shape[:-1], BEFORE * channels), source.dtype)
    stats, (_, first, *_) = frame(state.stats[G.name], labels[0], nothing)
    carry, rest = backend.fold(step, (stats, go_on(nothing, first)), labels[1:])
    frames, pictures, flows, masks = (jnp.moveaxis(x, 0, 1) for x in rest)
    frames, pictures = (jnp.concatenate([first[:, None], x], 1) for x in (frames, pictures))
    state = state.replace(stats={**state.stats, G.name: carry[0]})
    return (frames, pictures, flows, masks), state

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

  def judge(state, name, x):
    """(maps of each scale, the state)."""
    return apply(nets[name], state, x, train=True)

  def generator(state, batch, key):
    """G's loss, the sum of its metrics. Keeps G's statistics; those of the discriminators are dropped."""
    (frames, pictures, flows, masks), state = translate(state, batch['source'], train=True)
    terms = {}
    for name, (real, *fakes) in look(batch, (frames, pictures), key).items():
      wanted = jax.lax.stop_gradient(judge(state, name, real)[0])
      found = [judge(state, name, fake)[0] for fake in fakes]
      end = name.removeprefix('D')
      terms[f'loss_G{end}'] = sum(loss_G(scale[-1][..., 0]) for maps in found for scale in maps)
      terms[f'loss_features{end}'] = feature_weight * sum(_features(maps, wanted) for maps in found)
    target = batch['target']
    now, before = _flat(target[:, 1:]), _flat(target[:, :-1])
    sure = 1.0
    if knows_flow:
      true = _flat(batch['flow'][:, 1:])
      missed = jnp.sum(jnp.square(now - warp(before, true)), -1, keepdims=True)
      sure = (missed < SURE).astype(now.dtype)
      own = warp(jax.lax.stop_gradient(_flat(frames[:, :-1])), true)
      terms['loss_flow'] = flow_weight * _distance(_flat(flows), true, sure)
      terms['loss_warp_frames'] = warp_weight * _distance(_flat(frames[:, 1:]), own, sure)
      terms['loss_mask'] = mask_weight * _distance(_flat(masks), 0.0, sure)
    terms['loss_warp'] = warp_weight * _distance(warp(before, _flat(flows)), now, sure)
    return sum(terms.values()), Aux(state, terms, {'frames': frames, 'pictures': pictures})

  def discriminators(state, batch, key):
    """The sum of all losses. Keeps the statistics of all passes, that of the targets first."""
    terms = {}
    for name, (real, *fakes) in look(batch, (batch['frames'], batch['pictures']), key).items():
      of_real, state = judge(state, name, real)
      found, end = [], name.removeprefix('D')
      for fake in fakes:
        of_fake, state = judge(state, name, fake)
        scales = zip(of_real, of_fake)
        found += [loss_D(real[-1][..., 0], fake[-1][..., 0]) for real, fake in scales]
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
    (frames, *_), state = translate(state, row['source'], **mode)
    return frames, state

  judges = tuple(name for name in nets if name != 'G')
  phases = Phase('G', generator, ('G',), 'G'), Phase('D', discriminators, judges, 'D')
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


def _features(found, wanted):
  """The L1 distances of all maps but the logits, weighed as in the authors' code: 4 a scale, over the scales."""
  total = 0.0
  for maps, others in zip(found, wanted):
    total += sum(_distance(a, b, 1.0) for a, b in zip(maps[:-1], others[:-1])) / (len(maps) - 1)
  return 4 * total / len(found)
