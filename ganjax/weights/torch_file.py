"""Reads the files of `torch.save` without torch, and without trusting them.

Such a file is a pickle, and a pickle is a program: it may call anything. Here its opcodes are interpreted by hand:
those that torch writes for a dictionary of tensors (protocol 2), and no others. Nothing is imported, called or set,
and every array is a view of the file's own bytes, so that a small file cannot ask for much memory. Files that hold
more are read by other `Rules`, see `ganjax.weights.pickles`.
"""

import io
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ganjax import UserError


def read(data: bytes, name: str = 'weights', entries: tuple = ()) -> dict:
  """Reads what `torch.save` wrote of a flat dictionary of tensors (a state_dict), in the zip or in the older format.

  Args:
    data: the file.
    name: what to call it in messages.
    entries: where the file is a dictionary with a dictionary under one of these names (a checkpoint:
      'model_state_dict'), the first of them is read.

  Returns:
    name -> np.ndarray, read-only views; bfloat16 becomes float32. Entries that are not tensors are left out.

  Raises:
    UserError: anything but that; nothing in the file is run.
  """
  try:
    root, arrays = _read(data, TENSORS)
    tensors = _views(root, arrays, entries)
  except Exception as error:
    raise UserError(f'cannot read the weight file {name}: {one_line(error)}') from None
  if not tensors:
    raise UserError(f'the weight file {name} holds no dictionary of tensors')
  return tensors


def read_entries(data: bytes, name: str, rules: 'Rules') -> dict:
  """{entry: {name: tensor}} of what `torch.save` wrote of several such dictionaries, and {entry: tensor}.

  Args:
    data, name: as in `read`.
    rules: what may stand beside them, see `Rules`.

  Raises:
    UserError: as `read`.
  """
  try:
    root, arrays = _read(data, rules)
    found = {k: _views(x, arrays) for k, x in expect(dict, root).items() if type(x) is dict}
    return {k: x for k, x in found.items() if x} | _views(root, arrays)
  except Exception as error:
    raise UserError(f'cannot read the weight file {name}: {one_line(error)}') from None


def _read(data, rules) -> tuple:
  return (_read_zip if data[:2] == b'PK' else _read_legacy)(data, rules)


def read_storage(data: bytes) -> np.ndarray:
  """The elements [n] of the one storage that `torch.save` wrote in the older format. Raises ValueError for others."""
  root, arrays = _read_legacy(data, TENSORS)
  return arrays[expect(Storage, root).key]


def _read_zip(data: bytes, rules) -> tuple:
  """(what was saved, {key: elements of a storage})."""
  archive = zipfile.ZipFile(io.BytesIO(data))
  entries = {entry.filename.partition('/')[2]: entry for entry in archive.infolist()}
  # Entries may overlap or be compressed, so that small files unpack to large ones: torch's never are.
  if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
    raise ValueError('it has compressed entries')
  if sum(entry.file_size for entry in archive.infolist()) > len(data):
    raise ValueError('its entries are larger than the file')
  if 'byteorder' in entries and archive.read(entries['byteorder']) != b'little':
    raise ValueError('it is not little-endian')
  root, storages = interpret(io.BytesIO(archive.read(entries['data.pkl'])), rules)
  arrays = {
    key: _storage(archive.read(entries[f'data/{key}']), storage)
    for key, storage in storages.items()
  }
  return root, arrays


def _read_legacy(data: bytes, rules) -> tuple:
  stream = io.BytesIO(data)
  # The magic number, the protocol, and properties of the system that wrote it.
  head = [interpret(stream, TENSORS)[0] for _ in range(3)]
  if head[:2] != [0x1950A86A20F9469CFC6C, 1001] or head[2].get('little_endian') is not True:
    raise ValueError('it is not a file of torch.save')
  root, storages = interpret(stream, rules)
  keys = [expect(str, key) for key in expect(list, interpret(stream, TENSORS)[0])]
  if sorted(keys) != sorted(storages):
    raise ValueError('its storages are not those of its tensors')
  arrays = {}
  for key in keys:
    (count,) = struct.unpack('<q', stream.read(8))
    arrays[key] = _storage(stream.read(count * storages[key].dtype.itemsize), storages[key])
  return root, arrays


def one_line(error: Exception) -> str:
  """What an exception says, in one line of at most 200 characters."""
  return ' '.join(str(error).split())[:200] or type(error).__name__


class Rules(NamedTuple):
  """What a pickle may hold.

  Attributes:
    known: name -> whether the pickle may refer to it.
    reduce: (name, arguments) -> what stands for the result of such a call.
    build: (value, its state), of opcode BUILD.
    objects: whether opcodes of newer protocols and of whole objects may stand there.
  """

  known: Callable
  reduce: Callable
  build: Callable
  objects: bool


