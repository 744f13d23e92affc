"""State dictionaries of published PyTorch networks, by name and shape as those codes make them, and files of them."""

import io
import runpy
import zipfile

import command
import numpy as np


def normed(name, n):
  """torch.nn.BatchNorm2d."""
  arrays = {f'{name}.{kind}': (n,) for kind in ('weight', 'bias', 'running_mean', 'running_var')}
  return arrays | {f'{name}.num_batches_tracked': ()}


def spectral(name, *shape, bias=True):
  """A layer under torch.nn.utils.spectral_norm."""
  found = {f'{name}.weight_orig': shape, f'{name}.weight_u': shape[:1]}
  found[f'{name}.weight_v'] = (int(np.prod(shape[1:])),)
  return found | ({f'{name}.bias': shape[:1]} if bias else {})


def mimicry_G(side, channels, z, classes=0):
  """torch-mimicry's SNGAN, or cGAN-PD of so many classes."""
  found = {'l1.weight': (side**2 * channels[0], z), 'l1.bias': (side**2 * channels[0],)}
  for i, (a, b) in enumerate(zip(channels, channels[1:])):
    for name, c, size in ('c1', a, 3), ('c2', b, 3), ('c_sc', a, 1):
      found |= {
        f'block{i + 2}.{name}.weight': (b, c, size, size),
        f'block{i + 2}.{name}.bias': (b,),
      }
    for name, c in ('b1', a), ('b2', b):
      found |= normed(f'block{i + 2}.{name}{".bn" if classes else ""}', c)
      if classes:
        found[f'block{i + 2}.{name}.embed.weight'] = (classes, 2 * c)
        del found[f'block{i + 2}.{name}.bn.weight'], found[f'block{i + 2}.{name}.bn.bias']
  last = len(channels) + 1
  found |= normed(f'b{last}', channels[-1])
  return found | {f'c{last}.weight': (3, channels[-1], 3, 3), f'c{last}.bias': (3,)}


def mimicry_D(channels, downs, last, classes=0):
  found = {}
  for i, (a, b) in enumerate(zip([3, *channels], channels)):
    middle = a if i else b
    found |= spectral(f'block{i + 1}.c1', middle, a, 3, 3)
    found |= spectral(f'block{i + 1}.c2', b, middle, 3, 3)
    if i < downs or a != b:
      found |= spectral(f'block{i + 1}.c_sc', b, a, 1, 1)
  if not classes:
    return found | spectral(f'l{last}', 1, channels[-1])
  for name, n in (f'l{last}', 1), ('l_y', classes):
    found |= {f'{name}.weight': (n, channels[-1]), f'{name}.sn_u': (1, n), f'{name}.sn_sigma': (1,)}
  return found | {f'l{last}.bias': (1,)}


def sn(name, *shape, bias=True):
  """A layer of BigGAN-PyTorch."""
  found = {f'{name}.weight': shape, f'{name}.u0': (1, shape[0]), f'{name}.sv0': (1,)}
  return found | ({f'{name}.bias': shape[:1]} if bias else {})


