"""Checkpoints by orbax: asynchronous, checksummed, and never a reason to lose work.

`workdir/checkpoints/<step>/` is one orbax PyTree checkpoint of the whole TrainState (a typed PRNG
key as its uint32 data). Its custom metadata holds the caller's `meta` and an index: per array the
name, dtype, shape and CRC-32. A save is written under a temporary name and renamed, so that a
directory named by a step is complete unless the disk spoilt it, which the checksums tell. A disk
that does not answer has spoilt nothing: that is an error, and changes nothing.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from ganjax import UserError
from ganjax.devices import processes
from ganjax.workdir import lock, stored

# In the name of every directory that orbax has not renamed yet, and of those being deleted here.
_TEMPORARY = '.orbax-checkpoint-tmp'


def list_steps(workdir: str | Path) -> list[int]:
  """Returns the sorted steps of the committed checkpoints in `workdir`; [] where there are none.

  Raises:
    UserError: the disk does not say.
  """
  root = Path(workdir, 'checkpoints')
  try:
    names = os.listdir(root)
  except (FileNotFoundError, NotADirectoryError):
    return []
  except OSError as error:
    raise UserError(f'cannot read {root}: {stored.line(error)}') from None
  return sorted(int(name) for name in names if name.isdecimal())


def read(
  workdir: str | Path, step: int | None = None
) -> tuple[dict[str, Any], int, dict[str, Any]]:
  """Reads a checkpoint without a template, for sampling and fine-tuning; changes nothing on disk.

  Args:
    workdir: a run's directory; the run may be alive.
    step: int, or None for the newest whole one (broken ones above it are said on stderr).

  Returns:
    (state, step, meta): the state as nested dicts of numpy arrays, each verified against its
    checksum; tuples and named tuples are dicts too ('0', 'mu'), PRNG keys are uint32 data.

  Raises:
    UserError: no checkpoint, no such step, none that is whole, or a disk that does not read.
  """
  step, arrays, index, broken = _find(workdir, step)
  for number, reason in broken.items():
    if processes.is_main():
      print(f'checkpoint {number} is broken ({reason}): using {step}', file=sys.stderr)
  state = {}
  for name, entry in index['arrays'].items():
    *parents, last = name.split('/')
    node = state
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = arrays[name] if entry else {}
  return state, step, index['meta']


class Checkpoints:
  """The checkpoints of the run in `workdir`, which the caller has locked (`lock.hold`).

  In a run of several processes all of them make the same calls in the same order; process 0 alone
  writes, deletes and moves, and the others read what was there when they restore.
  """

  def __init__(self, workdir: str | Path, keep: int = 2) -> None:
    """Opens or creates `workdir/checkpoints` and removes what killed saves left there.

    Args:
      workdir: directory of the run.
      keep: how many of the newest checkpoints stay, 1 or more.

    Raises:
      UserError: the directory can't be written.
    """
    self.workdir, self.keep = Path(workdir).absolute(), keep
    self.best = None  # a step whose checkpoint stays besides
    self.root = self.workdir / 'checkpoints'
    self._saving = self._checkpointer = None
    stored.quiet_orbax()
    if not processes.is_main():
      return
    try:
      self.root.mkdir(parents=True, exist_ok=True)
      tempfile.TemporaryFile(dir=self.root).close()
    except OSError as error:
      raise UserError(f'cannot write checkpoints to {self.root}: {stored.line(error)}') from None
    self._remove_temporary()
    # Not orbax's CheckpointManager, which deletes old checkpoints under their final names.
    self._checkpointer = ocp.AsyncCheckpointer(
      # Weights are noise to a compressor: 8 % smaller for several times the work.
      ocp.PyTreeCheckpointHandler(use_compression=False),
      # Else, where a directory can't be made, threads wait for it 10 minutes, and so does the exit.
      async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
      # The state is whole in process 0: no other has a part of the work, or need share its disk.
      multiprocessing_options=ocp.options.MultiprocessingOptions(active_processes={0}),
    )

  def steps(self) -> list[int]:
    """Returns the sorted steps of the committed checkpoints."""
    return list_steps(self.workdir)

  def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
    """Starts writing a checkpoint; the state's buffers may be donated as soon as this returns.

    Waits for the save before this one. The calling thread copies the state to the host and computes
    its checksums; the rest runs in the background.

    Args:
      step: int, above every committed step.
      state: pytree of fully replicated, non-empty `jax.Array`s, PRNG keys included.
      meta: dict of JSON values, none of which should depend on time.

    Raises:
      UserError: this save can't start, the one before it failed, or `step` is not a new highest.
    """
    self.wait()
    newest = max(processes.gather(self.steps())[0], default=-1)
    if step <= newest:
      raise UserError(
        f'checkpoint {step} is not above the newest, {newest}, in {self.root}: '
        'move the newer ones away to go on from an older one'
      )
    if not processes.is_main():
      return
    for leaf in jax.tree.leaves(state):
      leaf.copy_to_host_async()
    # On a CPU these are views; orbax copies them before it returns.
    host = jax.tree.map(stored.view_on_host, state)
    with ThreadPoolExecutor() as pool:
      checksums = dict(zip(stored.flatten(host), pool.map(stored.checksum, jax.tree.leaves(host))))
    entries = {
      name: [str(leaf.dtype), list(leaf.shape), checksums[name]] if name in checksums else None
      for name, leaf in stored.flatten(state, empty=True).items()
    }
    index = {'arrays': entries, 'meta': json.loads(json.dumps(meta))}
    index['crc32'] = stored.checksum_index(index)
    self._saving = step
    with self._one_line_errors():
      self._checkpointer.save(
        self.root / str(step), args=ocp.args.PyTreeSave(host, custom_metadata=index)
      )

  def check(self) -> None:
    """Raises the error of a save in progress, a full disk for one, as a UserError; microseconds."""
    if self._saving is not None:
      with self._one_line_errors():
        self._checkpointer.check_for_errors()
      if (self.root / str(self._saving)).exists():
        self._saving = None
        self._delete_old()

  def wait(self) -> None:
    """Waits until the save in progress is committed; raises its error as a UserError."""
    if self._saving is not None:
      with self._one_line_errors():
        self._checkpointer.wait_until_finished()
      self._saving = None
      self._delete_old()

  def close(self) -> None:
    """Waits and raises like `wait`, then ends orbax's threads."""
    try:
      self.wait()
    finally:
      if self._checkpointer:
        with contextlib.suppress(Exception):
          self._checkpointer.close()
      self._remove_temporary()

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    """Closes: an error of the run does not cost the checkpoint that is on its way, and stays the one that is raised."""
    try:
      self.close()
    except UserError as later:
      if error is None:
        raise
      print(f'error: {later}', file=sys.stderr)

  def restore(
    self, template: Any, step: int | None = None
  ) -> tuple[Any, int, dict[str, Any]] | None:
    """Restores the newest whole checkpoint, or the one of `step`, verified by its checksums.

    Where newer ones are broken and an older one is whole, the broken ones are moved to
    `workdir/checkpoints_broken/<step>`, one line on stderr each. Nothing is moved when there is no
    whole one to go on from, nor for an explicit `step`.

    Args:
      template: pytree of arrays or `jax.ShapeDtypeStruct`s with shardings, which the restored
        arrays take: devices and processes need not be those that saved.
      step: int, or None for the newest.

    Returns:
      (state, step, meta), or None where there is no checkpoint and no step is asked for.

    Raises:
      UserError: no such step, none that is whole, one whose arrays are not the template's, or a
        disk that does not read: then nothing is moved.
    """
    self.wait()
    if step is None and not processes.gather(self.steps())[0]:
      return None
    step, arrays, index, broken = _find(self.workdir, step)
    stored.check_fits(index['arrays'], template, self.root / str(step))
    if processes.is_main():
      for number, reason in broken.items():
        target = stored.move_broken(self.root / str(number))
        said = f'checkpoint {number} is broken ({reason}): moved to {target}, using {step}'
        print(said, file=sys.stderr)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices('ganjax.workdir.checkpoint.restore')
    leaves = [stored.place(arrays[name], leaf) for name, leaf in stored.flatten(template).items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves), step, index['meta']

  @contextlib.contextmanager
  def _one_line_errors(self):
    """Turns what a save raises into a UserError, and frees the space that the save has taken."""
    step = self._saving
    try:
      yield
    except Exception as error:
      if processes.is_lost(error):
        raise
      self._saving = None
      self._remove_temporary()
      raise UserError(
        f'cannot write checkpoint {step} to {self.root}: {stored.line(error)} '
        f'(checkpoints kept: {_join(self.steps())})'
      ) from error

  def _remove_temporary(self):
    if processes.is_main():
      for path in self.root.glob(f'*{_TEMPORARY}*'):
        shutil.rmtree(path, ignore_errors=True)

  def _delete_old(self):
    if processes.is_main():
      for step in set(self.steps()[: -self.keep]) - {self.best}:
        # Renamed first: a kill in the middle leaves a temporary directory, not half a checkpoint.
        old = self.root / f'{step}{_TEMPORARY}-old'
        (self.root / str(step)).rename(old)
        # Freeing half a gigabyte takes 0.1 s.
        threading.Thread(target=shutil.rmtree, args=(old, True)).start()


