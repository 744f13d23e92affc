"""networks/mocogan.py and methods/mocogan.py against PyTorch twins with the same weights, in float64.

torch's cell has two biases for each gate where ours has one; the second stays 0.
"""

import jax
import numpy as np
import pytest
from test_biggan_torch import close

from ganjax import UserError, component, media
from ganjax import config as configs
from ganjax.method import name_nets, named, spans
from ganjax.methods import mocogan as method_file
from ganjax.networks import mocogan
from ganjax.optim import optimizers
from ganjax.update import init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
SIDE, WIDTH, Z, M, BATCH, T = 32, 2, 5, 3, 3, 13
FIELDS = {'clip': media.Field('clip', (T, SIDE, SIDE, 1))}
DOUBLE = dict(dtype='float64', param_dtype='float64')
ADAM = dict(lr=2.0**-9, b1=0.5, b2=0.999, eps=1e-6, weight_decay=1e-2)


class G(nn.Module):
  def __init__(self, classes):
    super().__init__()
    self.cell = nn.GRUCell(M, M)
    self.size = Z + classes + M
    layers, a = [nn.ConvTranspose2d(self.size, 4 * WIDTH, 4, bias=False)], 4 * WIDTH
    for b in (2 * WIDTH, WIDTH):
      layers += [nn.BatchNorm2d(a), nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)]
      a = b
    last = nn.ConvTranspose2d(a, 1, 4, 2, 1, bias=False)
    self.main = nn.Sequential(*layers, nn.BatchNorm2d(a), nn.ReLU(), last, nn.Tanh())

  def forward(self, content, noise, label=None):
    if label is not None:
      content = torch.cat([content, F.one_hot(label, self.size - Z - M).to(content)], 1)
    state, motions = noise[:, 0], []
    for step in range(1, noise.shape[1]):
      state = self.cell(noise[:, step], state)
      motions.append(state)
    motion = torch.stack(motions, 1)
    z = torch.cat([content[:, None].repeat(1, motion.shape[1], 1), motion], 2)
    x = self.main(z.reshape(-1, self.size, 1, 1))
    return x.reshape(len(content), -1, *x.shape[1:])  # [B, T, C, H, W]


def frames_of(width):
  layers, a = [nn.Conv2d(1, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)], width
  for b in (2 * width, 4 * width):
    layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    a = b
  return nn.Sequential(*layers, nn.Conv2d(a, 1, 4, 2, 1, bias=False))


def clips_of(width, classes):
  layer = lambda a, b: nn.Conv3d(a, b, 4, (1, 2, 2), (0, 1, 1), bias=False)
  layers, a = [layer(1, width), nn.LeakyReLU(0.2)], width
  for b in (2 * width, 4 * width):
    layers += [layer(a, b), nn.BatchNorm3d(b), nn.LeakyReLU(0.2)]
    a = b
  return nn.Sequential(*layers, nn.Conv3d(a, 1 + classes, 4, bias=False))


value = lambda p: p.detach().numpy().copy()
KINDS = {'Conv2d': 'Conv', 'Conv3d': 'Conv', 'ConvTranspose2d': 'ConvTranspose'}
KINDS |= {'BatchNorm2d': 'BatchNorm', 'BatchNorm3d': 'BatchNorm'}


def of_layers(net, make):
  found = {}
  for module in net.modules():
    if kind := KINDS.get(type(module).__name__):
      found[f'{kind}_{sum(name.split("_")[0] == kind for name in found)}'] = make(module)
  return {name: one for name, one in found.items() if one is not None}


def layer(module):
  weight = value(module.weight)
  if weight.ndim == 1:
    return {'scale': weight, 'bias': value(module.bias)}
  return {'kernel': weight.transpose(*range(2, weight.ndim), 1, 0)}


