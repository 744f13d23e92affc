"""Published FastGANs: generators of projected-gan's .pkl, of its configurations fastgan and fastgan_lite, and in the
form of its first release, whose blocks alternate.

D of such a file judges features of a frozen network, and is left out.
"""

import re
import runpy
from pathlib import Path

import numpy as np
import scipy.linalg
from ml_collections import ConfigDict

from ganjax import UserError, commandline
from ganjax.devices import processes
from ganjax.weights import pickles, torch_file
from ganjax.weights.places import fill, find_layer, torch_axes

# Our names of arrays -> those that they may have there.
WEIGHT = ('weight',)
ARRAYS = {'kernel': ('weight_orig',), 'bias': ('bias',), 'scale': WEIGHT, 'noise': WEIGHT}
ARRAYS |= {'embedding': WEIGHT, 'u': ('weight_u',)}
ARRAYS |= {kind: (f'running_{kind}', f'stored_{kind}') for kind in ('mean', 'var')}
UNUSED = r'.*\.(weight_v|num_batches_tracked)'
TRIED = 32  # vectors among whose combinations `_start` looks


def are(found: dict) -> bool:
  """Whether the networks of `stylegans.read` are FastGANs."""
  return 'synthesis.to_big.weight_orig' in found['G_ema'].tensors


def configure(found: dict, path: Path) -> ConfigDict:
  """The configuration of a run of the networks of a file.

  Raises:
    UserError: a generator that is none of projected-gan's.
  """
  arrays = found['G_ema'].tensors
  try:
    pattern = r'synthesis\.feat_(\d+)\.(?:1|conv1?)\.weight_orig'
    width = {
      int(m[1]): x.shape[0] // 2 for k, x in arrays.items() if (m := re.fullmatch(pattern, k))
    }
    channels, seen = arrays['synthesis.to_big.weight_orig'].shape[:2]
    # Generators of 128 pixels have a block for 256, which they do not use.
    side = 128 if max(width) == 256 and seen == width[128] else max(width)
    sides = sorted(n for n in width if n <= side)
    double = tuple(_is_double(arrays, n) for n in sides)
    kinds = {(True,) * len(sides): 'double', (False,) * len(sides): 'single'}
    kinds[tuple(i % 2 == 0 for i in range(len(sides)))] = 'alternating'
    if double not in kinds:
      raise ValueError('some of its blocks have one convolution, some two')
    recipe = commandline.configs_folder() / 'projected_folder.py'
    config = runpy.run_path(str(recipe))['get_config']()
    config.name = path.stem
    config.data.update(dataset='./pictures', resolution=side, channels=channels)
    # The table of classes has 1000 rows, whatever their number.
    rows = len(arrays.get('synthesis.embed.weight', ()))
    classes = min(found['G_ema'].settings.get('c_dim') or rows, rows)
    config.networks.update(width=width[128], blocks=kinds[double], num_classes=classes)
    config.method.z_dim = arrays['synthesis.init.init.0.weight_orig'].shape[0]
  except (KeyError, ValueError, IndexError, TypeError) as error:
    why = f'it lacks {error}' if isinstance(error, KeyError) else torch_file.one_line(error)
    raise UserError(f'{path}: G_ema is no FastGAN of projected-gan: {why}') from None
  return config