class Global(NamedTuple):
  """A name that the pickle refers to. It is never looked up."""

  name: str


class Storage(NamedTuple):
  key: str
  dtype: np.dtype
  count: int


class Tensor(NamedTuple):
  storage: Storage  # or, of other rules, its elements [n]
  offset: int  # this, shape and strides count elements
  shape: tuple
  strides: tuple
  lazy: tuple = ()  # what of it torch put off, such as 'neg': the storage holds the negated elements


_DTYPES = {
  'Float': np.float32,
  'Double': np.float64,
  'Half': np.float16,
  'BFloat16': jnp.bfloat16,
  'Long': np.int64,
  'Int': np.int32,
  'Short': np.int16,
  'Char': np.int8,
  'Byte': np.uint8,
  'Bool': np.bool_,
}
_STORAGES = {f'torch {name}Storage': np.dtype(dtype) for name, dtype in _DTYPES.items()}
_REBUILD = ('torch._utils _rebuild_tensor_v2', 'torch._utils _rebuild_parameter')
_GLOBALS = {'collections OrderedDict', *_REBUILD, *_STORAGES}

_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_LITERALS = {'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'}
_LITERALS |= {'BINUNICODE', 'SHORT_BINSTRING', 'BINSTRING'}
_OBJECTS = {'SHORT_BINUNICODE', 'BINUNICODE8', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'LONG4'}
_OBJECTS |= {'BYTEARRAY8'}
_LITERALS |= _OBJECTS
_OBJECTS |= {'FRAME', 'MEMOIZE', 'STACK_GLOBAL', 'NEWOBJ', 'EMPTY_SET', 'ADDITEMS', 'FROZENSET'}
_EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple, 'EMPTY_SET': list}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


def interpret(stream: io.BytesIO, rules: Rules) -> tuple:
  """Interprets one pickle -> (its value, {key: Storage}). Every step costs no more than the bytes that ask for it."""
  stack, below, memo, storages = [], [], {}, {}
  for opcode, arg, _ in pickletools.genops(stream):
    op = opcode.name
    if op in _OBJECTS and not rules.objects:
      raise ValueError(f'it has a pickle opcode {op}: torch.save writes none for tensors')
    if op in _LITERALS:
      stack.append(arg)
    elif op in _CONSTANTS:
      stack.append(_CONSTANTS[op])
    elif op in _EMPTY:
      stack.append(_EMPTY[op]())
    elif op in ('BINPUT', 'LONG_BINPUT'):
      memo[arg] = stack[-1]
    elif op == 'MEMOIZE':
      memo[len(memo)] = stack[-1]
    elif op in ('BINGET', 'LONG_BINGET'):
      stack.append(memo[arg])
    elif op == 'MARK':
      below.append(stack)
      stack = []
    elif op in ('TUPLE', 'FROZENSET', 'APPENDS', 'ADDITEMS', 'SETITEMS'):
      items, stack = stack, below.pop()
      if op in ('TUPLE', 'FROZENSET'):
        stack.append(tuple(items))
      elif op in ('APPENDS', 'ADDITEMS'):  # a set is a list: nobody looks into it
        expect(list, stack[-1]).extend(items)
      else:
        _set(stack[-1], zip(items[::2], items[1::2], strict=True))
    elif op in _TUPLES:
      items = tuple(stack[-_TUPLES[op] :])
      del stack[-_TUPLES[op] :]
      stack.append(items)
    elif op == 'APPEND':
      item = stack.pop()
      expect(list, stack[-1]).append(item)
    elif op == 'SETITEM':
      value, key = stack.pop(), stack.pop()
      _set(stack[-1], [(key, value)])
    elif op in ('GLOBAL', 'STACK_GLOBAL'):
      if op == 'STACK_GLOBAL':
        last, first = stack.pop(), stack.pop()
        arg = f'{expect(str, first)} {expect(str, last)}'
      if not rules.known(arg):
        raise ValueError(f'it refers to {arg[:80]!r}: only tensors are read')
      stack.append(Global(arg))
    elif op == 'BINPERSID':
      storage = _refer(stack.pop())
      if storages.setdefault(storage.key, storage) != storage:
        raise ValueError(f'storage {storage.key[:20]!r} is described in two ways')
      stack.append(storage)
    elif op in ('REDUCE', 'NEWOBJ'):
      args, function = stack.pop(), stack.pop()
      stack.append(rules.reduce(expect(Global, function).name, expect(tuple, args)))
    elif op == 'BUILD':
      state = stack.pop()
      rules.build(stack[-1], state)
    elif op == 'STOP':
      return stack.pop(), storages
    elif op not in ('PROTO', 'FRAME'):
      raise ValueError(f'it has a pickle opcode {op}: torch.save writes none for tensors')
  raise ValueError('it ends too early')