def params(net):
  found = of_layers(net, layer)
  if isinstance(net, G):
    read = lambda way: [value(getattr(net.cell, f'{what}_{way}h')) for what in ('weight', 'bias')]
    ways = {way: read(way) for way in 'ih'}
    found['GRUCell_0'] = {
      f'{way}{gate}': {'kernel': w[k * M : k * M + M].T}
      | ({'bias': b[k * M : k * M + M]} if way == 'i' or gate == 'n' else {})
      for way, (w, b) in ways.items()
      for k, gate in enumerate('rzn')
    }
  return found


def stats(net):
  read = lambda m: {'mean': value(m.running_mean), 'var': value(m.running_var)}
  return {'batch_stats': of_layers(net, lambda m: read(m) if hasattr(m, 'running_mean') else None)}


channels_first = lambda x: torch.tensor(np.asarray(x)).permute(0, 4, 1, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize('classes', [0, 3])
def test_updates(classes):
  """Two whole steps; logits, statistics, and the weights that coupled decay pulls at."""
  torch.manual_seed(0)
  nets = {'G': G(classes), 'D_frames': frames_of(WIDTH), 'D_clips': clips_of(WIDTH, classes)}
  nets = {name: net.double().train() for name, net in nets.items()}
  g, d_frames, d_clips = nets.values()
  g.cell.bias_hh.data[: 2 * M] = 0
  g.cell.bias_hh.register_hook(lambda grad: torch.cat([0 * grad[: 2 * M], grad[2 * M :]]))
  adam = lambda *some: torch.optim.Adam(
    [p for net in some for p in net.parameters()],
    ADAM['lr'],
    (0.5, 0.999),
    ADAM['eps'],
    ADAM['weight_decay'],
  )
  opt_g, opt_d = adam(g), adam(d_frames, d_clips)
  bce = lambda logits, target: F.binary_cross_entropy_with_logits(
    logits, torch.full_like(logits, target)
  )
  with jax.enable_x64(True):
    ours = mocogan.build(fields=FIELDS, width=WIDTH, num_classes=classes, **DOUBLE)
    arguments = dict(name='mocogan', z_dim=Z, motion_dim=M, frames_per_clip=2)
    method = component.build('methods', arguments, nets=name_nets(ours), fields=FIELDS)
    known = optimizers.build({n: configs.adam(**ADAM) for n in 'GD'}, method.phases, 10)
    (span,) = spans(method, 10, BATCH)
    update, base = make_update(method, span, known), jax.random.key(0)
    rng = np.random.default_rng(0)
    batches = [{'clip': rng.uniform(-1, 1, (BATCH, T, SIDE, SIDE, 1))} for _ in range(2)]
    if classes:
      batches = [batch | {'label': np.array([2, 0, 1], np.int32)} for batch in batches]
    state = jax.jit(lambda batch: init(method, known, base, batch))(batches[0])
    state = state.replace(
      params={name: params(net) for name, net in nets.items()},
      stats={name: stats(net) for name, net in nets.items()},
    )

    def frames(clips, key):
      """Frames of clips [B, T, C, H, W] that ganjax draws."""
      marked = np.broadcast_to(np.arange(T)[:, None, None, None], (BATCH, T, 1, 1, 1))
      at = np.asarray(method_file.pick(marked, key, 2)).reshape(BATCH, 2)
      assert len({*at[0]}) == 2
      return torch.cat([clip[torch.tensor(i)] for clip, i in zip(clips, at)])

    judge = lambda clips: d_clips(clips.permute(0, 2, 1, 3, 4))[:, :, 0, 0, 0]  # of one stretch

    for step, batch in enumerate(batches):
      real = channels_first(batch['clip']).permute(0, 2, 1, 3, 4)
      terms = {}
      for phase in (0, 1):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(base, step), phase), 0)
        draw = lambda name, *shape, key=key: torch.tensor(
          np.asarray(jax.random.normal(named(key, name), shape))
        )
        kept = {n: [b.clone() for b in net.buffers()] for n, net in nets.items()}
        label = classes and jax.random.randint(named(key, 'label'), (BATCH,), 0, classes)
        label = torch.tensor(np.asarray(label), dtype=torch.int64) if classes else None
        fake = g(draw('content', BATCH, Z), draw('motion', BATCH, 1 + T, M), label)
        of_fakes = frames(fake, named(key, 'frames of fakes'))
        restore = ('G',) if phase == 0 else ('D_frames', 'D_clips')
        if phase == 0:
          of_reals = frames(real, named(key, 'frames of reals'))
          judged = judge(real)
          losses = {
            'loss_real_frames': bce(d_frames(of_reals), 1.0),
            'loss_real_clips': bce(judged[:, 0], 1.0),
            'loss_fake_frames': bce(d_frames(of_fakes.detach()), 0.0),
            'loss_fake_clips': bce(judge(fake.detach())[:, 0], 0.0),
          }
          if classes:
            known = torch.tensor(batch['label'], dtype=torch.int64)
            losses['loss_class'] = F.cross_entropy(judged[:, 1:], known)
        else:
          judged = judge(fake)
          losses = {
            'loss_G_frames': bce(d_frames(of_fakes), 1.0),
            'loss_G_clips': bce(judged[:, 0], 1.0),
          }
          if classes:
            losses['loss_G_class'] = F.cross_entropy(judged[:, 1:], label)
        opt = (opt_d, opt_g)[phase]
        opt.zero_grad()
        sum(losses.values()).backward()
        opt.step()
        for name in restore:  # of the other phase alone
          for buffer, before in zip(nets[name].buffers(), kept[name]):
            buffer.data = before
        terms |= losses
      state, metrics = update(state, (batch,), {}, phases=('D', 'G'))
      for name, term in terms.items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-9, err_msg=name)
      for name, net in nets.items():
        close(state.params[name], params(net), 1e-8)
        close(state.stats[name], stats(net), 1e-8)
    rows = method.rows(np.arange(2), {}, frames=20)
    assert rows['motion'].shape == (2, 21, M)
    found = jax.jit(lambda state, rows: span.stage.sample(state, rows, train=False)[0])(state, rows)
    given = [torch.tensor(np.asarray(rows[name])) for name in ('z', 'motion')]
    if classes:
      np.testing.assert_array_equal(rows['label'], [0, 1])
      given.append(torch.tensor([0, 1]))
    with torch.no_grad():
      theirs = g.eval()(*given)
    np.testing.assert_allclose(found, theirs.permute(0, 1, 3, 4, 2).numpy(), rtol=1e-7, atol=1e-9)


