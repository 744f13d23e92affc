"""Every example decoded once into uint8 arrays on disk, opened memory-mapped.

An entry is a directory `$GANJAX_CACHE_DIR/data/<title>-<hash of the key>` (default ~/.cache/ganjax) with one
.npy file a field. It is written under a lock to `<entry>.building`, synced and renamed, so that an
entry that exists is whole; what a killed builder left is removed by the next one.
"""

import collections
import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection
from typing import NamedTuple, TextIO

import numpy as np

from ganjax import UserError, cache_folder
from ganjax.devices import cpu


class Examples(NamedTuple):
  """A data set as its files give it, before decoding."""

  title: str  # for messages and directory names: 'cifar10/3.0.2 train 32x3'
  key: (
    dict  # JSON-able: everything that the decoded arrays depend on, alike for copies on other hosts
  )
  count: int
  fields: dict  # name -> (shape of one example, dtype)
  fetch: Callable  # rows int64 [n] -> list of n undecoded records; the cache asks for rows in order
  decode: Callable  # list of n records -> {name: array [n, ...]}; called from many threads
  here: str = ''  # tells the files from all that were ever in their place on this host: part of an entry's key too
  names: tuple = ()  # what to call each example in messages
  explain: Callable | None = None  # row -> why it cannot be decoded
  place: str = ''  # where they lie, for messages
  what: str = 'images'  # they are, for messages


def open_arrays(examples: Examples, names: Collection[str]) -> dict[str, np.ndarray]:
  """Returns {name: ndarray [count, ...]} for the fields `names`, building the entry if need be.

  Raises UserError where the disk is too small, full, not writable or does not read.
  """
  root = cache_folder('data')
  specs = {name: examples.fields[name] for name in names}
  key = {**examples.key, 'here': examples.here, 'stored': sorted(names), 'layout': 1}
  key = json.dumps(key, sort_keys=True)
  slug = re.sub(r'[^\w.]+', '-', examples.title)[:80]
  entry = root / f'{slug}-{hashlib.sha256(key.encode()).hexdigest()[:16]}'
  arrays = _open(entry, examples.count, specs)
  if arrays is None:
    with _writing(root):
      lock = lock_file(f'{entry}.lock', f'decoding {examples.title}')
    with lock:
      # NFS may remember that there was no entry, until the folder is opened again.
      with _writing(root):
        os.listdir(root)
      arrays = _open(entry, examples.count, specs)
      if arrays is None:
        _build(entry, examples, specs, key)
        arrays = _open(entry, examples.count, specs)
  return arrays


def _open(entry, count, specs):
  """The entry's arrays, or None where there is no whole entry. Raises UserError where the disk does not say."""
  try:
    arrays = {name: np.load(entry / f'{name}.npy', mmap_mode='r') for name in specs}
  except (FileNotFoundError, NotADirectoryError, ValueError, EOFError):
    return None
  except OSError as e:
    raise UserError(f'cannot read {entry} of the cache ({e.strerror}): it is left as it is') from e
  for name, (shape, dtype) in specs.items():
    if arrays[name].shape != (count, *shape) or arrays[name].dtype != dtype:
      return None
  # Plain views: indexing through the memmap subclass is slower.
  return {name: np.asarray(array) for name, array in arrays.items()}


def lock_file(path: str | os.PathLike, doing: str) -> TextIO:
  """Waits for the lock on a file, made if missing, and says what another process is `doing`; closing it unlocks.

  The lock goes with its process, however that ends. Raises OSError where the file cannot be made or locked.
  """
  while True:
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'a')  # noqa: SIM115 (closing it is what unlocks)
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f'waiting for another process that is {doing}', file=sys.stderr, flush=True)
      fcntl.flock(file, fcntl.LOCK_EX)
    # Who held it may have removed it: then it locks nobody out.
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
        return file
    file.close()