def attention(name, c):
  found = {f'{name}.gamma': ()}
  for part, a, b in ('theta', c // 8, c), ('phi', c // 8, c), ('g', c // 2, c), ('o', c, c // 2):
    found |= sn(f'{name}.{part}', a, b, 1, 1, bias=False)
  return found


def biggan_G(channels, z, classes, shared, attend):
  """BigGAN-PyTorch with a shared embedding and chunks of z, and attention after the block `attend`."""
  chunk = z // len(channels)
  found = {'shared.weight': (classes, shared)} | sn('linear', 16 * channels[0], chunk)
  for i, (a, b) in enumerate(zip(channels, channels[1:])):
    for name, c, size in ('conv1', a, 3), ('conv2', b, 3), ('conv_sc', a, 1):
      found |= sn(f'blocks.{i}.0.{name}', b, c, size, size)
    for name, c in ('bn1', a), ('bn2', b):
      found |= {f'blocks.{i}.0.{name}.stored_{kind}': (c,) for kind in ('mean', 'var')}
      for kind in ('gain', 'bias'):
        found |= sn(f'blocks.{i}.0.{name}.{kind}', c, shared + chunk, bias=False)
    found |= attention(f'blocks.{i}.1', b) if i == attend else {}
  kinds = 'gain', 'bias', 'stored_mean', 'stored_var'
  found |= {f'output_layer.0.{kind}': channels[-1:] for kind in kinds}
  return found | sn('output_layer.2', 3, channels[-1], 3, 3)


def biggan_D(channels, downs, classes, attend):
  found = {}
  for i, (a, b) in enumerate(zip([3, *channels], channels)):
    found |= sn(f'blocks.{i}.0.conv1', b, a, 3, 3) | sn(f'blocks.{i}.0.conv2', b, b, 3, 3)
    found |= sn(f'blocks.{i}.0.conv_sc', b, a, 1, 1) if i < downs or a != b else {}
    found |= attention(f'blocks.{i}.1', b) if i == attend else {}
  return found | sn('linear', 1, channels[-1]) | sn('embed', classes, channels[-1], bias=False)


# Name -> (format, file in configs/, fields of it, shapes of G, shapes of D).
CASES = {
  'SNGAN 48': (
    'mimicry',
    'sngan_stl10',
    {'networks.width': 2, 'networks.width_D': 2, 'method.z_dim': 5},
    mimicry_G(6, (16, 8, 4, 2), 5),
    mimicry_D((2, 4, 8, 16, 32), 4, 5),
  ),
  'cGAN-PD 32': (
    'mimicry',
    'projection_cifar',
    {'networks.width': 4, 'networks.width_D': 3, 'networks.num_classes': 3, 'method.z_dim': 5},
    mimicry_G(4, (4, 4, 4, 4), 5, classes=3),
    mimicry_D((3, 3, 3, 3), 2, 5, classes=3),
  ),
  'BigGAN 32': (
    'biggan_pytorch',
    'biggan_cifar',
    {
      'networks.width': 2,
      'networks.width_D': 4,
      'networks.num_classes': 3,
      'networks.shared_dim': 6,
      'method.z_dim': 8,
    },
    biggan_G((8, 8, 8, 8), 8, 3, 6, attend=1),
    biggan_D((8, 8, 8, 8), 2, 3, attend=0),
  ),
}


def make_config(name):
  """The configuration of a case, before an import has set its networks."""
  _, file, fields, *_ = CASES[name]
  config = runpy.run_path(str(command.ROOT / f'configs/{file}.py'))['get_config']()
  config.update_from_flattened_dict(fields)
  return config


def fill(shapes, seed) -> dict:
  """Arrays of the shapes, variances above 0 and gains about 1."""
  rng = np.random.default_rng(seed)
  found = {}
  for name, shape in shapes.items():
    x = rng.normal(size=shape) * 0.25
    if name.endswith('var'):
      x = 0.5 + x**2
    elif name.endswith('embed.weight') and name.startswith('block'):
      x[:, : shape[1] // 2] += 1
    found[name] = np.asarray(x, np.float32)
  return found


def encode(arrays, entry=None) -> bytes:
  """What torch.save writes of a state dictionary, or of a checkpoint that has one under the name `entry`."""
  integer = lambda n: b'J' + n.to_bytes(4, 'little', signed=True)
  text = lambda s: b'X' + len(s).to_bytes(4, 'little') + s.encode()
  tuple_ = lambda items: b'(' + b''.join(items) + b't'
  pickled, stream = b'}(', io.BytesIO()
  with zipfile.ZipFile(stream, 'w', zipfile.ZIP_STORED) as archive:
    for i, (name, x) in enumerate(arrays.items()):
      key = str(i)
      storage = [
        text('storage'),
        b'ctorch\nFloatStorage\n',
        text(key),
        text('cuda:0'),
        integer(x.size),
      ]
      strides = [integer(s // x.itemsize) for s in x.strides]
      view = [tuple_(storage) + b'Q', integer(0), tuple_(map(integer, x.shape)), tuple_(strides)]
      tensor = b'ctorch._utils\n_rebuild_tensor_v2\n' + tuple_([*view, b'\x89', b'}']) + b'R'
      pickled += text(name) + tensor
      archive.writestr(f'x/data/{key}', x.tobytes())
    pickled += b'u'
    if entry:
      # Beside the weights an optimizer's state, whose keys are numbers.
      state = (
        text('optimizer_state_dict') + b'}' + integer(0) + b'}' + text('step') + integer(7) + b'ss'
      )
      pickled = b'}(' + text(entry) + pickled + state + text('global_step') + integer(7) + b'u'
    archive.writestr('x/data.pkl', b'\x80\x02' + pickled + b'.')
  return stream.getvalue()
