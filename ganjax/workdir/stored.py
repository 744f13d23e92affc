"""One checkpoint on the disk: its arrays, their names and checksums, read back and compared.

Nothing that is read back depends on the clock (orbax's own `_CHECKPOINT_METADATA` does; it is not read).
"""

import errno
import functools
import json
import logging
import os
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ganjax import UserError

_KEY_IMPLS = ('threefry2x32', 'rbg', 'unsafe_rbg')
# What the system says where a file is not there; any other error of its says nothing of a file.
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


class _BrokenError(Exception):
  """A checkpoint that does not read back as it was written."""


@functools.cache
def quiet_orbax() -> None:
  """Keeps the tracebacks that orbax prints off the terminal: its errors reach us as exceptions, and become a line.

  After one failed array it leaves those of the others to asyncio and to a closed event loop. Once a process.
  """
  closed, report = 'Event loop is closed', sys.unraisablehook
  sys.unraisablehook = lambda args: None if str(args.exc_value) == closed else report(args)
  logging.getLogger('absl').addFilter(lambda record: '/orbax/' not in record.pathname)
  logging.getLogger('asyncio').addFilter(lambda record: 'never retrieved' not in str(record.msg))


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Reads one checkpoint directory: ({name: numpy array}, its index).

  By orbax's handler, not its Checkpointer, which waits for other processes: one of them may fail.
  """
  quiet_orbax()
  index = json.loads((path / '_METADATA').read_text())['custom_metadata']
  if index.pop('crc32') != checksum_index(index):
    raise _BrokenError('checksum of the index')
  handler = ocp.PyTreeCheckpointHandler()
  arrays = flatten(handler.restore(path, args=ocp.args.PyTreeRestore()))
  wanted = {name: entry for name, entry in index['arrays'].items() if entry}
  if wanted.keys() != arrays.keys():
    raise _BrokenError(f'missing or unknown array {min(wanted.keys() ^ arrays.keys())}')
  for name, (dtype, shape, crc32) in wanted.items():
    found = [str(arrays[name].dtype), list(arrays[name].shape)]
    # A key's data is uint32 with one axis more.
    if (found != [dtype, shape] and not dtype.startswith('key')) or (
      checksum(arrays[name]) != crc32
    ):
      raise _BrokenError(f'checksum of {name}')
  return arrays, index


def check_fits(entries: dict[str, Any], template: Any, path: Path) -> None:
  """Raises UserError naming the first array in which a checkpoint and the template differ."""
  here = {name: f'{leaf.dtype}{list(leaf.shape)}' for name, leaf in flatten(template).items()}
  there = {name: f'{entry[0]}{entry[1]}' for name, entry in entries.items() if entry}
  for name in [*here, *there]:
    if here.get(name) != there.get(name):
      raise UserError(
        f'checkpoint {path} is of another configuration: {name} is {there.get(name, "not there")}, '
        f'here it is {here.get(name, "not there")}; use its config or another workdir'
      )


def place(array: np.ndarray, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
  """Puts a numpy array where the template's leaf is; a key's data becomes a typed key."""
  sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  placed = jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    # A ShapeDtypeStruct has the key's dtype, of which JAX gives the name only for real keys.
    impl = next(name for name in _KEY_IMPLS if jax.random.key(0, impl=name).dtype == leaf.dtype)
    placed = jax.random.wrap_key_data(placed, impl=impl)
  return placed


def view_on_host(leaf: jax.Array) -> np.ndarray:
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf)


def flatten(tree: Any, empty: bool = False) -> dict[str, Any]:
  """Returns {'params/G/dense/kernel': leaf}: the same names for a state and for what orbax reads.

  With `empty`, also the nodes that hold nothing: {}, None, optax.EmptyState().
  """
  is_leaf = (lambda node: not jax.tree.leaves(node)) if empty else None
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
  return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}


def checksum(array: np.ndarray) -> int:
  """CRC-32 of the raw bytes, which every flipped byte changes; 0.25 ms a MB."""
  return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def checksum_index(index: dict[str, Any]) -> int:
  return zlib.crc32(json.dumps(index, sort_keys=True).encode())


def move_broken(path: Path) -> Path:
  """Moves a checkpoint to checkpoints_broken/<step>, or <step>.1 and so on; returns where."""
  broken = path.parent.with_name('checkpoints_broken')
  target, count = broken / path.name, 0
  try:
    broken.mkdir(exist_ok=True)
    while target.exists():
      count += 1
      target = broken / f'{path.name}.{count}'
    return path.rename(target)
  except OSError as error:
    raise UserError(f'cannot move the broken {path} to {target}: {line(error)}') from None


def code(error: BaseException | None) -> int | None:
  """The system's number of an error, or of one that it comes from; tensorstore has it in its text."""
  while error:
    if number := getattr(error, 'errno', None):
      return number
    if found := re.search(r"os_error_code='(\d+)'", str(error)):
      return int(found[1])
    error = error.__cause__ or error.__context__
  return None


def line(error: BaseException) -> str:
  """One short line for an exception, which tensorstore spreads over many."""
  if number := code(error):
    return os.strerror(number)
  text = ' '.join(str(error).split()) or type(error).__name__
  return text if len(text) <= 200 else f'{text[:200]}...'
