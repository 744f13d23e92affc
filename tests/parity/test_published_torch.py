"""Imported weights against PyTorch running the same state dictionaries: pictures in evaluation, logits in training.

The networks are written from the published codes' descriptions, as functions of a state dictionary. D is compared in a
training call, where all kinds of spectral norm iterate once from u.
"""

import jax
import numpy as np
import pytest
import torch_files

from ganjax import experiment
from ganjax.weights import published

torch = pytest.importorskip('torch')

F = torch.nn.functional


class Net:
  """A network of a state dictionary."""

  def __init__(self, form, arrays):
    self.mimicry, self.w = form == 'mimicry', {k: torch.tensor(x) for k, x in arrays.items()}

  def weight(self, name):
    """A layer's weight, divided by its norm where there is a u."""
    w = self.w.get(f'{name}.weight_orig', self.w.get(f'{name}.weight'))
    (u,) = [
      self.w[f'{name}.{k}'] for k in ('weight_u', 'sn_u', 'u0') if f'{name}.{k}' in self.w
    ] or [None]
    if u is None:
      return w
    matrix = w.flatten(1)
    v = F.normalize(u.reshape(-1) @ matrix, dim=0)
    return w / (F.normalize(matrix @ v, dim=0) @ matrix @ v)

  def conv(self, name, x):
    w = self.weight(name)
    return F.conv2d(x, w, self.w.get(f'{name}.bias'), padding=w.shape[-1] // 2)

  def linear(self, name, x):
    return F.linear(x, self.weight(name), self.w.get(f'{name}.bias'))

  def norm(self, name, x, y):
    """Batch norm with running statistics, then ReLU."""
    column = lambda x: x[..., None, None]
    w = lambda *kinds: next((self.w[f'{name}.{k}'] for k in kinds if f'{name}.{k}' in self.w), None)
    mean = w('running_mean', 'stored_mean', 'bn.running_mean')
    var = w('running_var', 'stored_var', 'bn.running_var')
    gain, bias = w('weight', 'gain'), w('bias')
    if f'{name}.embed.weight' in self.w:
      gain, bias = self.w[f'{name}.embed.weight'][y].chunk(2, 1)
    elif gain is None:
      gain, bias = 1 + self.linear(f'{name}.gain', y), self.linear(f'{name}.bias', y)
    x = (x - column(mean)) / column((var + 1e-5).sqrt())
    return F.relu(x * column(gain) + column(bias))

  def attention(self, name, x):
    if f'{name}.gamma' not in self.w:
      return x
    theta, phi, g = (self.conv(f'{name}.{part}', x) for part in ('theta', 'phi', 'g'))
    phi, g = (F.max_pool2d(y, 2).flatten(2) for y in (phi, g))
    weights = F.softmax(theta.flatten(2).transpose(1, 2) @ phi, -1)
    found = (g @ weights.transpose(1, 2)).reshape(len(x), -1, *x.shape[2:])
    return x + self.w[f'{name}.gamma'] * self.conv(f'{name}.o', found)

  def names(self, i):
    """Names of block i: its convolutions, norms, and attention."""
    if self.mimicry:
      at = lambda *kinds: [f'block{i}.{k}' for k in kinds]
      return at('c1', 'c2', 'c_sc'), at('b1', 'b2'), ''
    at = lambda *kinds: [f'blocks.{i}.0.{k}' for k in kinds]
    return at('conv1', 'conv2', 'conv_sc'), at('bn1', 'bn2'), f'blocks.{i}.1'

  def G(self, z, y, blocks, side):
    how = dict(mode='bilinear', align_corners=False) if self.mimicry else {}
    double = lambda x: F.interpolate(x, scale_factor=2, **how)
    parts = z.chunk(blocks + 1, 1) if not self.mimicry else [z]
    conditions = [y] * blocks
    if not self.mimicry:
      conditions = [torch.cat([self.w['shared.weight'][y], part], 1) for part in parts[1:]]
    x = self.linear('l1' if self.mimicry else 'linear', parts[0]).reshape(len(z), -1, side, side)
    for i, condition in enumerate(conditions):
      (first, second, skip), (b1, b2), attention = self.names(i + 2 * self.mimicry)
      h = self.conv(first, double(self.norm(b1, x, condition)))
      x = self.conv(second, self.norm(b2, h, condition)) + self.conv(skip, double(x))
      x = self.attention(attention, x)
    last = blocks + 2
    norm, conv = (f'b{last}', f'c{last}') if self.mimicry else ('output_layer.0', 'output_layer.2')
    return torch.tanh(self.conv(conv, self.norm(norm, x, None)))

  def D(self, x, y, blocks, downs, last):
    for i in range(blocks):
      (first, second, skip), _, attention = self.names(i + self.mimicry)
      if self.mimicry and i:
        x = F.relu(x)  # in place, before the identity path takes it
      h = self.conv(second, F.relu(self.conv(first, F.relu(x) if i else x)))
      x = h + (self.conv(skip, x) if f'{skip}.bias' in self.w else x)
      x = F.avg_pool2d(x, 2) if i < downs else x
      x = self.attention(attention, x)
    x = F.relu(x).sum((2, 3))
    logits = self.linear(f'l{last}' if self.mimicry else 'linear', x)[:, 0]
    table = 'l_y' if self.mimicry else 'embed'
    return logits + (self.weight(table)[y] * x).sum(1) if f'{table}.weight' in self.w else logits


# Blocks of G and its first side; blocks of D, of which so many halve, and the number of its last layer.
LAYOUT = {
  'SNGAN 48': (3, 6, 5, 4, 5),
  'cGAN-PD 32': (3, 4, 4, 2, 5),
  'BigGAN 32': (3, 4, 4, 2, None),
}


@pytest.mark.parametrize('saved', ['zip', 'legacy', 'checkpoint'])
@pytest.mark.parametrize('name', LAYOUT)
def test_pictures_and_logits(name, saved, tmp_path):
  form, _, _, *shapes = torch_files.CASES[name]
  blocks_G, side, blocks_D, downs, last = LAYOUT[name]
  config = torch_files.make_config(name)
  published.set_networks(config, form)
  run, rng = experiment.build(config), np.random.default_rng(1)
  size, y = config.data.resolution, rng.integers(0, 3, 4)
  inputs = {
    'G': rng.normal(size=(4, config.method.z_dim)).astype(np.float32),
    'D': rng.uniform(-1, 1, (4, size, size, 3)).astype(np.float32),
  }
  for net, shape in zip('GD', shapes):
    arrays = torch_files.fill(shape, seed=ord(net))
    tensors = {key: torch.tensor(x) for key, x in arrays.items()}
    optimizer = torch.optim.Adam([p := torch.nn.Parameter(torch.ones(3))])
    p.sum().backward()
    optimizer.step()
    whole = {
      'model_state_dict': tensors,
      'optimizer_state_dict': optimizer.state_dict(),
      'global_step': 7,
    }
    tensors = whole if saved == 'checkpoint' else tensors
    torch.save(tensors, tmp_path / net, _use_new_zipfile_serialization=saved != 'legacy')
    ours = published.read(tmp_path / net, run, net, form)
    variables = {'params': ours['params'], **ours['stats']}
    twin, x = Net(form, arrays), inputs[net]
    if net == 'G':
      found = jax.jit(lambda v, x: run.method.nets['G'].apply(v, x, y, train=False))(variables, x)
      expected = twin.G(torch.tensor(x), torch.tensor(y), blocks_G, side).permute(0, 2, 3, 1)
      assert expected.std() > 0.1
    else:
      found = jax.jit(
        lambda v, x: run.method.nets['D'].apply(v, x, y, train=True, mutable=True)[0]
      )(variables, x)
      images = torch.tensor(x).permute(0, 3, 1, 2)
      expected = twin.D(images, torch.tensor(y), blocks_D, downs, last)
    scale = max(1, np.abs(expected.numpy()).max())
    np.testing.assert_allclose(np.asarray(found) / scale, expected.numpy() / scale, atol=1e-5)