def _find(workdir, step=None):
  """Returns (step, arrays, index, {broken newer step: reason}) of the newest whole checkpoint.

  All processes take the same decision. Raises UserError where there is none, or not `step`, and
  where one on the way cannot be read in any of them: it may be whole.
  """
  lock.check_name(workdir)
  root, steps = Path(workdir, 'checkpoints').absolute(), processes.gather(list_steps(workdir))[0]
  if not steps or (step is not None and step not in steps):
    wanted = 'checkpoint' if step is None else f'checkpoint {step}'
    raise UserError(f'no {wanted} in {root}: there are {_join(steps)}')
  broken = {}
  for number in reversed(steps) if step is None else [step]:
    spoilt = unread = ''
    try:
      arrays, index = stored.load(root / str(number))
    except MemoryError:
      raise
    except Exception as error:  # Whatever a spoilt file makes orbax or tensorstore raise.
      if stored.code(error) in (None, *stored.MISSING):
        spoilt = stored.line(error)
      else:
        unread = stored.line(error)
    found = processes.gather([spoilt, unread])
    if reasons := [reason for _, reason in found if reason]:
      raise UserError(
        f'cannot read checkpoint {number} in {root}: {reasons[0]}; nothing was changed: '
        'try again when the disk answers'
      )
    if not any(reason for reason, _ in found):
      return number, arrays, index, broken
    broken[number] = spoilt or 'another process cannot read it'
  reasons = '; '.join(f'{number}: {reason}' for number, reason in broken.items())
  raise UserError(
    f'no whole checkpoint in {root} to use ({reasons}); nothing was changed: '
    'ask for another step, bring back a copy, or move them away to start again'
  )


def _join(steps):
  return ', '.join(map(str, steps)) or 'none'
