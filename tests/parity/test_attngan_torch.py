"""networks/attngan.py, losses/damsm.py and methods/attngan.py against PyTorch twins with the same weights, in float64.

The twin of DAMSM goes pair by pair over texts without padding, as the paper writes it.
"""

import jax
import numpy as np
import pytest
import toys
from test_biggan_torch import close
from test_mocogan_torch import value

from ganjax import component, media
from ganjax import config as configs
from ganjax.losses import damsm
from ganjax.method import name_nets, named, spans
from ganjax.networks import attngan
from ganjax.optim import optimizers
from ganjax.update import init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
W, SIDES, Z, C, E, VOCABULARY, BATCH, L = 2, (8, 16), 3, 2, 6, 11, 4, 5
SIZES = dict(width=W, width_D=W, residuals=1, vocabulary=VOCABULARY, embedding=4, features=E)
DOUBLE = dict(dtype='float64', param_dtype='float64')
ADAM = dict(lr=2.0**-9, b1=0.5, b2=0.999, eps=1e-6)
LENGTHS = [5, 1, 3, 4]
glu = lambda x: x.chunk(2, 1)[0] * torch.sigmoid(x.chunk(2, 1)[1])


def words_of(rng):
  words = rng.integers(1, 1000, (BATCH, L)).astype(np.int32)
  return np.where(np.arange(L) < np.array(LENGTHS)[:, None], words, 0)


class T(nn.Module):
  def __init__(self):
    super().__init__()
    self.embed = nn.Embedding(VOCABULARY, 4)
    self.lstm = nn.LSTM(4, E // 2, batch_first=True, bidirectional=True)

  def forward(self, words):
    words = torch.tensor(words).long()
    ids = torch.where(words > 0, 1 + (words - 1) % (VOCABULARY - 1), 0)
    packed = nn.utils.rnn.pack_padded_sequence(self.embed(ids), LENGTHS, True, False)
    found, (last, _) = self.lstm(packed)
    found, _ = nn.utils.rnn.pad_packed_sequence(found, batch_first=True, total_length=L)
    return found, last.transpose(0, 1).reshape(len(words), -1), words > 0


class Attention(nn.Module):
  def __init__(self):
    super().__init__()
    self.context = nn.Linear(E, W, bias=False)

  def forward(self, x, words, there):
    source = self.context(words)
    scores = x.flatten(2).transpose(1, 2) @ source.transpose(1, 2)
    weights = scores.masked_fill(~there[:, None], -torch.inf).softmax(2)
    return (weights @ source).transpose(1, 2).reshape(x.shape)


class Up(nn.Module):
  def __init__(self, a, b):
    super().__init__()
    self.conv, self.norm = nn.Conv2d(a, 2 * b, 3, padding=1, bias=False), nn.BatchNorm2d(2 * b)

  def forward(self, x):
    return glu(self.norm(self.conv(F.interpolate(x, scale_factor=2))))


class G(nn.Module):
  def __init__(self):
    super().__init__()
    conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1, bias=False)
    self.condition = nn.Linear(E, 4 * C)
    self.first, self.norm = nn.Linear(C + Z, 2 * 16 * 2 * W, bias=False), nn.BatchNorm1d(64 * W)
    self.up, self.show = Up(2 * W, W), conv(W, 3)
    self.attention = Attention()
    self.c1, self.n1 = conv(2 * W, 4 * W), nn.BatchNorm2d(4 * W)
    self.c2, self.n2 = conv(2 * W, 2 * W), nn.BatchNorm2d(2 * W)
    self.up2, self.show2 = Up(2 * W, W), conv(W, 3)

  def forward(self, z, noise, words, sentence, there):
    mean, log_variance = glu(self.condition(sentence)).chunk(2, 1)
    c = mean + (log_variance / 2).exp() * noise
    x = glu(self.norm(self.first(torch.cat([c, z], 1))))
    x = self.up(x.reshape(-1, 4, 4, 2 * W).permute(0, 3, 1, 2))
    small = self.show(x).tanh()
    x = torch.cat([x, self.attention(x, words, there)], 1)
    x = x + self.n2(self.c2(glu(self.n1(self.c1(x)))))
    return (small, self.show2(self.up2(x)).tanh()), mean, log_variance