def expect(kind: type, value: Any) -> Any:
  if type(value) is not kind:
    raise ValueError(f'it has a {type(value).__name__} where a {kind.__name__} belongs')
  return value


def _expect_empty(what, value):
  if value:
    raise ValueError(f'it has {what}, which is not read')


def _set(target, pairs):
  expect(dict, target)
  for key, value in pairs:
    # Whole numbers are the keys of an optimizer's state, which a checkpoint may hold beside the weights.
    target[key if type(key) is int else expect(str, key)] = value


def _refer(pid) -> Storage:
  """('storage', class, key, device, count), and in the older format None: not a view of another storage."""
  kind, cls, key, _, count, *view = expect(tuple, pid)
  name = expect(Global, cls).name
  if kind != 'storage' or name not in _STORAGES or view not in ([], [None]):
    raise ValueError('it has a storage of an unknown kind')
  return Storage(expect(str, key), _STORAGES[name], expect(int, count))


def reduce(name: str, args: tuple) -> dict | Tensor:
  """What stands for the result of a call that torch writes: of OrderedDict a dict, of the others a tensor."""
  if name == 'collections OrderedDict':
    result = {}
    if args:  # Python 2 gives a list of [key, value]
      (pairs,) = args
      _set(result, expect(list, pairs))
      pairs.clear()  # else many dictionaries could copy one long list
    return result
  if name == 'torch._utils _rebuild_parameter':
    tensor, _, hooks = args
    _expect_empty('backward hooks', hooks)
    return expect(Tensor, tensor)
  if name != 'torch._utils _rebuild_tensor_v2':
    raise ValueError(f'it calls {name!r}')
  storage, offset, shape, strides, _, hooks, *more = args
  _expect_empty('backward hooks', hooks)
  metadata = more.pop(0) if more else None
  metadata = {} if metadata is None else expect(dict, metadata)
  _expect_empty('more than torch writes of a tensor', more)
  lazy = tuple(str(key) for key, value in metadata.items() if value is not False)
  shape, strides = expect(tuple, shape), expect(tuple, strides)
  if type(storage) is not np.ndarray:
    expect(Storage, storage)
  return Tensor(storage, offset, shape, strides, lazy)


def _drop(value, state):
  """Torch hangs `_metadata` (versions of modules) on a dictionary: left out."""
  expect(dict, value)


TENSORS = Rules(_GLOBALS.__contains__, reduce, _drop, False)


def _storage(raw: bytes, storage: Storage) -> np.ndarray:
  """The elements of a storage; converted here, once, where NumPy has no such type."""
  if len(raw) != storage.count * storage.dtype.itemsize:
    raise ValueError('a storage has not the size that its description says (truncated?)')
  if storage.dtype == np.bool_:
    return np.frombuffer(raw, np.uint8) != 0
  x = np.frombuffer(raw, storage.dtype.newbyteorder('<'))
  return x.astype(np.float32) if storage.dtype == jnp.bfloat16 else x


def _views(root, arrays: dict, entries=()) -> dict:
  """The tensors of the dictionary as views of their storages."""
  found = expect(dict, root)
  found = expect(dict, next((found[name] for name in entries if name in found), found)).items()
  tensors = {k: t for k, t in found if isinstance(t, Tensor)}
  for key, tensor in tensors.items():
    check_whole(key, tensor)
  return {k: view(t, arrays[t.storage.key]) for k, t in tensors.items()}


def check_whole(name: object, tensor: Tensor) -> None:
  """Raises ValueError for a tensor of which torch put something off."""
  if tensor.lazy:
    raise ValueError(
      f'its tensor {str(name)[:80]!r} has {", ".join(tensor.lazy)[:40]!r} put off: save tensor.resolve_neg()'
    )


def view(tensor: Tensor, x: np.ndarray) -> np.ndarray:
  """A tensor as a view. It may not exceed its storage, nor have more elements (which a stride of 0 would allow)."""
  sizes = (tensor.offset, *tensor.shape, *tensor.strides)
  if len(tensor.shape) != len(tensor.strides) or len(sizes) > 17:
    raise ValueError('a tensor has a strange number of axes')
  if any(type(n) is not int or not 0 <= n <= max(x.size, 1 << 31) for n in sizes):
    raise ValueError('a tensor has a strange shape')
  count = int(np.prod(tensor.shape, dtype=object))
  last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides))
  if count > x.size or (count and last >= x.size):
    raise ValueError(f'a tensor of shape {tensor.shape} exceeds its storage of {x.size} elements')
  strides = [s * x.itemsize for s in tensor.strides]
  if not count:
    return np.empty(tensor.shape, x.dtype)
  view = np.ndarray(tensor.shape, x.dtype, x, tensor.offset * x.itemsize, strides)
  view.flags.writeable = False
  return view
