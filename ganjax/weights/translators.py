"""Published networks that make pictures of pictures: what they are, and where each of their arrays goes.

  basicsr: .pth of ESRGAN and Real-ESRGAN, RRDBNet by the names of BasicSR, of xinntao/ESRGAN and of its first release,
    and SRVGGNetCompact.
  cyclegan: .pth of pytorch-CycleGAN-and-pix2pix (ResNets with instance norm, U-Nets) and of CUT (ResNets that blur).

What a network is follows from the names and shapes of its arrays.
"""

import math
import re
import runpy
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from ganjax import UserError, commandline
from ganjax.weights import torch_file
from ganjax.weights.places import fill, find_layer, torch_axes

FORMATS = 'basicsr', 'cyclegan'
# Our names of arrays -> theirs.
ARRAYS = {'kernel': 'weight', 'scale': 'weight', 'slope': 'weight'}
ARRAYS |= {'mean': 'running_mean', 'var': 'running_var'}
# Files of PyTorch before 0.4 have statistics of instance norm, which their own reader drops.
STATISTICS = r'.*\.(running_mean|running_var|num_batches_tracked)'
# xinntao/ESRGAN's names and those of its first release -> BasicSR's.
RENAMED = {
  r'(?:RRDB_trunk|model\.1\.sub)\.(\d+)\.RDB(\d)\.conv(\d)(?:\.0)?': r'body.\1.rdb\2.conv\3',
  r'model\.0': 'conv_first',
  r'trunk_conv|model\.1\.sub\.\d+': 'conv_body',
  r'upconv1|model\.3': 'conv_up1',
  r'upconv2|model\.6': 'conv_up2',
  r'HRconv|model\.8': 'conv_hr',
  r'model\.10': 'conv_last',
}


class Network(NamedTuple):
  """A generator of a file.

  Attributes:
    recipe: name of the recipe with such networks.
    networks, data: what differs from it.
    nets: those of the recipe that have such networks: of CycleGAN the generators of both directions.
    rules: of `places.find_layer`.
    arrays: by their names.
    unused: a pattern of names, see `places.fill`.
  """

  recipe: str
  networks: dict
  data: dict
  nets: tuple
  rules: list
  arrays: dict
  unused: str = r'$^'


def read(path: Path, format: str) -> Network:
  """The generator of a file.

  Raises:
    UserError: it cannot be read, or holds none of these networks.
  """
  try:
    data = path.expanduser().read_bytes()
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from None
  arrays = torch_file.read(data, str(path), ('params_ema', 'params'))
  arrays = {name.removeprefix('module.'): x for name, x in arrays.items()}
  try:
    return (_of_basicsr if format == 'basicsr' else _of_cyclegan)(arrays)
  except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
    why = f'it lacks {error}' if isinstance(error, KeyError) else error
    raise UserError(f'{path} holds no network of --format {format}: {why}') from None


def configure(network: Network, name: str) -> ConfigDict:
  """The configuration of a run of such a network, called `name`: the recipe's otherwise."""
  recipe = commandline.configs_folder() / f'{network.recipe}.py'
  config = runpy.run_path(str(recipe))['get_config']()
  config.name = name
  config.networks.update(network.networks)
  config.data.update(network.data)
  return config


def take(network: Network, net: str, template: dict, path: Path) -> dict:
  """{'params', 'stats'} of one of our networks, host arrays.

  Args:
    network: of `read`.
    net: what it is called here.
    template: shapes of ours.
    path: of the file, for messages.

  Raises:
    UserError: see `places.fill`.
  """

  def find(where, shape):
    *layer, kind = where[2:] if where[0] == 'stats' else where[1:]
    if kind.startswith('slope'):  # a parameter of the network itself, and a layer's there
      layer, kind = [kind], 'slope'
    there = find_layer('/'.join(layer), network.rules, net)
    return f'{there}.{ARRAYS.get(kind, kind)}', *torch_axes(kind, shape)

  return fill(template, network.arrays, find, path, net, network.unused)


def _count(arrays, pattern) -> int:
  """How many numbers, from 0 or another, the group of a pattern has in the names."""
  return len({m[1] for name in arrays if (m := re.match(pattern, name))})


def _of_basicsr(arrays) -> Network:
  return _compact(arrays) if 'body.0.weight' in arrays else _rrdb(arrays)