def take(module: pickles.Module, template: dict, path: Path) -> dict:
  """{'params', 'stats'} of G, host arrays, from a published one.

  PyTorch divides weights by u W v in evaluation, with u and v of the file; here one iteration from u finds the divisor.
  u is set so that they are equal. Where no u does that, a line says by how much they differ.

  Args:
    module: pickles.Module.
    template: shapes of ours.
    path: of the file, for messages.

  Raises:
    UserError: see `places.fill`; or weights without a divisor.
  """
  arrays = module.tensors

  def block(i, kind, j):
    """Their name of 'conv', 'noise' or 'bn' number j of our `UpBlock_i`."""
    side = 8 << i
    double = _is_double(arrays, side)
    if 'synthesis.embed.weight' in arrays:
      return f'feat_{side}.{kind}{j + 1 if double and kind != "noise" else ""}'
    # Blocks of one convolution have no noise before the norm.
    first = {'conv': 1, 'noise': 2, 'bn': 2 + double}[kind]
    return f'feat_{side}.{first + 4 * j}'

  rules = [
    (r'(?:ConvTranspose|SpectralNorm)_0', lambda: 'init.init.0'),
    (r'BatchNorm_0', lambda: 'init.init.1'),
    (r'Conv_0|SpectralNorm_1', lambda: 'to_big'),
    (r'ClassEmbed_0', lambda: 'embed'),
    (r'Excite_(\d)/(?:Conv|SpectralNorm)_(\d)', lambda i, j: f'se_{64 << i}.main.{1 + 2 * j}'),
    (r'UpBlock_(\d)/(?:Conv|SpectralNorm)_(\d)', lambda i, j: block(i, 'conv', j)),
    (r'UpBlock_(\d)/noise_(\d)', lambda i, j: block(i, 'noise', j)),
    (r'UpBlock_(\d)/(?:Conditional)?BatchNorm_(\d)', lambda i, j: block(i, 'bn', j)),
    (
      r'UpBlock_(\d)/ConditionalBatchNorm_(\d)/(?:scale|SpectralNorm_0)',
      lambda i, j: f'{block(i, "bn", j)}.gain',
    ),
    (
      r'UpBlock_(\d)/ConditionalBatchNorm_(\d)/(?:bias|SpectralNorm_1)',
      lambda i, j: f'{block(i, "bn", j)}.bias',
    ),
  ]

  def find(where, shape):
    *layer, kind = where[2:] if where[0] == 'stats' else where[1:]
    if kind.startswith('noise'):
      layer, kind, shape = [*layer, kind], 'noise', (1,)
    there = f'synthesis.{find_layer("/".join(layer), rules, "G")}'
    names, turn = [f'{there}.{name}' for name in ARRAYS[kind]], lambda x: x
    if kind == 'kernel':
      shape, turn = torch_axes(kind, shape)
    elif kind == 'u':
      turn = lambda u: _start(arrays, there, u, path)
    elif kind == 'embedding':
      classes, shape = shape[0], (len(arrays.get(names[0], ())), shape[1])
      turn = lambda x: x[:classes]
    return names, shape, turn

  side = max(8 << int(name[8:]) for name in template['params'] if name.startswith('UpBlock_'))
  unused = rf'{UNUSED}|synthesis\.(feat|se)_{2 * side}\..*' if side == 128 else UNUSED
  return fill(template, arrays, find, path, 'G', unused)


def _is_double(arrays, side) -> bool:
  """Whether a block has two convolutions, without classes or with them."""
  return any(f'synthesis.feat_{side}.{name}.weight_orig' in arrays for name in ('5', 'conv2'))


def _start(arrays, layer, u, path):
  """The vector from which one iteration, |W W' u| / |W' u|, finds u W v of a layer of the file.

  It is a combination of u and of random vectors: of the two among them of which that quotient is least and greatest.
  """
  weight, v = arrays[f'{layer}.weight_orig'], arrays.get(f'{layer}.weight_v')
  # Transposed convolutions have their inputs first.
  matrix = np.moveaxis(weight, 1, 0) if layer.endswith('init.init.0') else weight
  matrix = matrix.reshape(len(matrix), -1).astype(np.float64)
  if v is None or v.shape != matrix.shape[1:]:
    raise UserError(f'{path}: {layer}.weight_v of G is missing, or not float {matrix.shape[1:]}')
  sigma = u @ matrix @ v
  count = min(*matrix.shape, TRIED) - 1
  others = np.random.default_rng(0).normal(size=(len(matrix), count))
  basis, _ = np.linalg.qr(np.concatenate([u[:, None], others], 1))
  right = matrix.T @ basis
  left = matrix @ right
  if not sigma > 0 or np.linalg.matrix_rank(right) < count + 1:
    raise UserError(
      f'{path}: weights of {layer} are of a rank below {count + 1}, or divided by {sigma:.6g}'
    )
  squares, vectors = scipy.linalg.eigh(left.T @ left, right.T @ right)
  share = (sigma**2 - squares[0]) / max(squares[-1] - squares[0], 1e-30)
  share = np.clip(share, 0, 1)
  start = basis @ (np.sqrt(1 - share) * vectors[:, 0] + np.sqrt(share) * vectors[:, -1])
  found = np.linalg.norm(matrix @ (matrix.T @ start)) / np.linalg.norm(matrix.T @ start)
  if abs(found - sigma) > 1e-5 * sigma:
    processes.say(
      f'weights of {layer} are divided by {found:.6g} here and by {sigma:.6g} in {path}: pictures differ by as much'
    )
  return start / np.linalg.norm(start)
