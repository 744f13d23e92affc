"""One process at a time in a workdir."""

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from ganjax import UserError

_held = set()


@contextlib.contextmanager
def hold(workdir):
  """Holds `workdir` for this process until the block ends or the process dies, however it does.

  An exclusive flock on `workdir/.lock`, which also names the holder. In a run of several processes
  only process 0 should take it.

  Raises:
    UserError: another process holds it, or the directory can't be written.
  """
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
      holder = os.pread(handle, 200, 0).decode(errors='replace').strip() or 'unknown'
      raise UserError(
        f'workdir {workdir} is in use by process {holder}: stop it or use another workdir'
      ) from None
    except OSError as error:
      raise UserError(f'cannot lock workdir {workdir}: {error.strerror}') from None
    with contextlib.suppress(OSError):  # The name is a courtesy; a full disk is said elsewhere.
      os.ftruncate(handle, 0)
      os.pwrite(handle, f'{os.getpid()} on {socket.gethostname()}\n'.encode(), 0)
    yield
  finally:
    _held.discard(handle)
    os.close(handle)


def _drop_locks():
  """A forked child shares its parent's flock and would hold it after the parent's death."""
  while _held:
    os.close(_held.pop())


os.register_at_fork(after_in_child=_drop_locks)