class Judge(nn.Module):
  def __init__(self, side):
    super().__init__()
    down = lambda a, b: nn.Conv2d(a, b, 4, 2, 1, bias=False)
    last = W * side // 8
    self.first = down(3, W)
    self.others = nn.ModuleList([down(W, 2 * W)] if side == 16 else [])
    self.norms = nn.ModuleList([nn.BatchNorm2d(2 * W)] if side == 16 else [])
    self.joint = nn.Conv2d(last + E, last, 3, padding=1, bias=False)
    self.joint_norm = nn.BatchNorm2d(last)
    self.plain, self.matched = nn.Conv2d(last, 1, 4), nn.Conv2d(last, 1, 4)

  def look(self, x):
    x = F.leaky_relu(self.first(x), 0.2)
    for layer, norm in zip(self.others, self.norms):
      x = F.leaky_relu(norm(layer(x)), 0.2)
    return x

  def alone(self, x):
    return self.plain(x)[:, 0, 0, 0]

  def match(self, x, sentence):
    there = sentence[..., None, None].expand(-1, -1, 4, 4)
    x = F.leaky_relu(self.joint_norm(self.joint(torch.cat([x, there], 1))), 0.2)
    return self.matched(x)[:, 0, 0, 0]


def layer(module):
  weight = value(module.weight)
  if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
    return {'scale': weight, 'bias': value(module.bias)}
  bias = {} if module.bias is None else {'bias': value(module.bias)}
  return {'kernel': weight.transpose(*range(2, weight.ndim), 1, 0), **bias}


def moving(module):
  return {'mean': value(module.running_mean), 'var': value(module.running_var)}


def of_T(net):
  found = {'Embed_0': {'embedding': value(net.embed.weight)}}
  for i, end in enumerate(('', '_reverse')):
    read = lambda name, end=end: value(getattr(net.lstm, f'{name}_l0{end}')).reshape(4, E // 2, -1)
    into, back, bias = read('weight_ih'), read('weight_hh'), read('bias_ih') + read('bias_hh')
    cell = {}
    for k, gate in enumerate('ifgo'):
      cell[f'i{gate}'] = {'kernel': into[k].T}
      cell[f'h{gate}'] = {'kernel': back[k].T, 'bias': bias[k, :, 0]}
    found[f'OptimizedLSTMCell_{i}'] = cell
  return found


def of_G(net):
  convs = [net.up.conv, net.show, net.c1, net.c2, net.up2.conv, net.show2]
  linear = [net.condition, net.first, net.attention.context]
  return (
    {f'Conv_{i}': layer(one) for i, one in enumerate(convs)}
    | {f'Dense_{i}': layer(one) for i, one in enumerate(linear)}
    | {f'BatchNorm_{i}': layer(one) for i, one in enumerate(norms_of_G(net))}
  )


def norms_of_G(net):
  return [net.norm, net.up.norm, net.n1, net.n2, net.up2.norm]


def of_D(judges, make, kinds):
  """{'judges_0': {layer: what `make` makes of it}} of layers of some kinds."""
  found = {}
  for i, judge in enumerate(judges):
    names = {name.replace('.', '_'): one for name, one in judge.named_modules()}
    found[f'judges_{i}'] = {n: make(one) for n, one in names.items() if isinstance(one, kinds)}
  return found


def cosine(a, b):
  return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def scores_of_words(places, words):
  """Equations 7 to 10, a pair at a time: [pictures, texts]."""
  rows = []
  for picture in places:
    row = []
    for text, count in zip(words, LENGTHS):
      text = text[:count]
      s = (text @ picture.T).softmax(0)
      attention = (4 * s).softmax(1)
      near = cosine(attention @ picture, text)
      row.append(10 * (5 * near).exp().sum().log())
    rows.append(torch.stack(row))
  return torch.stack(rows)


def matching(scores, label):
  alike = (label[:, None] == label[None]) & ~torch.eye(len(label), dtype=bool)
  scores = scores.masked_fill(alike, -torch.inf)
  own = torch.arange(len(label))
  return F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)


def test_damsm():
  rng = np.random.default_rng(0)
  places, words = rng.normal(size=(BATCH, 7, E)), rng.normal(size=(BATCH, L, E))
  there, label = words_of(rng) > 0, np.array([0, 1, 0, 2])
  wanted = scores_of_words(torch.tensor(places), torch.tensor(words))
  alike = label[:, None] == label[None]
  with jax.enable_x64(True):
    found = jax.jit(damsm.words)(places, words, there)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    loss = jax.jit(damsm.matching)(found, alike)
    np.testing.assert_allclose(loss, matching(wanted, torch.tensor(label)), rtol=1e-10)
    # What stands where there is no word has no part in it, nor in the gradient.
    total = lambda words: damsm.matching(damsm.words(places, words, there), alike)
    slope = np.asarray(jax.jit(jax.grad(total))(words))
    assert np.isfinite(slope).all() and not slope[~there].any() and slope[there].all()
    far = np.where(there[..., None], words, 1e3)
    np.testing.assert_allclose(jax.jit(damsm.words)(places, far, there), found, rtol=1e-10)


