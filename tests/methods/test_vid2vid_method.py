"""vid2vid: what a frame is made of, flows over several frames, and what is refused. The update is held in parity."""

import runpy

import command
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import UserError, experiment, media
from ganjax.method import TrainState, name_nets
from ganjax.methods import vid2vid
from ganjax.networks import vid2vid as networks

clip = lambda frames, side, channels: media.Field('clip', (frames, side, side, channels))
FIELDS = {'source': clip(7, 16, 1), 'target': clip(7, 16, 1)}


class Toy(nn.Module):
  """Digits that say what a frame saw."""

  @nn.compact
  def __call__(self, labels, previous, *, train: bool):
    shown = jnp.concatenate([labels, previous / 2**9], -1)
    frame = shown @ jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])[:, None]
    return frame, -frame, jnp.concatenate([frame, frame], -1), frame


def test_a_frame_sees_three_labels_and_the_two_frames_before_it():
  nets = name_nets({'G': Toy()})
  method = vid2vid.build(nets, fields=FIELDS)
  source = np.random.default_rng(0).uniform(0, 1, (2, 5, 4, 4, 1)).astype(np.float32)
  rows = method.rows(np.arange(2), {'source': source})
  state = TrainState(0, jax.random.key(0), {'G': {}}, {'G': {}}, {}, {}, {})
  found, _ = jax.jit(lambda state, rows: method.stages[0].sample(state, rows, train=False))(
    state, rows
  )
  label = lambda t: source[:, max(t, 0)]
  frames = [np.zeros_like(label(0))] * 2
  for t in range(5):
    frame = label(t - 2) + 2 * label(t - 1) + 4 * label(t)
    frame += (8 * frames[-2] + 16 * frames[-1]) / 2**9
    frames.append(frame if t else -frame)  # the first is the hallucinated picture
  np.testing.assert_allclose(found, np.stack(frames[2:], 1), rtol=1e-5)


def test_flows_add_up_along_the_way():
  """Of a whole that moves, and of two halves that part: each pixel follows its own."""
  steps = jnp.array([1.0, 2.0, 4.0, 8.0])
  flows = jnp.broadcast_to(steps[:, None, None, None], (2, 4, 6, 6, 2))
  over_two = jax.jit(lambda flows, at: vid2vid._flow(flows, at, 2))
  found = over_two(flows, jnp.array([3, 2]))
  np.testing.assert_array_equal(found[0], 12)
  np.testing.assert_array_equal(found[1], 6)
  parted = np.zeros((1, 3, 2, 8, 2), np.float32)
  parted[:, :, :, :4, 0], parted[:, :, :, 4:, 0] = 1, 3
  found = over_two(parted, jnp.array([2]))[0, 0, :, 0]
  np.testing.assert_array_equal(
    found, [2, 2, 2, 4, 6, 6, 6, 6]
  )  # the fourth comes from the right half


def test_discriminators_see_clips_at_their_rates():
  """Frames that are their number: three in a row, three with two between them, beside their flow over 20."""
  fields = {**FIELDS, 'flow': media.Field('flow', (7, 16, 16, 2))}
  nets = name_nets(networks.build(fields=fields, width=2, width_D=2, downs=1, blocks=2))
  method = vid2vid.build(nets, fields=fields)
  time = np.broadcast_to(np.arange(7.0, dtype=np.float32)[:, None, None, None], (9, 7, 16, 16, 1))
  batch = {'source': 10 + time, 'target': time, 'flow': np.repeat(0 * time + 2, 2, -1)}
  seen = jax.jit(method.inputs)(batch)
  seen = {name: np.asarray(x[0])[:, 0, 0] for name, x in seen.items()}
  label, frame = seen['D_frames'].T
  np.testing.assert_array_equal(label, frame + 10)
  assert len({*frame}) > 3
  for name, every in ('D_clips_0', 1), ('D_clips_1', 3):
    a, b, c = seen[name][:, :3].T
    assert (b - a == every).all() and (c - b == every).all() and c.max() <= 6
    np.testing.assert_allclose(seen[name][:, 3:], every * 2 / 20, rtol=1e-6)
  assert len({*seen['D_clips_0'][:, 0]}) > 2 and {*seen['D_clips_1'][:, 0]} == {0}


@pytest.mark.parametrize('fields, more, message', [
  ({}, dict(rates=3), 'networks.rates=3 takes clips of 19 frames, not 7'),
  ({}, dict(downs=3, rates=1), None),
  ({}, dict(downs=4), 'takes sides from 32'),
  ({}, dict(blocks=1), 'blocks=1 at least 2'),
  ({}, dict(norm='layer'), "networks.norm='layer' is neither"),
  ({'source': media.Field('image', (16, 16, 1))}, {}, 'clips of the same size, not image'),
  ({'source': clip(6, 16, 1)}, {}, r'not clip \[6, 16, 16, 1\] into clip \[7, 16, 16, 1\]'),
])  # fmt: skip
def test_what_networks_refuse(fields, more, message):
  make = lambda: networks.build(fields=FIELDS | fields, width=2, **more)
  if message is None:
    assert make().keys() == {'G', 'D_frames', 'D_clips_0'}
    return
  with pytest.raises(UserError, match=message):
    make()


@pytest.mark.parametrize('change, message', [
  ({'data.frames': 6}, 'networks.rates=2 takes clips of 7 frames, not 6'),
  ({'data.dataset': 'moving', 'data.of': 'x'}, 'data.dataset=moving has no source, which networks.name=vid2vid needs'),
  ({'method.loss': 'hinge'}, "method.loss='hinge' is not known"),
  ({'data.resolution': 62}, 'multiples of 4'),
])  # fmt: skip
def test_one_line_of_a_wrong_value(change, message):
  config = runpy.run_path(str(command.ROOT / 'configs/vid2vid_emoji.py'))['get_config']()
  config.update_from_flattened_dict(change)
  with pytest.raises(UserError, match=message):
    experiment.build(config)


def test_weights_below_zero():
  with pytest.raises(UserError, match='method.flow_weight=-1 must be a number from 0'):
    vid2vid.build({'G': Toy()}, fields=FIELDS, flow_weight=-1)
