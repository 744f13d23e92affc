"""Published StyleGAN2 and StyleGAN3: what their networks are, and where each of their arrays goes.

  stylegan: .pkl of stylegan2-ada-pytorch, stylegan3 (either generation), projected-gan's StyleGAN2 (its FastGANs: see
    `fastgans`), and of StyleGAN2 in TensorFlow (see `tensorflow_styles`).
  rosinality: .pt of stylegan2-pytorch (rosinality), and files converted to its names.

What a network is follows from the shapes of its arrays; the settings that came with it say what shapes do not.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from ganjax import UserError
from ganjax.weights import pickles, tensorflow_styles, torch_file
from ganjax.weights.places import fill

FORMATS = 'stylegan', 'rosinality'
NETWORKS = 'stylegan2', 'stylegan3'
# Axes of ours in theirs.
DENSE, CONV, UP, CONST = (1, 0), (2, 3, 1, 0), (2, 3, 0, 1), (1, 2, 0)
KINDS = {'kernel': 'weight', 'bias': 'bias', 'embedding': 'weight'}
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
UNUSED = r'.*\.(resample_filter|up_filter|down_filter|transform)'


def read(path: Path, format: str) -> dict:
  """{'G', 'D', 'G_ema': pickles.Module} of a file, of those that it has; arrays by the names of stylegan2-ada-pytorch.

  Raises:
    UserError: it cannot be read, or holds no generator.
  """
  try:
    data = path.expanduser().read_bytes()
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from None
  if format == 'rosinality':
    found = _of_rosinality(data, str(path))
  else:
    found = {k: v for k, v in pickles.read(data, str(path)).items() if k in ('G', 'D', 'G_ema')}
    for net, module in found.items():
      if module.name == 'Network':
        found[net] = tensorflow_styles.convert(net, module, path)
  if 'G_ema' not in found:
    raise UserError(f'{path} holds no G_ema; it has {", ".join(found) or "no networks"}')
  return found


def describe(found: dict, path: Path) -> tuple:
  """(networks of a configuration, {'z_dim', 'resolution', 'channels'}) of what a file holds.

  Raises:
    UserError: networks that are neither StyleGAN2's nor StyleGAN3's, or others than are here.
  """
  G, D = found['G_ema'].tensors, found['D'].tensors if 'D' in found else {}
  layers = lambda tensors: sum(bool(re.fullmatch(r'mapping\.fc\d+\.weight', k)) for k in tensors)
  try:
    w_dim, inputs = G['mapping.fc0.weight'].shape
    classes = G['mapping.embed.weight'].shape[1] if 'mapping.embed.weight' in G else 0
    shared = dict(w_dim=w_dim, mapping_layers=layers(G), num_classes=classes)
    settings, of_D = found['G_ema'].settings, found['D'].settings if D else {}
    # What is not said is as the classes of stylegan3 have it; those of stylegan2-ada-pytorch are always told.
    shared |= dict(clamp=float(settings.get('conv_clamp', 256) or 0))
    shared |= dict(mbstd_group=of_D.get('mbstd_group_size', 4) or 4)
    if D and classes:
      shared |= dict(mapping_layers_D=layers(D))
    own = _stylegan3(G, D, settings) if 'synthesis.input.freqs' in G else _stylegan2(G, D)
    place = {'z_dim': inputs - (w_dim if classes else 0), **own.pop('place')}
  except (KeyError, ValueError, IndexError, TypeError) as error:
    raise UserError(
      f'{path}: G_ema, a {found["G_ema"].name}, is none of StyleGAN2, StyleGAN3 or FastGAN '
      f'({torch_file.one_line(error)})'
    ) from None
  return {**own, **shared}, place


def _stylegan2(G, D):
  sides = sorted(
    int(m[1]) for k in G if (m := re.fullmatch(r'synthesis\.b(\d+)\.conv1\.weight', k))
  )
  widths = [G[f'synthesis.b{side}.conv1.weight'].shape[0] for side in sides]
  has = lambda tensors, name: name in tensors
  top, below = f'b{sides[-1]}', f'b{sides[-2]}'
  # The last map of G and the first of D have to do with pictures in all kinds, their neighbours in 'skip' alone.
  kind = lambda tensors, skip, neighbour: (
    'resnet' if has(tensors, skip) else 'skip' if has(tensors, neighbour) else 'orig'
  )
  of_D = kind(D, f'{top}.skip.weight', f'{below}.fromrgb.weight') if D else 'resnet'
  for buffer in (k for k in {**G, **D} if k.endswith('resample_filter')):
    if not np.allclose({**G, **D}[buffer], FILTER, atol=1e-6):
      raise ValueError(f'its {buffer} is not that of [1, 3, 3, 1]')
  return dict(
    name='stylegan2',
    width=max(widths),
    channel_base=_base(sides, widths),
    architecture=kind(G, f'synthesis.{top}.skip.weight', f'synthesis.{below}.torgb.weight'),
    architecture_D=of_D,
    place=dict(resolution=sides[-1], channels=G[f'synthesis.{top}.torgb.weight'].shape[0]),
  )


def _base(sides, widths) -> int:
  """The channel_base of maps that have min(channel_base // side, the most) channels."""
  narrow = [side * width for side, width in zip(sides, widths) if width < max(widths)]
  base = max(narrow) if narrow else sides[-1] * max(widths)
  if [min(base // side, max(widths)) for side in sides] != widths:
    raise ValueError(f'its maps of {sides} pixels have {widths} channels')
  return base


def _stylegan3(G, D, settings):
  names = {k.split('.')[1] for k in G if k.startswith('synthesis.L')}
  last = max(names, key=lambda name: int(name[1:].split('_')[0]))
  _, side, channels = map(int, last[1:].split('_'))
  kernel = G[f'synthesis.{next(n for n in names if n.startswith("L0_"))}.weight'].shape[-1]
  # Those of D are the channels of StyleGAN2.
  sides = sorted(int(m[1]) for k in D if (m := re.fullmatch(r'b(\d+)\.conv0\.weight', k)))
  widths = [D[f'b{n}.conv0.weight'].shape[0] for n in sides]
  return dict(
    name='stylegan3',
    width=settings.get('channel_max', 512),
    channel_base=settings.get('channel_base', 32768),
    layers=len(names) - 1,
    rotates=kernel == 1,
    place=dict(resolution=side, channels=channels),
    **(dict(width_D=max(widths), channel_base_D=_base(sides, widths)) if D else {}),
  )


def take(
  module: pickles.Module, net: str, template: dict, path: Path, layout: Sequence[tuple] = ()
) -> dict:
  """{'params', 'stats'} of one of our networks, host arrays, from a published one.

  Args:
    module: pickles.Module.
    net: 'G' or 'D'.
    template: shapes of ours.
    path: of the file, for messages.
    layout: of `networks.stylegan3.Generator.layout`.

  Raises:
    UserError: an array that is missing, that has another shape or no place here, or that is not finite.
  """
  for name, _, design in layout:
    there = module.tensors.get(f'synthesis.{name}.down_filter', design)
    if design is not None and not (
      there.shape == design.shape and np.allclose(there, design, atol=1e-5)
    ):
      raise UserError(
        f'{path}: synthesis.{name}.down_filter of {net} is not the one of its frequencies'
      )

  def find(where, shape):
    own = [key for key in where[1:] if key not in ('styles', 'noise', 'magnitude', 'fourier')]
    name, axes = theirs(net, '/'.join(own), len(shape))
    if name == 'b4.fc.weight':  # of maps: their channels come first there, last here
      turn = lambda x: x.reshape(len(x), -1, 4, 4).transpose(2, 3, 1, 0)
    else:
      turn = lambda x: x.transpose(axes) if axes else x
    return _whole(name, layout), _shape_there(shape, axes, name), turn

  return fill(template, module.tensors, find, path, net, UNUSED)


def _whole(name, layout):
  """'synthesis.L3.bias' -> 'synthesis.L3_52_512.bias'."""
  return re.sub(r'\bL(\d+)(?=\.)', lambda m: layout[int(m[1])][0] if layout else m[0], name)


def _shape_there(shape, axes, name):
  if name.endswith('noise_const'):
    return shape[1:]
  there = list(shape)
  for own, other in zip(shape, axes or range(len(shape))):
    there[other] = own
  return tuple(there)


def theirs(net: str, where: str, rank: int) -> tuple:
  """(the name of one of our arrays in stylegan2-ada-pytorch, its axes there in our order or None).

  Args:
    net: 'G' or 'D'.
    where: path of ours within parameters or statistics, such as 'synthesis/b8_conv0/conv/kernel'.
    rank: of the array.
  """
  *scope, kind = where.split('/')
  if where == 'w_avg':
    return 'mapping.w_avg', None
  if where == 'mapping/embed_bias':
    return 'mapping.embed.bias', None
  if scope[0] == 'mapping':
    return f'mapping.{scope[1]}.{KINDS[kind]}', DENSE if rank == 2 else None
  if net == 'D':
    axes = {4: CONV, 2: DENSE}.get(rank)
    return f'{scope[0].replace("_", ".")}.{KINDS[kind]}', axes
  if where == 'synthesis/const':
    return 'synthesis.b4.const', CONST
  if scope[1:] == ['input', 'mix']:
    return 'synthesis.input.weight', DENSE
  if scope[1:] == ['input']:
    name = f'affine.{KINDS[kind[7:]]}' if kind.startswith('affine_') else kind
    return f'synthesis.input.{name}', DENSE if kind == 'affine_kernel' else None
  if not scope[1:]:  # synthesis/b8_torgb_bias
    return f'synthesis.{kind.removesuffix("_bias").replace("_", ".")}.bias', None
  layer = f'synthesis.{scope[1].replace("_", ".")}'
  if scope[-1] == 'affine':
    return f'{layer}.affine.{KINDS[kind]}', DENSE if rank == 2 else None
  names = {'constant': 'noise_const', 'mean': 'magnitude_ema', 'noise_strength': 'noise_strength'}
  axes = UP if layer.endswith('conv0') else CONV
  return f'{layer}.{names.get(kind) or KINDS[kind]}', axes if kind == 'kernel' else None


def to_published(state: dict, net: str, layout: Sequence[tuple] = ()) -> dict:
  """{name in stylegan2-ada-pytorch: array} of a network, with its filters: what `take` reads, the other way round.

  Args:
    state: {'params', 'stats'} of the network, host arrays.
    net: 'G' or 'D'.
    layout: as in `take`.
  """
  found = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    where = '/'.join(
      key.key for key in path[1:] if key.key not in ('styles', 'noise', 'magnitude', 'fourier')
    )
    name, axes = theirs(net, where, np.ndim(leaf))
    leaf = np.asarray(leaf)
    if name == 'b4.fc.weight':
      leaf = leaf.reshape(4, 4, -1, leaf.shape[1]).transpose(3, 2, 0, 1).reshape(leaf.shape[1], -1)
    elif name.endswith('noise_const'):
      leaf = leaf[0]
    elif axes:
      leaf = leaf.transpose(np.argsort(axes))
    found[_whole(name, layout)] = np.ascontiguousarray(leaf)
  for name, *filters in layout:
    for kind, taps in zip(('up_filter', 'down_filter'), filters):
      if taps is not None:
        found[f'synthesis.{name}.{kind}'] = taps.astype(np.float32)
  if layout:
    return found | {'synthesis.input.transform': np.eye(3, dtype=np.float32)}
  for name in [*found]:
    layer = name.removesuffix('.weight')
    if name.endswith('.weight') and found[name].ndim == 4 and not layer.endswith('torgb'):
      found[f'{layer}.resample_filter'] = FILTER.astype(np.float32)
      block = layer.rpartition('.')[0]
      if block != 'b4':  # D's last has none of its own
        found[f'{block}.resample_filter'] = FILTER.astype(np.float32)
  return found


def _of_rosinality(data, name) -> dict:
  """Its files have no labels and no settings; arrays by the names of stylegan2-ada-pytorch."""
  there, found = torch_file.read_entries(data, name, pickles.OBJECTS), {}
  for net, entry in (('G_ema', 'g_ema'), ('G', 'g'), ('D', 'd')):
    if isinstance(there.get(entry), dict):
      own = (_rename_D if net == 'D' else _rename_G)(there[entry])
      found[net] = pickles.Module(f'generator {entry}', own, {'conv_clamp': None})
  for net in found.keys() & {'G', 'G_ema'}:
    # Files of a training have none: see `import_weights`.
    style = found[net].tensors.get('mapping.fc0.bias', np.zeros(0, np.float32))
    found[net].tensors['mapping.w_avg'] = there.get('latent_avg', np.zeros_like(style))
  return found


def _rename_G(tensors) -> dict:
  found, block = {}, lambda i: f'synthesis.b{4 << i}'
  for key, x in tensors.items():
    if m := re.fullmatch(r'style\.(\d+)\.(weight|bias)', key):
      found[f'mapping.fc{int(m[1]) - 1}.{m[2]}'] = x
    elif key == 'input.input':
      found['synthesis.b4.const'] = x[0]
    elif m := re.fullmatch(r'noises\.noise_(\d+)', key):
      i = int(m[1])
      found[f'{block((i + 1) // 2)}.conv{(i + 1) % 2 if i else 1}.noise_const'] = x[0, 0]
    elif m := re.fullmatch(r'(conv1|convs\.(\d+)|to_rgb1|to_rgbs\.(\d+))\.(.*)', key):
      if m[1] == 'conv1':
        layer = f'{block(0)}.conv1'
      elif m[2]:
        layer = f'{block(int(m[2]) // 2 + 1)}.conv{int(m[2]) % 2}'
      else:
        layer = f'{block(int(m[3]) + 1 if m[3] else 0)}.torgb'
      own = {
        'conv.weight': ('weight', lambda x: x[0]),
        'conv.modulation.weight': ('affine.weight', lambda x: x),
        'conv.modulation.bias': ('affine.bias', lambda x: x),
        'noise.weight': ('noise_strength', lambda x: x.reshape(())),
        'activate.bias': ('bias', lambda x: x),
        'bias': ('bias', lambda x: x.reshape(-1)),
      }
      if m[4] in own:
        kind, turn = own[m[4]]
        found[f'{layer}.{kind}'] = turn(x)
      elif not m[4].endswith('kernel'):
        found[key] = x  # has no place
    else:
      found[key] = x
  return found


def _rename_D(tensors) -> dict:
  found = {}
  blocks = max(int(m[1]) for k in tensors if (m := re.match(r'convs\.(\d+)\.', k)))
  parts = {
    'conv1.0.weight': 'conv0.weight',
    'conv1.1.bias': 'conv0.bias',
    'skip.1.weight': 'skip.weight',
  }
  parts |= {'conv2.1.weight': 'conv1.weight', 'conv2.2.bias': 'conv1.bias'}
  ends = {'final_conv.0.weight': 'b4.conv.weight', 'final_conv.1.bias': 'b4.conv.bias'}
  ends |= {
    f'final_linear.{i}.{k}': f'b4.{n}.{k}'
    for i, n in ((0, 'fc'), (1, 'out'))
    for k in ('weight', 'bias')
  }
  for key, x in tensors.items():
    m = re.fullmatch(r'convs\.(\d+)\.(.*)', key)
    if m and m[1] == '0':
      found[f'b{4 << blocks}.fromrgb.{m[2].split(".")[-1]}'] = x
    elif m and m[2] in parts:
      found[f'b{4 << (blocks + 1 - int(m[1]))}.{parts[m[2]]}'] = x
    elif not key.endswith('kernel'):
      found[ends.get(key, key)] = x
  return found