def test_attention_and_the_text_encoder():
  torch.manual_seed(0)
  rng, t, attention = np.random.default_rng(0), T().double(), Attention().double()
  words, x = words_of(rng), rng.normal(size=(BATCH, 2, 3, W))
  with jax.enable_x64(True):
    net = attngan.build(resolution=16, channels=3, sides=SIDES, **SIZES, **DOUBLE)['T']
    found = jax.jit(lambda words: net.apply({'params': of_T(t)}, words, train=False))(words)
    for ours, theirs in zip(found, t(words), strict=True):
      np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-12)
    context = value(attention.context.weight).T
    ours = jax.jit(lambda x, words, there: attngan.attend(x, words @ context, there))(
      x, found[0], found[2]
    )
    theirs = attention(torch.tensor(x).permute(0, 3, 1, 2), *t(words)[::2])
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).detach().numpy(), atol=1e-12)


def test_words_beyond_the_vocabulary_and_texts_without_words_are_finite():
  net = attngan.build(resolution=16, channels=3, sides=SIDES, **SIZES)['T']
  words = np.array([[2**31 - 2, 0, 0], [0, 0, 0]], np.int32)
  run = jax.jit(lambda key: net.init_with_output(key, words, train=False)[0])
  found, sentence, there = run(jax.random.key(0))
  assert np.isfinite(found).all() and np.isfinite(sentence).all()
  assert there.tolist() == [[True, False, False]] * 2


