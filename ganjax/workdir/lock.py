"""One process at a time in a workdir."""

import contextlib
import fcntl
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from ganjax import UserError
from ganjax.devices import processes

_held = set()


@contextlib.contextmanager
def hold(workdir: str | Path) -> Iterator[None]:
  """Holds `workdir` for this process until the block ends or the process dies, however it does.

  An exclusive flock on `workdir/.lock`, which also names the holder. In a run of several processes
  only process 0 should take it.

  Raises:
    UserError: another process holds it, its name is one that `check_name` refuses, or it can't be written.
  """
  check_name(workdir)
  try:
    Path(workdir).mkdir(parents=True, exist_ok=True)
    handle = os.open(Path(workdir, '.lock'), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
  except OSError as error:
    raise UserError(f'cannot write to workdir {workdir}: {error.strerror}') from None
  _held.add(handle)
  try:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      holder = os.pread(handle, 200, 0).decode(errors='replace').partition('\n')[0] or 'unknown'
      raise UserError(
        f'workdir {workdir} is in use by process {holder}: stop it or use another workdir'
      ) from None
    except OSError as error:
      raise UserError(f'cannot lock workdir {workdir}: {error.strerror}') from None
    with contextlib.suppress(OSError):  # The name is a courtesy; a full disk is said elsewhere.
      os.ftruncate(handle, 0)
      # The number is for `check_shared`, which other hosts of an NFS share see no earlier than it is synced.
      os.pwrite(handle, f'{os.getpid()} on {socket.gethostname()}\n{uuid.uuid4()}\n'.encode(), 0)
      os.fsync(handle)
    yield
  finally:
    _held.discard(handle)
    os.close(handle)


def is_held(workdir: str | Path) -> bool:
  """Whether some process of this host holds `workdir`: a training is at work there."""
  try:
    handle = os.open(Path(workdir, '.lock'), os.O_RDONLY | os.O_CLOEXEC)
  except OSError:
    return False
  try:
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except OSError:
    return True
  finally:
    os.close(handle)
  return False


def check_name(workdir: str | Path) -> None:
  """Raises UserError for a name that tensorstore, which writes checkpoints, takes for another, or for none."""
  name = os.fsencode(Path(workdir).absolute())
  if b'\\' in name or name.decode(errors='ignore').encode() != name:
    raise UserError(
      f'workdir {name!r}: checkpoints need a path that is valid UTF-8 and has no backslash'
    )


@contextlib.contextmanager
def share(workdir: str | Path) -> Iterator[Path]:
  """Holds `workdir`, which all processes of a run share, for all of them; gives it as a Path.

  Raises:
    UserError: see `hold` and `check_shared`.
  """
  with hold(workdir) if processes.is_main() else contextlib.nullcontext():
    check_shared(workdir)
    yield Path(workdir)


def check_shared(workdir: str | Path) -> None:
  """Sees to it that all processes see the `.lock` which process 0 holds, and not one that was copied with the workdir.

  Raises:
    UserError: in all of them, where one does not.
  """
  processes.gather(None)  # process 0 has written it by now
  for _ in range(10):
    try:
      # NFS may remember a file as it was, but asks anew where one is opened.
      seen = Path(workdir, '.lock').read_text()
    except OSError:
      seen = None
    if len(set(processes.gather(seen))) == 1:
      return
    time.sleep(0.5)
  raise UserError(f'workdir {workdir} must be on a disk that all processes share')


def _drop_locks():
  """A forked child shares its parent's flock and would hold it after the parent's death."""
  while _held:
    os.close(_held.pop())


os.register_at_fork(after_in_child=_drop_locks)
