"""Reads published pickles of whole networks without running them: those of stylegan2-ada-pytorch and its descendants,
and those of StyleGAN2 in TensorFlow.

Such a file holds {'G', 'D', 'G_ema', ...}: modules as they were in memory, with the source text of their classes, which
`pickle.load` would compile and run. A file of TensorFlow holds (G, D, Gs): objects of dnnlib.tflib.Network, each with
its source text and its variables as NumPy arrays. Here the opcodes are interpreted by hand, as `torch_file` does. A
class is a name, an object a dictionary of its attributes; the source text is dropped. A name outside `KNOWN` and
FAMILIES is refused.
"""

import io
from typing import NamedTuple

import numpy as np

from ganjax import UserError
from ganjax.weights import torch_file
from ganjax.weights.torch_file import expect

# What networks, and the optimizers and settings beside them, refer to. None of it is looked up.
KNOWN = {'torch.storage _load_from_bytes', 'copyreg _reconstructor', 'copy_reg _reconstructor'}
KNOWN |= {
  f'{module} {name}' for module in ('builtins', '__builtin__') for name in ('set', 'object')
}
KNOWN |= {'_codecs encode', 'argparse Namespace', 'functools partial', 'collections defaultdict'}
FAMILIES = 'torch', 'torch_utils', 'dnnlib', 'numpy', 'training', 'pg_modules', 'timm'
DEEPEST = 64  # modules within modules
TENSORFLOW = 'dnnlib.tflib.network Network'
# Left out: it judges features of another network, which it holds.
PROJECTED = 'pg_modules.discriminator ProjectedDiscriminator'


class Module(NamedTuple):
  """A network.

  Attributes:
    name: of its class.
    tensors: 'synthesis.b4.conv1.weight', in TensorFlow 'synthesis/4x4/Conv/weight' -> array, read-only: parameters and
      buffers.
    settings: the arguments that it was made with, those of nested dictionaries by their own names, and attributes that
      are whole numbers, such as 'version' in TensorFlow.
  """

  name: str
  tensors: dict
  settings: dict


class _Object:
  """What stands for an object of a class, or the result of a call."""

  def __init__(self, name, args=()):
    self.name, self.args, self.state = name, args, {}


def read(data: bytes, name: str) -> dict:
  """{'G_ema': Module, ...} of a pickle.

  Args:
    data: the file.
    name: what to call it in messages.

  Raises:
    UserError: anything but a dictionary of networks, or TensorFlow's three; nothing in the file is run.
  """
  try:
    root, _ = torch_file.interpret(io.BytesIO(data), OBJECTS)
    if type(root) is tuple and len(root) == 3:
      root = dict(zip(('G', 'D', 'G_ema'), root))
    found = {
      key: _module(x)
      for key, x in expect(dict, root).items()
      if isinstance(x, _Object)
      and x.name != PROJECTED
      and ('_modules' in x.state or x.name == TENSORFLOW)
    }
  except Exception as error:  # noqa: BLE001 (whatever a damaged file leads to)
    raise UserError(f'cannot read {name}: {torch_file.one_line(error)}') from None
  if not found:
    raise UserError(f'{name} holds no networks, as a pickle of stylegan2-ada-pytorch does')
  return found


def _module(one) -> Module:
  tensors, seen = {}, set()

  def walk(module, prefix, depth):
    # A module that stands in two places would be walked again and again.
    if id(module) in seen or depth > DEEPEST:
      raise ValueError('it has a module in two places, or too deep')
    seen.add(id(module))
    state = expect(dict, expect(_Object, module).state)
    children, mark = '_modules', '.'
    if module.name == TENSORFLOW:
      children, mark = 'components', '/'
      for name, x in expect(list, state['variables']):
        tensors[prefix + expect(str, name)] = _array(expect(_Object, x))
    for kind in ('_parameters', '_buffers'):
      for name, x in expect(dict, state.get(kind, {})).items():
        if isinstance(x, np.ndarray):
          tensors[f'{prefix}{name}'] = x
    for name, child in expect(dict, state.get(children, {})).items():
      if child is not None:
        walk(child, f'{prefix}{name}{mark}', depth + 1)

  walk(one, '', 0)
  settings = {}
  for kind in ('_init_kwargs', 'static_kwargs'):
    for name, value in expect(dict, one.state.get(kind, {})).items():
      settings |= value if isinstance(value, dict) else {name: value}
  settings |= {name: x for name, x in one.state.items() if type(x) is int}
  return Module(one.name.split()[-1], tensors, settings)


def _array(x: _Object) -> np.ndarray:
  """The NumPy array or number that a pickle describes, a view of the file's own bytes."""
  kind, order = x.name.split('.')[-1], 'C'
  if kind == 'multiarray scalar':
    (dtype, data), shape = x.args, ()
  elif kind == 'numeric _frombuffer':  # of protocol 5
    data, dtype, shape, order = x.args
  else:
    _, shape, dtype, fortran, data = expect(tuple, x.state)
    order = 'F' if fortran else 'C'
  dtype = expect(_Object, dtype)
  code, mark = dtype.args[0], dtype.state[1]
  if code not in ('f2', 'f4', 'f8') or mark != '<':
    raise ValueError(f'it has numbers of the kind {mark}{code}: little-endian floats are read')
  found = np.frombuffer(data, f'<{code}').reshape(shape, order=order)
  found.flags.writeable = False
  return found


def _known(name) -> bool:
  family = name.split(' ')[0].split('.')[0]
  return name in KNOWN or name == 'collections OrderedDict' or family in FAMILIES


def _reduce(name, args):
  if name in ('collections OrderedDict', 'dnnlib.util EasyDict', 'dnnlib EasyDict'):
    return torch_file.reduce('collections OrderedDict', args)
  if name == 'torch._utils _rebuild_parameter':
    return args[0]
  if name == 'torch._utils _rebuild_tensor_v2':
    tensor = torch_file.reduce(name, args)
    torch_file.check_whole('of a network', tensor)
    if not isinstance(tensor.storage, np.ndarray):
      return tensor  # of a file of torch.save, whose storages come later
    return torch_file.view(tensor, tensor.storage)
  if name == 'torch.storage _load_from_bytes':
    (data,) = args
    return torch_file.read_storage(expect(bytes, data))
  if name == 'torch_utils.persistence _reconstruct_persistent_obj':
    (meta,) = args
    found = _Object(expect(str, expect(dict, meta).get('class_name')))
    found.state = expect(dict, meta.get('state'))
    return found
  if name.endswith(' _reconstructor'):
    return _Object(expect(torch_file.Global, args[0]).name)
  return _Object(name, args)


def _build(value, state):
  if isinstance(value, _Object) and isinstance(state, (dict, tuple)):
    value.state = state


OBJECTS = torch_file.Rules(_known, _reduce, _build, True)
