"""networks/vid2vid.py and methods/vid2vid.py against PyTorch twins with the same weights, in float64.

The twins are built as the authors' code is: reflection padding as layers, grid_sample, frames in a Python loop.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from test_translation_torch import ADAM as WHOLE
from test_translation_torch import NORMS, STEPS, close, params, stats, value
from test_translation_torch import Twin as Translator

from benchmarks.torch_nets import Residual
from ganjax import component, media
from ganjax import config as configs
from ganjax.layers.warp import warp
from ganjax.method import name_nets, named, spans
from ganjax.methods import vid2vid as method_file
from ganjax.networks import vid2vid
from ganjax.optim import optimizers
from ganjax.update import count, init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
SIDE, T, BATCH, WIDTH = 16, 7, 2, 2
# Some slopes are hardly above the round-off of the others, which are large.
ADAM = WHOLE | dict(eps=0.1)
DOUBLE = dict(dtype='float64', param_dtype='float64')
SIZE = dict(width=WIDTH, width_D=WIDTH, downs=1, blocks=3, layers_D=2)

channels_first = lambda x: torch.tensor(np.asarray(x)).movedim(-1, -3)
channels_last = lambda x: x.detach().movedim(-3, -1).numpy()


def torch_warp(x, flow):
  """x [B, C, H, W] read at flow [B, 2, H, W] in pixels."""
  height, width = x.shape[2:]
  y, x_ = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
  across, along = 2 * (x_ + flow[:, 0]) / (width - 1) - 1, 2 * (y + flow[:, 1]) / (height - 1) - 1
  grid = torch.stack([across, along], -1)
  return F.grid_sample(x, grid, 'bilinear', padding_mode='border', align_corners=True)


def test_warp_is_grid_sample_with_its_derivatives():
  rng = np.random.default_rng(0)
  x, weigh = rng.normal(size=(2, 2, 6, 9, 3))
  flow = rng.uniform(-4, 4, (2, 6, 9, 2))
  with jax.enable_x64(True):
    value = lambda x, flow: (warp(x, flow) * weigh).sum()
    found, slopes = jax.jit(lambda x, f: (warp(x, f), jax.grad(value, (0, 1))(x, f)))(x, flow)
  a, b = (channels_first(v).requires_grad_() for v in (x, flow))
  theirs = torch_warp(a, b)
  (theirs * channels_first(weigh)).sum().backward()
  np.testing.assert_allclose(found, channels_last(theirs), atol=1e-12)
  for ours, other in zip(slopes, (a, b)):
    np.testing.assert_allclose(ours, channels_last(other.grad), atol=1e-12)


class Twin(Translator):
  def check(self, state):
    """Biases before a norm have no gradient but round-off, of which Adam makes whole steps: they are left out."""
    for opt, names in self.phases.items():
      moment = lambda what, opt=opt: lambda p: value(self.opt[opt].state[p][what])
      for n in names:
        net, moments = self.nets[n], state.opt[opt][0]
        slopes = flatten_dict(params(net, moment('exp_avg')))
        size = {at: np.abs(x).max() for at, x in slopes.items()}
        known = {at for at in size if at[-1] != 'bias' or size[at] > 1e-6 * max(size.values())}
        assert len(known) > len(size) / 2
        keep = lambda tree, known=known: {
          at: x for at, x in flatten_dict(tree).items() if at in known
        }
        close(keep(state.params[n]), keep(params(net)), 1e-8)
        close(keep(moments.mu[n]), keep(params(net, moment('exp_avg'))), 1e-8)
        close(keep(moments.nu[n]), keep(params(net, moment('exp_avg_sq'))), 1e-8)
        close(state.stats[n], stats(net), 1e-8)


class G(nn.Module):
  def __init__(self, labels, channels, kind, width, downs, blocks):
    super().__init__()
    wide, half = width * 2**downs, blocks - blocks // 2

    def encoder(c_in):
      net = [nn.ReflectionPad2d(3), nn.Conv2d(c_in, width, 7), NORMS[kind](width), nn.ReLU()]
      for i in range(downs):
        a = width * 2**i
        net += [nn.Conv2d(a, 2 * a, 3, 2, 1), NORMS[kind](2 * a), nn.ReLU()]
      return nn.Sequential(*net, *[Residual(wide, NORMS[kind]) for _ in range(half)])

    def decoder():
      net = [Residual(wide, NORMS[kind]) for _ in range(blocks // 2)]
      for i in range(downs)[::-1]:
        a = width * 2**i
        up = nn.ConvTranspose2d(2 * a, a, 3, 2, 1, output_padding=1)
        net += [up, NORMS[kind](a), nn.ReLU()]
      return nn.Sequential(*net)

    last = lambda c: nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, c, 7))
    self.channels = channels
    self.of_labels, self.of_frames = encoder(3 * labels), encoder(2 * channels)
    self.draw, self.move = decoder(), decoder()
    self.picture, self.flow, self.mask = last(channels), last(2), last(1)

  def forward(self, labels, previous):
    x = self.of_labels(labels) + self.of_frames(previous)
    picture = torch.tanh(self.picture(self.draw(x)))
    x = self.move(x)
    flow, mask = 20 * self.flow(x), torch.sigmoid(self.mask(x))
    moved = torch_warp(previous[:, -self.channels :], flow)
    return mask * picture + (1 - mask) * moved, picture, flow, mask

  def translate(self, source):
    """[B, T, S, H, W] -> frames and pictures [B, T, ...], flows and masks [B, T - 1, ...]."""
    count, length, _, *sides = source.shape
    previous, made = torch.zeros(count, 2 * self.channels, *sides, dtype=source.dtype), []
    for t in range(length):
      labels = torch.cat([source[:, max(t - i, 0)] for i in (2, 1, 0)], 1)
      frame, picture, flow, mask = self(labels, previous)
      frame = frame if t else picture
      previous = torch.cat([previous[:, self.channels :], frame], 1).detach()
      made.append((frame, picture, flow, mask))
    frames, pictures, flows, masks = (torch.stack(x, 1) for x in zip(*made))
    return frames, pictures, flows[:, 1:], masks[:, 1:]


class D(nn.Module):
  def __init__(self, channels, kind, width, layers, scales=2):
    super().__init__()
    self.scales = nn.ModuleList()
    for scale in range(scales):
      a = min(64, width * 2**scale)
      net = [nn.Sequential(nn.Conv2d(channels, a, 4, 2, 2), nn.LeakyReLU(0.2))]
      for i in range(layers):
        conv = nn.Conv2d(a, 2 * a, 4, 2 if i < layers - 1 else 1, 2)
        net += [nn.Sequential(conv, NORMS[kind](2 * a), nn.LeakyReLU(0.2))]
        a *= 2
      self.scales.append(nn.ModuleList([*net, nn.Conv2d(a, 1, 4, 1, 2)]))
    self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

  def forward(self, x):
    found = []
    for i, net in enumerate(self.scales):
      x = self.pool(x) if i else x
      maps = []
      for layer in net:
        maps.append(layer(maps[-1] if maps else x))
      found.append(maps)
    return found


def test_parameters_of_the_authors_generator():
  """128 channels, 3 halvings and 9 blocks, of label maps with 3 channels: as its layers count in PyTorch."""
  with torch.device('meta'):
    net = G(3, 3, 'batch', 128, 3, 9)
  theirs = sum(p.numel() for p in net.parameters())
  fields = dict.fromkeys(('source', 'target'), media.Field('clip', (7, 64, 64, 3)))
  ours = vid2vid.build(fields=fields)['G']
  labels, previous = jnp.zeros((1, 64, 64, 9)), jnp.zeros((1, 64, 64, 6))
  make = lambda: ours.init(jax.random.key(0), labels, previous, train=False)
  assert count(jax.eval_shape(make)['params']) == theirs == 364_770_438


@pytest.mark.parametrize('kind', ['batch', 'instance'])
def test_a_frame(kind):
  """All that G makes of labels and previous frames, the warped one among it, and the derivative in its parameters."""
  torch.manual_seed(0)
  net = G(1, 3, kind, WIDTH, 1, 3).double().train()
  rng = np.random.default_rng(0)
  labels, previous = rng.uniform(-1, 1, (2, 8, 8, 3)), rng.uniform(-1, 1, (2, 8, 8, 6))
  fields = {name: media.Field('clip', (T, 8, 8, c)) for name, c in (('source', 1), ('target', 3))}
  with jax.enable_x64(True):
    ours = vid2vid.build(fields=fields, norm=kind, **SIZE, **DOUBLE)['G']
    variables = {'params': params(net), **stats(net)}
    call = lambda v: ours.apply(v, labels, previous, train=True, mutable=['batch_stats'])[0]
    found, slope = jax.jit(lambda v: (call(v), jax.grad(lambda v: call(v)[0].sum())(v)))(variables)
  theirs = net(channels_first(labels), channels_first(previous))
  assert theirs[2].abs().max() > 0.1
  for a, b in zip(found, theirs):
    np.testing.assert_allclose(a, channels_last(b), rtol=1e-9, atol=1e-10)
  theirs[0].sum().backward()
  wanted = params(net, lambda p: p.grad.numpy().copy())
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), slope['params'], wanted
  )


def over(flows, at, every):
  """Of flows [B, T, 2, H, W] the one over so many frames to the times `at` [B]."""
  take = lambda i: torch.stack([flow[t - i] for flow, t in zip(flows, at)])
  found = take(0)
  for i in range(1, every):
    found = found + torch_warp(take(i), found)
  return found


def make_batch(rng, length, knows_flow):
  """Colours that differ little, so that some flows explain some pixels."""
  shape = BATCH, length, SIDE, SIDE
  found = {
    'source': rng.uniform(-1, 1, (*shape, 1)),
    'target': 0.1 * rng.uniform(-1, 1, (*shape, 3)),
  }
  return found | ({'flow': rng.uniform(-3, 3, (*shape, 2))} if knows_flow else {})


@pytest.mark.slow
@pytest.mark.parametrize(
  'kind, knows_flow, length, rates, scales',
  [('batch', True, 7, 2, 1), ('instance', False, 3, 1, 2)],
)
def test_updates(kind, knows_flow, length, rates, scales):
  """A step with every term, parameters, moments and statistics; the terms of the next; clips of another length."""
  torch.manual_seed(0)
  channels = 9 + 4 * knows_flow
  nets = {'G': G(1, 3, kind, WIDTH, 1, 2), 'D_frames': D(4, kind, WIDTH, 1, scales)}
  nets |= {f'D_clips_{rate}': D(channels, kind, WIDTH, 1, scales) for rate in range(rates)}
  judges = tuple(nets)[1:]
  # Each frame makes the next: with long flows round-off grows a hundredfold a frame.
  for p in nets['G'].flow.parameters():
    p.data *= 0.05
  # The frames before the first are grey: with offsets of 0 their maps lie on ReLU's corner, but for round-off.
  for module in nets['G'].modules():
    if isinstance(module, nn.BatchNorm2d):
      nn.init.uniform_(module.bias, 0.1, 0.5)
  twin = Twin(nets, {'G': ('G',), 'D': judges}, ADAM)
  fields = {
    name: media.Field('clip', (length, SIDE, SIDE, c)) for name, c in (('source', 1), ('target', 3))
  }
  fields |= {'flow': media.Field('flow', (length, SIDE, SIDE, 2))} if knows_flow else {}
  mse = lambda logits, target: F.mse_loss(logits, torch.full_like(logits, target))

  def look(batch, made, key):
    draw = lambda name, most: np.asarray(method_file._draw(named(key, name), BATCH, most))
    take = lambda clips, at: torch.stack([clip[t] for clip, t in zip(clips, at)])
    target, at = batch['target'], draw('frames', length)
    labels = take(batch['source'], at)
    seen = {'D_frames': [torch.cat([labels, take(x, at)], 1) for x in (target, *made)]}
    for rate, every in ((0, 1), (1, 3))[:rates]:
      start = draw(f'D_clips_{rate}', length - 2 * every)
      times = [start + i * every for i in range(3)]
      flows = [over(batch['flow'], at, every) / 20 for at in times[1:]] if knows_flow else []
      join = lambda x, times=times, flows=flows: torch.cat(
        [*(take(x, at) for at in times), *flows], 1
      )
      seen[f'D_clips_{rate}'] = [join(x) for x in (target, made[0])]
    return seen

  with jax.enable_x64(True):
    size = dict(width=WIDTH, width_D=WIDTH, downs=1, blocks=2, layers_D=1, scales_D=scales)
    ours = vid2vid.build(fields=fields, norm=kind, rates=rates, **size, **DOUBLE)
    method = component.build('methods', dict(name='vid2vid'), nets=name_nets(ours), fields=fields)
    known = optimizers.build({n: configs.adam(**ADAM) for n in 'GD'}, method.phases, STEPS)
    (span,) = spans(method, STEPS, BATCH)
    update, base = make_update(method, span, known), jax.random.key(0)
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, length, knows_flow) for _ in range(2)]
    state = jax.jit(lambda batch: init(method, known, base, batch))(batches[0])
    state = state.replace(
      params={name: params(net) for name, net in nets.items()},
      stats={name: stats(net) for name, net in nets.items()},
    )
    for step, batch in enumerate(batches):
      key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(base, step), 0), 0)
      state, metrics = update(state, (batch,), {}, phases=('G', 'D'))
      seen = {name: channels_first(x) for name, x in batch.items()}
      frames, pictures, flows, masks = nets['G'].translate(seen['source'])
      terms, looked = {}, look(seen, (frames, pictures), key)
      kept = {name: [b.clone() for b in nets[name].buffers()] for name in judges}
      for name, (real, *fakes) in looked.items():
        of_real, end = nets[name](real), name[1:]
        gan = match = 0
        for fake in fakes:
          for maps, wanted in zip(nets[name](fake), of_real):
            gan += mse(maps[-1], 1.0)
            for a, b in zip(maps[:-1], wanted[:-1]):
              match += 10 * 4 / 2 / scales * F.l1_loss(a, b.detach())
        terms |= {f'loss_G{end}': gan, f'loss_features{end}': match}
      for name in judges:  # of the other phase alone
        for buffer, before in zip(nets[name].buffers(), kept[name]):
          buffer.data = before
      flat = lambda x: x.reshape(-1, *x.shape[2:])
      now, before = flat(seen['target'][:, 1:]), flat(seen['target'][:, :-1])
      sure = torch.ones_like(now[:, :1])
      if knows_flow:
        true = flat(seen['flow'][:, 1:])
        sure = (((now - torch_warp(before, true)) ** 2).sum(1, keepdim=True) < 0.02).double()
        assert 0.1 < sure.mean() < 0.9
        earlier = torch_warp(flat(frames[:, :-1]), true).detach()
        terms |= {
          'loss_flow': 10 * F.l1_loss(flat(flows) * sure, true * sure),
          'loss_warp_frames': 10 * F.l1_loss(flat(frames[:, 1:]) * sure, earlier * sure),
          'loss_mask': F.l1_loss(flat(masks) * sure, 0 * sure),
        }
      moved = torch_warp(before, flat(flows))
      terms['loss_warp'] = 10 * F.l1_loss(moved * sure, now * sure)
      twin.take('G', terms, step)
      of_D = {}
      for name, passes in looked.items():
        net, seen_stats = nets[name], []
        found = []
        for x in passes:  # each from the statistics before, of which the mean is kept
          for buffer, before in zip(net.buffers(), kept[name]):
            buffer.data = before.clone()
          found.append(net(x.detach()))
          seen_stats.append([buffer.clone().double() for buffer in net.buffers()])
        for buffer, some in zip(net.buffers(), zip(*seen_stats)):
          buffer.data = torch.stack(some).mean(0).to(buffer.dtype)
        real_maps, *others = found
        pairs = [pair for maps in others for pair in zip(real_maps, maps)]
        of_D[f'loss_real{name[1:]}'] = sum(mse(a[-1], 1.0) / 2 for a, _ in pairs)
        of_D[f'loss_fake{name[1:]}'] = sum(mse(b[-1], 0.0) / 2 for _, b in pairs)
      twin.take('D', of_D, step)
      terms |= of_D
      assert {name for name in metrics if name.startswith('loss')} == terms.keys()
      for name, term in terms.items():
        rtol = 1e-7 if step else 1e-9
        np.testing.assert_allclose(metrics[name], term.item(), rtol=rtol, err_msg=f'{name} {step}')
      if not step:
        twin.check(state)
    source = rng.uniform(-1, 1, (BATCH, 4, SIDE, SIDE, 1))
    rows = method.rows(np.arange(BATCH), {'source': source})
    sample = jax.jit(lambda state, rows: span.stage.sample(state, rows, train=False)[0])
    found = sample(state, rows)
    with torch.no_grad():
      theirs = nets['G'].eval().translate(channels_first(source))[0]
    np.testing.assert_allclose(found, channels_last(theirs), rtol=1e-5, atol=1e-6)
