"""AdaIN against a PyTorch twin with the same weights, in float64: VGG19 from both kinds of files, one whole update."""

import jax
import numpy as np
import pytest
from test_biggan_torch import close
from test_dfgan_torch import layer

from ganjax import component, media
from ganjax import config as configs
from ganjax.features import vgg19, vgg19_normalised
from ganjax.method import name_nets, spans
from ganjax.optim import optimizers
from ganjax.update import init, make_update

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
SIDE, WIDTH, BATCH = 16, 2, 2
ADAM = dict(lr=2.0**-9, b1=0.9, b2=0.999, eps=1e-6)
ENDS = ((2, 64), (2, 128), (4, 256), (1, 512))  # of the blocks of VGG19
TAPS = tuple(vgg19.TAPS)


def encoder(mirrored):
  """The modules of `vgg_normalised.pth`, or of torchvision's `features`, up to relu4_1."""
  found, a = [nn.Conv2d(3, 3, 1)] if mirrored else [], 3
  for block, (count, b) in enumerate(ENDS):
    found += [nn.MaxPool2d(2, 2, ceil_mode=mirrored)] if block else []
    for _ in range(count):
      found += [nn.ReflectionPad2d(1)] if mirrored else []
      found += [nn.Conv2d(a, b, 3, padding=0 if mirrored else 1), nn.ReLU()]
      a = b
  return nn.Sequential(*found).double()


def maps(network, x):
  """Those of TAPS: what the first ReLU of each block makes."""
  found, first = [], True
  for module in network:
    x = module(x)
    first = first or isinstance(module, nn.MaxPool2d)
    if first and isinstance(module, nn.ReLU):
      found.append(x)
      first = False
  return found


def tensors(network, prefix):
  return {f'{prefix}{name}': p.detach().numpy().copy() for name, p in network.named_parameters()}


@pytest.mark.parametrize('mirrored', [False, True])
def test_the_encoders_of_both_files(mirrored):
  torch.manual_seed(0)
  network, module = encoder(mirrored), vgg19_normalised if mirrored else vgg19
  x = np.random.default_rng(0).uniform(0, 1, (1, SIDE, SIDE, 3))
  with jax.enable_x64(True):
    variables = module.convert(tensors(network, '' if mirrored else 'features.'))
    found = jax.jit(module.Network(dtype='float64', taps=TAPS).apply)(variables, x)
    wanted = maps(network, torch.tensor(x).permute(0, 3, 1, 2))
    for ours, theirs in zip(found, wanted, strict=True):
      theirs = theirs.permute(0, 2, 3, 1).detach().numpy()
      np.testing.assert_allclose(ours, theirs, atol=1e-9 * np.abs(theirs).max())
    mean = jax.jit(module.Network(dtype='float64').apply)(variables, x)['features']
    np.testing.assert_allclose(mean, theirs.mean((1, 2)), rtol=1e-8)


class Decoder(nn.Module):
  def __init__(self, w=WIDTH):
    super().__init__()
    widths = [512, 4 * w, *[4 * w] * 3, 2 * w, 2 * w, w, w, 3]
    self.layers = nn.ModuleList(
      [nn.Conv2d(a, b, 3, padding=1, padding_mode='reflect') for a, b in zip(widths, widths[1:])]
    )

  def forward(self, x):
    for i, one in enumerate(self.layers):
      if i in (1, 5, 7):
        x = F.interpolate(x, scale_factor=2)
      x = one(x)
      x = F.relu(x) if i < 8 else x
    return x  # in [0, 1]


def moments(x, eps):
  mean = x.mean((2, 3), keepdim=True)
  return mean, ((x - mean).pow(2).mean((2, 3), keepdim=True) + eps).sqrt()


# Slow: tests/methods/test_adain.py has the arithmetic in closed form.
@pytest.mark.slow
def test_a_whole_update():
  torch.manual_seed(0)
  network, g, rng = encoder(True), Decoder().double(), np.random.default_rng(0)
  params = lambda: {f'Conv_{i}': layer(one) for i, one in enumerate(g.layers)}
  opt = torch.optim.Adam(g.parameters(), ADAM['lr'], (0.9, 0.999), ADAM['eps'])
  with jax.enable_x64(True):
    sizes = dict(resolution=SIDE, channels=3, width=WIDTH)
    nets = component.build(
      'networks', dict(name='adain', dtype='float64', param_dtype='float64'), **sizes
    )
    fields = dict.fromkeys(('source', 'target'), media.Field('image', (SIDE, SIDE, 3)))
    arguments = dict(name='adain', content_weight=0.7, style_weight=0.02)
    method = component.build('methods', arguments, nets=name_nets(nets), fields=fields)
    known = optimizers.build({'G': configs.adam(**ADAM)}, method.phases, 10)
    (span,) = spans(method, 10, BATCH)
    update = make_update(method, span, known)
    batch = {name: rng.uniform(-1, 1, (BATCH, SIDE, SIDE, 3)) for name in fields}
    state = jax.jit(lambda batch: init(method, known, jax.random.key(0), batch))(batch)
    state = state.replace(params={'G': params()})
    frozen = vgg19_normalised.convert(tensors(network, ''))
    frozen = {'F': {'params': frozen['params'], 'stats': {}}}
    for _ in range(2):
      unit = lambda name: (torch.tensor(batch[name]).permute(0, 3, 1, 2) + 1) / 2
      contents, styles = (maps(network, unit(name)) for name in ('source', 'target'))
      (mean, deviation), (own, spread) = moments(styles[-1], 0), moments(contents[-1], 1e-5)
      target = ((contents[-1] - own) / spread * deviation + mean).detach()
      made = maps(network, g(target))
      pairs = [
        (a, b) for x, y in zip(made, styles) for a, b in zip(*(moments(z, 1e-6) for z in (x, y)))
      ]
      terms = {
        'loss_content': 0.7 * F.mse_loss(made[-1], target),
        'loss_style': 0.02 * sum(F.mse_loss(a, b, reduction='sum') for a, b in pairs) / BATCH,
      }
      opt.zero_grad()
      sum(terms.values()).backward()
      opt.step()
      state, metrics = update(state, (batch,), frozen, phases=('G',))
      for name, term in terms.items():
        np.testing.assert_allclose(metrics[name], term.item(), rtol=1e-8, err_msg=name)
      close(state.params['G'], params(), 1e-7)
