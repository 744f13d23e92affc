"""networks/dvdgan.py: the recurrent cell against a PyTorch twin in float64; shapes, and what a logit is the sum of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_attngan_torch import layer

from ganjax import UserError, media
from ganjax.methods import dvdgan as method_file
from ganjax.networks import dvdgan

torch = pytest.importorskip('torch')

nn, F = torch.nn, torch.nn.functional
FIELDS = {'clip': media.Field('clip', (4, 32, 32, 3), 10)}


class ConvGRU(nn.Module):
  """As the paper writes it: each convolution is of the input and the state side by side."""

  def __init__(self, c):
    super().__init__()
    self.gates, self.new = nn.Conv2d(2 * c, 2 * c, 3, padding=1), nn.Conv2d(2 * c, c, 3, padding=1)

  def forward(self, x):
    h, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
      reset, keep = torch.sigmoid(self.gates(torch.cat([x[:, t], h], 1))).chunk(2, 1)
      new = F.relu(self.new(torch.cat([x[:, t], reset * h], 1)))
      h = keep * h + (1 - keep) * new
      states.append(h)
    return torch.stack(states, 1)


def test_the_recurrent_cell():
  torch.manual_seed(0)
  net, x = ConvGRU(3).double(), np.random.default_rng(0).normal(size=(2, 4, 5, 4, 3))
  gates, new = layer(net.gates), layer(net.new)
  join = lambda name, part: np.concatenate([gates[name][part], new[name][part]], -1)
  into, back = np.s_[:, :, :3], np.s_[:, :, 3:]
  params = {
    'Conv_0': {'kernel': join('kernel', into), 'bias': join('bias', np.s_[:])},
    'gates': gates['kernel'][back],
    'new': new['kernel'][back],
  }
  with jax.enable_x64(True):
    cell = dvdgan.ConvGRU('float64', 'float64')
    found = jax.jit(lambda params, x: cell.apply({'params': params}, x))(params, x)
  wanted = net(torch.tensor(np.moveaxis(x, -1, 2)))
  np.testing.assert_allclose(found, np.moveaxis(wanted.detach().numpy(), 2, -1), rtol=1e-10)


@pytest.mark.slow
def test_shapes_and_sums():
  nets = dvdgan.build(fields=FIELDS, width=1, width_D=1, recurrent=(4,))
  z, clips = jnp.zeros((2, 5)), np.random.default_rng(0).uniform(-1, 1, (2, 4, 32, 32, 3))
  start = lambda net, *x: net.init_with_output(jax.random.key(0), *x, train=False)
  out, _ = jax.eval_shape(lambda: start(nets['G'], z))
  assert out.shape == (2, 4, 32, 32, 3)
  _, variables = jax.jit(lambda x: start(nets['D_frames'], x))(clips)
  judge = jax.jit(lambda x: nets['D_frames'].apply(variables, x, train=False))
  each = [judge(clips[:, i : i + 1]) for i in range(4)]
  np.testing.assert_allclose(judge(clips), sum(each), rtol=1e-4)
  out, _ = jax.eval_shape(lambda: start(nets['D_clips'], clips))
  assert out.shape == (2,)


@pytest.mark.parametrize('arguments, message', [
  (dict(recurrent=(4, 5)), r'recurrent=\(4, 5\) must be sides of maps: 4, 8, 16'),
  (dict(fields={}), 'makes clips: take a data set that has them'),
  (dict(fields={'clip': media.Field('clip', (6, 32, 32, 3), 10)}), 'data.frames in fours, not 6'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    dvdgan.build(**{'fields': FIELDS, **arguments})
  with pytest.raises(UserError, match='frames_per_clip=9 must be a whole number from 1 to the 4'):
    method_file.build({'G': None}, fields=FIELDS, frames_per_clip=9)
