"""Checkpoints by orbax: asynchronous, checksummed, and never a reason to lose work.

`workdir/checkpoints/<step>/` holds two orbax items: `state`, the whole TrainState as a tree of
arrays (a typed PRNG key as its uint32 data), and `meta`, a JSON object with the caller's `meta`
and, per array, dtype, shape and CRC-32. A save is written to a temporary name and renamed, so that
a directory named by a step is complete unless the disk spoilt it, which the checksums tell. Neither
item holds a clock value (orbax's own `_CHECKPOINT_METADATA`, never read here, does).
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from ganjax import UserError

# In the name of every directory that orbax has not renamed yet, and of those being deleted here.
_TEMPORARY = '.orbax-checkpoint-tmp'
_KEY_IMPLS = ('threefry2x32', 'rbg', 'unsafe_rbg')
# Orbax logs tracebacks of errors that are raised to us as well: one line is enough.
logging.getLogger('absl').addFilter(lambda record: '/orbax/' not in record.pathname)
_hook = sys.unraisablehook


def _hook_quiet(unraisable):
  # After one failed array, tensorstore reports the others to an event loop that orbax has closed.
  if str(unraisable.exc_value) != 'Event loop is closed':
    _hook(unraisable)


sys.unraisablehook = _hook_quiet


class _BrokenError(Exception):
  """A checkpoint that does not read back as it was written."""


def list_steps(workdir):
  """Returns the sorted steps of the committed checkpoints in `workdir`; [] where there are none."""
  root = Path(workdir, 'checkpoints')
  try:
    return sorted(int(name) for name in os.listdir(root) if name.isdecimal())
  except (FileNotFoundError, NotADirectoryError):
    return []


def read(workdir, step=None):
  """Reads a checkpoint without a template, for sampling and fine-tuning; changes nothing on disk.

  Args:
    workdir: a run's directory; the run may be alive.
    step: int, or None for the newest that is whole (skipped ones are said on stderr).

  Returns:
    (state, step, meta): state as nested dicts and lists of numpy arrays (optax's named tuples as
    dicts, PRNG keys as uint32 data), every array verified against its checksum.

  Raises:
    UserError: no checkpoint, no such step, or none that is whole.
  """
  step, (state, _, meta), broken = _find(workdir, step)
  for number, reason in broken.items():
    print(f'checkpoint {number} is broken ({reason}): using {step}', file=sys.stderr)
  return state, step, meta


class Checkpoints:
  """The checkpoints of the run in `workdir`, which the caller has locked (`lock`).

  In a run of several processes every process makes the same calls in the same order, over one
  shared file system; process 0 writes, deletes and moves.
  """

  def __init__(self, workdir, keep=2):
    """Opens or creates `workdir/checkpoints`; removes what killed saves left there.

    Args:
      workdir: directory of the run.
      keep: how many of the newest checkpoints stay.

    Raises:
      UserError: the directory can't be written.
    """
    self.workdir, self.keep = Path(workdir), keep
    # Orbax refuses relative paths.
    self.root = Path(workdir, 'checkpoints').absolute()
    self._saving = None
    if jax.process_index() == 0:
      try:
        self.root.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=self.root).close()
        self._remove_temporary()
      except OSError as error:
        raise UserError(f'cannot write checkpoints to {self.root}: {_line(error)}') from None
    # Weights are noise to a compressor: 8 % smaller for several times the work.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False)
    # Not orbax's CheckpointManager: with several processes it holds an error of a save back until
    # its barriers time out (10 minutes), and it deletes old checkpoints under their final names.
    self._checkpointer = ocp.AsyncCheckpointer(
      handler,
      # Else, where a directory can't be made, threads wait for it 10 minutes, and so does the exit.
      async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
    )

  def steps(self):
    """Returns the sorted steps of the committed checkpoints."""
    return list_steps(self.workdir)

  def save(self, step, state, meta):
    """Starts writing a checkpoint; the state's buffers may be donated as soon as this returns.

    Waits for the save before this one. The calling thread copies the state to the host and computes
    its checksums; the rest runs in the background.

    Args:
      step: int, above every committed step.
      state: pytree of fully replicated `jax.Array`s, PRNG keys included.
      meta: dict of JSON values; holds nothing that depends on time.

    Raises:
      UserError: this save can't start, the one before it failed, or `step` is not a new highest.
    """
    self.wait()
    steps = self.steps()
    if steps and step <= steps[-1]:
      raise UserError(
        f'checkpoint {step} is not above the newest, {steps[-1]}, in {self.root}: '
        'remove the newer ones to go on from an older one'
      )
    for leaf in jax.tree.leaves(state):
      leaf.copy_to_host_async()
    # Orbax copies these views, which on a CPU share the memory that the next update overwrites.
    host = jax.tree.map(_to_numpy, state)
    with ThreadPoolExecutor() as pool:
      checksums = pool.map(_checksum, jax.tree.leaves(host))
      arrays = {
        name: [str(leaf.dtype), list(leaf.shape), checksum]
        for (name, leaf), checksum in zip(_flatten(state).items(), checksums)
      }
    index = {'arrays': arrays, 'meta': json.loads(json.dumps(meta))}
    index['crc32'] = _checksum_index(index)
    self._saving = step
    with self._one_line_errors():
      self._checkpointer.save(
        self.root / str(step), args=ocp.args.PyTreeSave(host, custom_metadata=index)
      )

  def check(self):
    """Raises the error of a save in progress, a full disk for one, as a UserError; microseconds."""
    if self._saving is not None:
      with self._one_line_errors():
        self._checkpointer.check_for_errors()
      if (self.root / str(self._saving)).exists():
        self._saving = None
        self._delete_old()

  def wait(self):
    """Waits until the save in progress is committed; raises its error as a UserError."""
    if self._saving is not None:
      with self._one_line_errors():
        self._checkpointer.wait_until_finished()
      self._saving = None
      self._delete_old()

  def close(self):
    """Waits like `wait`, raises like it, and ends orbax's threads."""
    try:
      self.wait()
    finally:
      with contextlib.suppress(Exception):
        self._checkpointer.close()

  def restore(self, template, step=None):
    """Restores the newest whole checkpoint, or the one of `step`, verified against its checksums.

    Where newer ones are broken and an older one is whole, the broken ones are moved to
    `workdir/checkpoints_broken/<step>`, one line on stderr each. Nothing is moved when there is no
    whole one to go on from, nor for an explicit `step`.

    Args:
      template: pytree of arrays or `jax.ShapeDtypeStruct`s with shardings, which the restored
        arrays take: the devices and processes need not be those that saved.
      step: int, or None for the newest.

    Returns:
      (state, step, meta), or None where there is no checkpoint and no step is asked for.

    Raises:
      UserError: no such step, no whole checkpoint, or one whose arrays are not the template's.
    """
    self.wait()
    if step is None and not _agree_on_steps(self.workdir):
      return None
    step, (_, arrays, meta), broken = _find(self.workdir, step, template)
    if jax.process_index() == 0:
      for number, reason in broken.items():
        target = _move_broken(self.root / str(number))
        print(
          f'checkpoint {number} is broken ({reason}): moved to {target}, using {step}',
          file=sys.stderr,
        )
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices('ganjax.checkpoint.restore')
    leaves = [_place(arrays[name], leaf) for name, leaf in _flatten(template).items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves), step, meta

  @contextlib.contextmanager
  def _one_line_errors(self):
    """Turns what a save raises into a UserError, and frees the space that the save has taken."""
    step = self._saving
    try:
      yield
    except Exception as error:
      self._saving = None
      if jax.process_index() == 0:
        self._remove_temporary()
      kept = ', '.join(map(str, self.steps())) or 'none'
      raise UserError(
        f'cannot write checkpoint {step} to {self.root}: {_line(error)} (checkpoints kept: {kept})'
      ) from error

  def _remove_temporary(self):
    for path in self.root.glob(f'*{_TEMPORARY}*'):
      shutil.rmtree(path, ignore_errors=True)

  def _delete_old(self):
    if jax.process_index() == 0:
      for step in self.steps()[: -self.keep]:
        # Renamed first: a kill in the middle leaves a temporary directory, not half a checkpoint.
        old = self.root / f'{step}{_TEMPORARY}-old'
        (self.root / str(step)).rename(old)
        # Freeing half a gigabyte takes 0.1 s.
        threading.Thread(target=shutil.rmtree, args=(old, True)).start()


