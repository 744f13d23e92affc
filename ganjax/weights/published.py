"""Weights of published PyTorch networks: what theirs are called, and what ours are made of them.

Two formats, by the codes that write them:

  mimicry: G and D of torch-mimicry's SNGAN (32, 48, 64, 128 pixels) and cGAN-PD (32, 128), for networks.name=resnet.
  biggan_pytorch: the state dictionaries G, G_ema and D of BigGAN-PyTorch, for networks.name=biggan.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from ganjax import UserError
from ganjax.weights import torch_file
from ganjax.weights.places import fill, find_layer, torch_axes

# What the configuration must say of the networks of a format.
NETWORKS = {
  'mimicry': {'name': 'resnet', 'bilinear': True, 'relu_skip': True},
  'biggan_pytorch': {'name': 'biggan', 'norm_eps': 1e-5, 'relu_skip': False},
}
# Our names of arrays -> those that they may have there. mimicry has two kinds of spectral norm: torch's, and its own in
# the last layers of cGAN-PD's D.
WEIGHT = ('weight', 'weight_orig')
SAME = {'kernel': WEIGHT, 'embedding': WEIGHT, 'bias': ('bias',), 'gamma': ('gamma',)}
ARRAYS = {
  'mimicry': SAME
  | {
    'scale': ('weight',),
    'mean': ('running_mean',),
    'var': ('running_var',),
    'u': ('weight_u', 'sn_u'),
  },
  'biggan_pytorch': SAME
  | {'scale': ('gain',), 'mean': ('stored_mean',), 'var': ('stored_var',), 'u': ('u0',)},
}
# Theirs without a counterpart here: v and sigma of spectral norm follow from u, and counts are of no use.
UNUSED = r'.*\.(weight_v|sn_sigma|sv0|num_batches_tracked)'
ATTENTION = {'query': 'theta', 'key': 'phi', 'value': 'g', 'out': 'o'}


def set_networks(config: ConfigDict, name: str) -> list[str]:
  """Makes a configuration's networks those of a format; returns lines that say what changed.

  Raises:
    UserError: they are other networks, or several seeds.
  """
  if config.seeds > 1:
    raise UserError('weights are imported for one seed: set --config.seeds=1')
  lines = []
  for field, value in NETWORKS[name].items():
    if field == 'name' and config.networks.name != value:
      raise UserError(f'--format {name} is for networks.name={value}, not {config.networks.name!r}')
    if config.networks.get(field) != value:
      with config.unlocked():
        config.networks[field] = value
      lines.append(
        f'networks.{field}={value}: so are the networks of {name}; a config that trains on needs it too'
      )
  return lines


def read(path: Path, run: Any, net: str, name: str) -> dict:
  """{'params', 'stats'} of a network, host arrays, from a file.

  In evaluation our spectral norm iterates once from u, as BigGAN-PyTorch's does; mimicry's D takes v as it was left.

  Args:
    path: the file, a state dictionary or a checkpoint with one under 'model_state_dict'.
    run: the experiment, whose configuration has been through `set_networks`.
    net: 'G' or 'D'.
    name: a format.

  Raises:
    UserError: it cannot be read, or lacks an array, has an unknown one or one of another shape.
  """
  try:
    data = path.expanduser().read_bytes()
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from None
  arrays = torch_file.read(data, str(path), ('model_state_dict',))
  state = jax.eval_shape(run.init, run.key)
  template = {'params': state.params[net], 'stats': state.stats[net]}
  rules = {'mimicry': name_mimicry, 'biggan_pytorch': name_biggan}[name](net, run.config)

  def find(where, shape):
    collection, *layer, kind = where
    layer = layer[1:] if collection == 'stats' else layer  # that of statistics has a name more
    theirs = find_layer(_see_through(layer, net), rules, net)
    keys = [f'{theirs}.{array}' for array in ARRAYS[name][kind]]
    if theirs.endswith('.embed') and name == 'mimicry':
      # Gains, which are absolute there and above 1 here, beside biases.
      scale, width = layer[-1] == 'scale', shape[1]
      halves = lambda x: x[:, :width] - 1 if scale else x[:, width:]
      return keys, (shape[0], 2 * width), halves
    there, turn = torch_axes(kind, shape)
    # The linear layer's output is a map of 16 or 36 pixels: channels come first there, last here.
    if net == 'G' and theirs in ('l1', 'linear'):
      return keys, there, lambda x: _channels_last(turn(x), state.params['G'])
    return keys, there, turn

  return fill(template, arrays, find, path, net, UNUSED)


def _channels_last(x, params):
  """Reorders the last axis, the output of G's linear layer, from [C, H, W] to [H, W, C]."""
  # The channels of the map are those that the first block's convolutions see.
  channels = params['UpBlock_0']['Conv_2']['kernel'].shape[2]
  return x.reshape(-1, channels, x.shape[-1] // channels).swapaxes(1, 2).reshape(x.shape)


def _see_through(layer, net):
  """The path of a layer, also where that of its SpectralNorm is given: those are numbered as layers are made."""
  *scope, last = layer
  if not last.startswith('SpectralNorm'):
    return '/'.join(layer)
  number, where = int(last.split('_')[1]), scope[-1].split('_')[0] if scope else net
  made = {
    'G': ('Dense_0', 'Conv_0'),
    'D': ('Dense_0', 'ClassEmbed_0'),
    'ConditionalBatchNorm': ('scale', 'bias'),
    'SelfAttention': tuple(ATTENTION),
  }
  return '/'.join([*scope, made[where][number] if where in made else f'Conv_{number}'])


def name_mimicry(net: str, config: ConfigDict) -> list[tuple[str, Callable[..., str]]]:
  """[(pattern of our layers' paths, torch-mimicry's name of what its groups hold)]."""
  first = 2 if net == 'G' else 1
  # G's linear layer counts as the first; D's last has the number of G's last.
  last = {32: 5, 48: 5, 64: 6, 128: 7}[config.data.resolution]
  return [
    (r'\w+Block_(\d)/Conv_(\d)', lambda i, j: f'block{i + first}.{("c1", "c2", "c_sc")[j]}'),
    (r'UpBlock_(\d)/BatchNorm_(\d)', lambda i, j: f'block{i + 2}.b{j + 1}'),
    (r'UpBlock_(\d)/ConditionalBatchNorm_(\d)', lambda i, j: f'block{i + 2}.b{j + 1}.bn'),
    (
      r'UpBlock_(\d)/ConditionalBatchNorm_(\d)/(?:scale|bias)',
      lambda i, j: f'block{i + 2}.b{j + 1}.embed',
    ),
    (r'BatchNorm_0', lambda: f'b{last}'),
    (r'Conv_0', lambda: f'c{last}'),
    (r'Dense_0', lambda: 'l1' if net == 'G' else f'l{last}'),
    (r'ClassEmbed_0', lambda: 'l_y'),
  ]


def name_biggan(net: str, config: ConfigDict) -> list[tuple[str, Callable[..., str]]]:
  """[(pattern of our layers' paths, BigGAN-PyTorch's name of what its groups hold)]."""
  side, resolution = config.networks.attention, config.data.resolution
  steps = side // 4 if net == 'G' else resolution // (side or resolution)
  at = f'blocks.{steps.bit_length() - 2}.1'  # the block that first reaches the side
  gains = {'scale': 'gain', 'bias': 'bias'}
  return [
    (r'\w+Block_(\d)/Conv_(\d)', lambda i, j: f'blocks.{i}.0.{("conv1", "conv2", "conv_sc")[j]}'),
    (r'UpBlock_(\d)/ConditionalBatchNorm_(\d)', lambda i, j: f'blocks.{i}.0.bn{j + 1}'),
    (
      r'UpBlock_(\d)/ConditionalBatchNorm_(\d)/(\w+)',
      lambda i, j, what: f'blocks.{i}.0.bn{j + 1}.{gains[what]}',
    ),
    (r'SelfAttention_0', lambda: at),
    (r'SelfAttention_0/(\w+)', lambda what: f'{at}.{ATTENTION[what]}'),
    (r'BatchNorm_0', lambda: 'output_layer.0'),
    (r'Conv_0', lambda: 'output_layer.2'),
    (r'Dense_0', lambda: 'linear'),
    (r'ClassEmbed_0', lambda: 'shared' if net == 'G' else 'embed'),
  ]