def test_parameter_counts_of_the_published_code():
  """Of six categories; the code has two biases a gate of the cell."""
  nets = mocogan.build(fields={'clip': media.Field('clip', (16, 64, 64, 3))}, num_classes=6)
  clip, noise = np.zeros((1, 16, 64, 64, 3), np.float32), np.zeros((1, 17, 10), np.float32)
  inputs = {
    'G': (np.zeros((1, 50), np.float32), noise, np.zeros(1, np.int32)),
    'D_frames': (clip[:, 0],),
    'D_clips': (clip,),
  }
  count = {}
  for name, net in nets.items():
    shapes = jax.eval_shape(
      lambda net=net, x=inputs[name]: net.init(jax.random.key(0), *x, train=False)
    )
    count[name] = sum(x.size for x in jax.tree.leaves(shapes['params']))
  assert count['G'] + 2 * 10 == 3_298_836
  assert count['D_frames'] == 663_296
  assert count['D_clips'] == 11_253_504


@pytest.mark.parametrize('shape, message', [
  ((15, 64, 64, 3), 'sees 16 frames at once at 64 pixels: data.frames=15'),
  ((16, 48, 48, 3), 'makes squares whose sides are 32, 64'),
])  # fmt: skip
def test_what_is_refused(shape, message):
  with pytest.raises(UserError, match=message):
    mocogan.build(fields={'clip': media.Field('clip', shape)})
  with pytest.raises(UserError, match='makes clips: take a data set that has them'):
    mocogan.build(fields={})