def _find(workdir, step=None, template=None):
  """Returns (step, what _load gives, {broken newer step: reason}) of the newest whole checkpoint.

  All processes take the same decision. Raises UserError as `restore` says.
  """
  root, steps = Path(workdir, 'checkpoints').absolute(), _agree_on_steps(workdir)
  if not steps or (step is not None and step not in steps):
    there = ', '.join(map(str, steps)) or 'none'
    wanted = 'checkpoint' if step is None else f'checkpoint {step}'
    raise UserError(f'no {wanted} in {root}: there are {there}')
  broken = {}
  for number in reversed(steps if step is None else [step]):
    try:
      loaded, reason = _load(root / str(number)), ''
    except MemoryError:
      raise
    except Exception as error:  # Whatever a spoilt file makes orbax or tensorstore raise.
      loaded, reason = None, _line(error)
    if not _agree(loaded is not None):
      broken[number] = reason or 'another process cannot read it'
      continue
    if template is not None:
      _check_fits(loaded[1], template, root / str(number))
    return number, loaded, broken
  reasons = '; '.join(f'{number}: {reason}' for number, reason in broken.items())
  raise UserError(
    f'no checkpoint in {root} that was asked for is whole ({reasons}): nothing was changed; '
    'use another step or a copy, or remove them to start again'
  )