def _compact(arrays) -> Network:
  """body.0, 2, 4, ... are convolutions, those between are PReLU."""
  width, channels = arrays['body.0.weight'].shape[:2]
  layers = sum(x.ndim == 4 for x in arrays.values()) - 2
  made = arrays[f'body.{2 * layers + 2}.weight'].shape[0]
  scale = math.isqrt(made // channels)
  if not 0 < scale <= 32 or made != channels * scale**2:
    raise ValueError(f'it takes {channels} channels, and its last layer makes {made}')
  networks = dict(scale=scale, width=width, layers=layers)
  rules = [
    (r'Conv_(\d+)', lambda i: f'body.{2 * i}'),
    (r'slope_(\d+)', lambda i: f'body.{2 * i + 1}'),
  ]
  # Sides that the scale and D's halvings divide.
  data = {'channels': channels, 'resolution': 256 - 256 % (8 * scale)}
  return Network('realesrgan_compact_div2k', networks, data, ('G',), rules, arrays)


def _rrdb(arrays) -> Network:
  def rename(name):
    layer, _, kind = name.rpartition('.')
    for pattern, new in RENAMED.items():
      if match := re.fullmatch(pattern, layer):
        return f'{match.expand(new)}.{kind}'
    return name

  arrays = {rename(name): x for name, x in arrays.items()}
  width, seen = arrays['conv_first.weight'].shape[:2]
  channels = arrays['conv_last.weight'].shape[0]
  # 12 or 48 channels are squares of 2x2 or 4x4 pixels: then the picture is enlarged by 2, or not at all.
  factor = math.isqrt(seen // channels)
  if factor not in (1, 2, 4) or seen != channels * factor**2:
    raise ValueError(f'conv_first takes {seen} channels, and conv_last makes {channels}')
  networks = dict(scale=4 // factor, width=width, blocks=_count(arrays, r'body\.(\d+)\.'))
  if networks['blocks']:
    networks['growth'] = arrays['body.0.rdb1.conv1.weight'].shape[0]
  layers = 'conv_first', 'conv_body', 'conv_up1', 'conv_up2', 'conv_hr', 'conv_last'
  rules = [
    (
      r'Block_(\d+)/DenseBlock_(\d)/Conv_(\d)',
      lambda i, j, k: f'body.{i}.rdb{j + 1}.conv{k + 1}',
    ),
    (r'Conv_(\d)', lambda i: layers[i]),
  ]
  return Network('esrgan_div2k', networks, {'channels': channels}, ('G',), rules, arrays)


def _of_cyclegan(arrays) -> Network:
  if 'model.model.0.weight' in arrays:
    return _u_net(arrays)
  return _resnet(arrays)


def _resnet(arrays) -> Network:
  blocks = _count(arrays, r'model\.(\d+)\.conv_block\.')
  blurred = any(name.endswith('.filt') for name in arrays)
  # Their numbers of the layers around the blocks.
  downs, first = ((4, 8), 12) if blurred else ((4, 7), 10)
  ups = (
    (first + blocks + 1, first + blocks + 5) if blurred else (first + blocks, first + blocks + 3)
  )
  last = ups[1] + 4
  channels = arrays[f'model.{last}.weight'].shape[0]
  arrays = _without_filters(arrays)

  def convolution(i):
    """Their name of our layer `Conv_i`."""
    if i < 3:
      return f'model.{(1, *downs)[i]}'
    if i < 3 + 2 * blocks:
      return f'model.{first + (i - 3) // 2}.conv_block.{(1, 5)[(i - 3) % 2]}'
    return f'model.{[*(ups if blurred else ()), last][i - 3 - 2 * blocks]}'

  rules = [
    (r'Conv_(\d+)', convolution),
    (r'ConvTranspose_(\d)', lambda i: f'model.{ups[i]}'),
  ]
  networks = dict(width=arrays['model.1.weight'].shape[0], blocks=blocks)
  data = dict(channels=channels, source='./A', target='./B')
  recipe, nets = 'cyclegan_horse2zebra', ('G_AB', 'G_BA')
  if blurred:
    recipe, nets = 'cut_horse2zebra', ('G',)
  return Network(recipe, networks, data, nets, rules, arrays, STATISTICS)


def _without_filters(arrays) -> dict:
  """Arrays without CUT's filters, which must be [1, 2, 1] to halve maps, [1, 3, 3, 1] to double them."""
  for name, x in arrays.items():
    if name.endswith('.filt'):
      taps = {3: np.array([1, 2, 1]) / 4, 4: np.array([1, 3, 3, 1]) / 4}.get(x.shape[-1], 0)
      if not np.allclose(x, np.multiply.outer(taps, taps), atol=1e-6):
        raise ValueError(f'{name} is not the filter of CUT')
  return {name: x for name, x in arrays.items() if not name.endswith('.filt')}


def _u_net(arrays) -> Network:
  """Blocks within blocks: the outermost is 'model.model', the next 'model.model.1.model', then '...3.model'."""
  block = lambda level: 'model' + '.model.1' * (level > 0) + '.model.3' * (level - 1) + '.model'
  downs = 1
  while any(f'{block(downs)}.{i}.weight' in arrays for i in (1, 3)):
    downs += 1
  batch = f'{block(1)}.2.running_var' in arrays and f'{block(1)}.2.weight' in arrays
  inner = downs - 1
  rules = [
    (r'Conv_(\d+)', lambda i: f'{block(i)}.{1 if i else 0}'),
    (
      r'ConvTranspose_(\d+)',
      lambda i: f'{block(inner - i)}.{5 if 0 < inner - i < inner else 3}',
    ),
    (
      r'BatchNorm_(\d+)',
      lambda i: (
        f'{block(i + 1)}.2'
        if i < inner - 1
        else f'{block(2 * inner - 1 - i)}.{6 if i >= inner else 4}'
      ),
    ),
  ]
  networks = dict(
    width=arrays['model.model.0.weight'].shape[0],
    downs=downs,
    norm='batch' if batch else 'instance',
    # As their code has dropout, which leaves no trace in the file: around the blocks of one width, but the innermost.
    dropout_levels=tuple(range(1, max(1, downs - 4))),
  )
  data = {'channels': arrays['model.model.3.weight'].shape[1], 'resolution': 2**downs}
  unused = r'.*\.num_batches_tracked' if batch else STATISTICS
  return Network('pix2pix_facades', networks, data, ('G',), rules, arrays, unused)