@pytest.mark.slow
def test_a_whole_update_of_each_stage(monkeypatch):
  toys.add(monkeypatch.setattr)
  torch.manual_seed(0)
  rng = np.random.default_rng(0)
  t, g = T().double(), G().double().train()
  judges = nn.ModuleList([Judge(side) for side in SIDES]).double().train()
  places, whole = nn.Linear(4, E, bias=False).double(), nn.Linear(5, E).double()
  four, eight = nn.Conv2d(3, 4, 4, 4).double(), nn.Conv2d(4, 5, 2, 2).double()

  def encode(x):
    near = F.relu(four(F.interpolate(x, (64, 64), mode='bilinear')))
    far = F.relu(eight(near))
    return places(near.flatten(2).transpose(1, 2)), whole(far.mean((2, 3)))

  def losses(x, text, label):
    words, sentence, _ = text
    near, far = encode(x)
    pairs = 10 * cosine(far[:, None], sentence[None])
    return {
      'loss_words': matching(scores_of_words(near, words), label),
      'loss_sentence': matching(pairs, label),
    }

  params = lambda: {
    'T': of_T(t),
    'I': {'Dense_0': layer(places), 'Dense_1': layer(whole)},
    'G': of_G(g),
    'D': of_D(judges, layer, (nn.Conv2d, nn.BatchNorm2d)),
  }
  stats = lambda: {
    'T': {},
    'I': {},
    'G': {'batch_stats': {f'BatchNorm_{i}': moving(n) for i, n in enumerate(norms_of_G(g))}},
    'D': {'batch_stats': of_D(judges, moving, nn.BatchNorm2d)},
  }
  adam = lambda *nets: torch.optim.Adam(
    [p for net in nets for p in net.parameters()], ADAM['lr'], (0.5, 0.999), ADAM['eps']
  )
  bce = lambda x, target: F.binary_cross_entropy_with_logits(x, torch.full_like(x, target))
  batch = {
    'image': rng.uniform(-1, 1, (BATCH, 16, 16, 3)),
    'words': words_of(rng),
    'label': np.array([0, 1, 0, 2]),
  }
  image, label = torch.tensor(batch['image']).permute(0, 3, 1, 2), torch.tensor(batch['label'])
  with jax.enable_x64(True):
    nets = attngan.build(resolution=16, channels=3, sides=SIDES, dropout=0.0, **SIZES, **DOUBLE)
    arguments = dict(name='attngan', z_dim=Z, condition_dim=C, pretrain=1, kl_weight=0.5)
    arguments |= dict(damsm_weight=3.0, network='squares', side=64)
    shapes = {'image': (16, 16, 3), 'words': (L,), 'label': ()}
    fields = {n: media.Field('image' if n == 'image' else 'label', s) for n, s in shapes.items()}
    method = component.build('methods', arguments, nets=name_nets(nets), fields=fields)
    opts = {n: configs.adam(**ADAM) for n in ('D', 'G', 'damsm')}
    known, base = optimizers.build(opts, method.phases, 2), jax.random.key(0)
    frozen = {'F': {'params': {'four': layer(four), 'eight': layer(eight)}, 'stats': {}}}
    state = jax.jit(lambda batch: init(method, known, base, batch))(batch)
    jax.tree.map(lambda x, y: np.testing.assert_equal(x.shape, y.shape), state.params, params())
    state = state.replace(params=params(), stats=stats())
    first, second = spans(method, 2, BATCH)

    opt = adam(t, places, whole)
    terms = losses(image, t(batch['words']), label)
    sum(terms.values()).backward()
    opt.step()
    state, metrics = make_update(method, first, known)(state, (batch,), frozen, phases=('damsm',))
    for name, term in terms.items():
      np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-9, err_msg=name)
    # The LSTM of torch has two biases a gate, which move apart from each other's gradients as one of twice the rate.
    for name in 'T', 'I':
      ours, theirs = state.params[name], params()[name]
      for cell in ours.values() if name == 'T' else ():
        for gate in cell.values():
          if isinstance(gate, dict):
            gate.pop('bias', None)
      for cell in theirs.values() if name == 'T' else ():
        for gate in cell.values():
          if isinstance(gate, dict):
            gate.pop('bias', None)
      close(ours, theirs, 1e-7)
    state = state.replace(params=params())

    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(base, 1), 0), 0)
    draw = lambda name, n: torch.tensor(np.asarray(jax.random.normal(named(key, name), (BATCH, n))))
    with torch.no_grad():
      text = t(batch['words'])
    drawn, sentence = (draw('z', Z), draw('condition', C)), text[1]
    reals = F.avg_pool2d(image, 2), image
    fakes, mean, log_variance = g(*drawn, *text)
    opt_d, opt_g, terms = adam(judges), adam(g), {}
    for judge, real, fake in zip(judges, reals, fakes):
      real, fake = judge.look(real), judge.look(fake.detach())
      for name, x, target, share in (
        ('real', real, 1.0, 2),
        ('fake', fake, 0.0, 3),
        ('mismatched', torch.cat([real[1:], real[:1]]), 0.0, 3),
      ):
        matched = bce(judge.match(x, sentence), target) / share
        terms[f'loss_{name}_text'] = terms.get(f'loss_{name}_text', 0) + matched
        if name != 'mismatched':
          alone = bce(judge.alone(x), target) / share
          terms[f'loss_{name}'] = terms.get(f'loss_{name}', 0) + alone
    opt_d.zero_grad()
    sum(terms.values()).backward()
    opt_d.step()
    kept = [b.clone() for b in judges.buffers()]
    looks = [judge.look(fake) for judge, fake in zip(judges, fakes)]
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).mean()
    own = {f'{n}_G': 3.0 * term for n, term in losses(fakes[-1], text, label).items()}
    own |= {
      'loss_G': sum(bce(judge.alone(x), 1.0) for judge, x in zip(judges, looks)),
      'loss_G_text': sum(bce(judge.match(x, sentence), 1.0) for judge, x in zip(judges, looks)),
      'loss_kl': 0.5 * kl,
    }
    opt_g.zero_grad()
    sum(own.values()).backward()
    opt_g.step()
    for buffer, before in zip(judges.buffers(), kept):
      buffer.data = before
    update = make_update(method, second, known)
    state, metrics = update(state, (batch,), frozen, phases=('D', 'G'))
    for name, term in (terms | own).items():
      np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-8, err_msg=name)
    for name in 'G', 'D':
      close(state.params[name], params()[name], 1e-6)
      close(state.stats[name], stats()[name], 1e-8)
    rows = method.rows(np.arange(BATCH), {'words': batch['words']})
    sample = jax.jit(lambda state, rows: second.stage.sample(state, rows, train=False)[0])
    one = torch.tensor(np.asarray(rows['z'])), torch.tensor(np.asarray(rows['noise']))
    wanted = g.eval()(*one, *text)[0][-1].permute(0, 2, 3, 1).detach().numpy()
    np.testing.assert_allclose(sample(state, rows), wanted, atol=1e-6)