@contextlib.contextmanager
def _writing(root):
  """Turns what the disk refuses into one line."""
  try:
    yield
  except OSError as e:
    reason = 'is full' if e.errno == errno.ENOSPC else f'cannot be written ({e.strerror})'
    raise UserError(
      f'the cache directory {root} {reason}: point GANJAX_CACHE_DIR at a disk with room'
    ) from e


def _build(entry, examples, specs, key):
  root = entry.parent
  partial = entry.with_name(f'{entry.name}.building')
  with _writing(root):
    _remove_leftovers(root, partial)
    with contextlib.suppress(FileNotFoundError):
      entry.rename(partial)  # one that _open() refused: what a kill leaves of it is no entry
    if partial.is_file():
      partial.unlink()
    shutil.rmtree(partial, ignore_errors=True)
    needed = _size(examples, specs)
    free = shutil.disk_usage(root).free
  if needed * 1.01 + 2**20 > free:
    raise UserError(
      f'decoding {examples.title} needs {needed / 2**20:,.0f} MiB and {root} has '
      f'{free / 2**20:,.0f} MiB free: point GANJAX_CACHE_DIR at a larger disk, or set data.cache=False'
    )
  try:
    with contextlib.ExitStack() as stack:
      with _writing(root):
        partial.mkdir(exist_ok=True)  # NFS keeps what somebody has open
        files = {}
        for name, (shape, dtype) in specs.items():
          files[name] = stack.enter_context(open(partial / f'{name}.npy', 'wb'))
          np.lib.format.write_array_header_1_0(
            files[name],
            {
              'descr': np.lib.format.dtype_to_descr(np.dtype(dtype)),
              'fortran_order': False,
              'shape': (examples.count, *shape),
            },
          )
      for arrays in _decode_all(examples, specs):
        with _writing(root):
          for name, file in files.items():
            file.write(np.ascontiguousarray(arrays[name], specs[name][1]).data)
      with _writing(root):
        files['key'] = stack.enter_context(open(partial / 'key.json', 'wb'))
        files['key'].write(key.encode())
        for file in files.values():
          file.flush()
          os.fsync(file.fileno())
    with _writing(root):
      _sync_directory(partial)
      partial.rename(entry)
      _sync_directory(root)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _decode_all(examples, specs):
  """Yields {name: array} for consecutive chunks, decoded by as many threads as there are cores."""
  workers = cpu.cores()
  chunk = min(256, max(1, 2**23 // max(1, _size(examples, specs) // examples.count)))
  starts = range(0, examples.count, chunk)
  begun = shown = time.monotonic()
  tty = sys.stderr.isatty()
  done = 0
  pending = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    for i in range(len(starts) + 2 * workers):
      if i < len(starts):
        rows = np.arange(starts[i], min(starts[i] + chunk, examples.count))
        pending.append(pool.submit(examples.decode, examples.fetch(rows)))
      if i >= 2 * workers and pending:
        arrays = pending.popleft().result()
        done += len(next(iter(arrays.values())))
        yield arrays
        now = time.monotonic()
        if now - shown > (0.5 if tty else 10) or done == examples.count:
          shown = now
          rate = done / max(now - begun, 1e-6)
          text = f'decoding {examples.title}: {done:,} of {examples.count:,} ({rate:,.0f} {examples.what}/s)'
          end = '\r' if tty and done < examples.count else '\n'
          print(text, end=end, file=sys.stderr, flush=True)


def _size(examples, specs):
  """Bytes of the decoded fields."""
  per_example = sum(
    int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    for shape, dtype in specs.values()
  )
  return per_example * examples.count


def _remove_leftovers(root, partial):
  """Removes unfinished entries whose builder is dead: nobody holds their lock, or we do."""
  for path in root.glob('*.building'):
    with open(f'{path.with_suffix("")}.lock', 'a') as lock, contextlib.suppress(BlockingIOError):
      if path != partial:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      shutil.rmtree(path, ignore_errors=True)


def _sync_directory(path):
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