def _load(path):
  """Reads one checkpoint directory: (nested numpy tree, {name: (dtype, array)}, meta).

  By orbax's handlers, not its Checkpointer, which waits for other processes: one of them may fail.
  """
  handler = ocp.PyTreeCheckpointHandler()
  index = handler.metadata(path).custom_metadata
  if index.pop('crc32') != _checksum_index(index):
    raise _BrokenError('checksum of the index')
  state = handler.restore(path, args=ocp.args.PyTreeRestore())
  arrays, found = index['arrays'], _flatten(state)
  if arrays.keys() != found.keys():
    raise _BrokenError(f'missing or unknown array {min(arrays.keys() ^ found.keys())}')
  for name, (dtype, shape, checksum) in arrays.items():
    array = found[name]
    # A key's data is uint32 with one more axis.
    described = dtype.startswith('key<') or (str(array.dtype), list(array.shape)) == (dtype, shape)
    if not described or _checksum(array) != checksum:
      raise _BrokenError(f'checksum of {name}')
  return state, {name: (arrays[name], found[name]) for name in arrays}, index['meta']


def _check_fits(arrays, template, path):
  """Raises UserError naming the first array in which a checkpoint and the template differ."""
  wanted = {name: f'{leaf.dtype}{list(leaf.shape)}' for name, leaf in _flatten(template).items()}
  there = {name: f'{dtype}{shape}' for name, ((dtype, shape, _), _) in arrays.items()}
  for name in [*wanted, *there]:
    if wanted.get(name) != there.get(name):
      raise UserError(
        f'checkpoint {path} is of another configuration: {name} is {there.get(name, "not there")}, '
        f'here it is {wanted.get(name, "not there")}; use its config or another workdir'
      )


def _place(entry, leaf):
  """Puts a numpy array where the template's leaf is; a key's data becomes a typed key."""
  _, array = entry
  sharding = leaf.sharding
  if sharding is None:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  placed = jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    # A ShapeDtypeStruct has the key's dtype, of which JAX gives the name only for real keys.
    impl = next(name for name in _KEY_IMPLS if jax.random.key(0, impl=name).dtype == leaf.dtype)
    placed = jax.random.wrap_key_data(placed, impl=impl)
  return placed


def _to_numpy(leaf):
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf)


def _flatten(tree):
  """Returns {'params/G/dense/kernel': leaf}: the same names for a state and its plain copy."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}


def _checksum(array):
  """CRC-32 of the raw bytes: every flipped byte changes it; 0.25 ms a MB (zlib)."""
  return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _checksum_index(index):
  return zlib.crc32(json.dumps(index, sort_keys=True).encode())


def _agree_on_steps(workdir):
  """Returns process 0's list of steps, on every process."""
  steps = list_steps(workdir)
  if jax.process_count() == 1:
    return steps
  count = int(multihost_utils.broadcast_one_to_all(np.int32(len(steps))))
  steps = (steps + [0] * count)[:count]
  return multihost_utils.broadcast_one_to_all(np.array(steps, np.int32)).tolist() if count else []


def _agree(whole):
  """Whether a checkpoint is whole on every process."""
  return bool(np.all(multihost_utils.process_allgather(np.int32(whole))))


def _move_broken(path):
  """Moves a checkpoint to checkpoints_broken/<step>, <step>.1, ...; returns where."""
  broken = path.parent.with_name('checkpoints_broken')
  broken.mkdir(exist_ok=True)
  names = [path.name, *(f'{path.name}.{i}' for i in range(1, 1000))]
  target = next(broken / name for name in names if not (broken / name).exists())
  path.rename(target)
  return target


def _line(error):
  """One short line for an exception, which orbax and tensorstore spread over many."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  text = ' '.join(str(error).split()) or type(error).__name__
  if code := re.search(r"os_error_code='(\d+)'", text):
    return os.strerror(int(code[1]))
  return text if len(text) <= 200 else f'{text[:200]}...'


_held = set()


@contextlib.contextmanager
def lock(workdir):
  """Holds `workdir` for this process until the block ends or the process dies, however it does.

  An exclusive flock on `workdir/.lock`, which also names the holder. In a run of several processes
  process 0 alone takes it.

  Raises:
    UserError: another process holds it, or the directory can't be written.
  """
  try:
    Path(workdir).mkdir(parents=True, exist_ok=True)
    handle = os.open(Path(workdir, '.lock'), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
  except OSError as error:
    raise UserError(f'cannot write to workdir {workdir}: {_line(error)}') from None
  _held.add(handle)
  try:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      holder = os.pread(handle, 200, 0).decode(errors='replace').strip() or 'unknown'
      raise UserError(
        f'workdir {workdir} is in use by process {holder}: stop it or use another workdir'
      ) from None
    except OSError as error:
      raise UserError(f'cannot lock workdir {workdir}: {_line(error)}') from None
    with contextlib.suppress(OSError):  # The name is a courtesy; a full disk is said elsewhere.
      os.ftruncate(handle, 0)
      os.pwrite(handle, f'{os.getpid()} on {socket.gethostname()}\n'.encode(), 0)
    yield
  finally:
    _held.discard(handle)
    os.close(handle)


def _drop_locks():
  """A forked child shares its parent's flock and would hold it after the parent's death."""
  for handle in _held:
    os.close(handle)
  _held.clear()


os.register_at_fork(after_in_child=_drop_locks)
