"""Who writes to a bucket: there are no locks, so a process writes a file there again and again."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ganjax import UserError

if TYPE_CHECKING:
  import fsspec


_LOOK_SECONDS = 2  # between two looks for a sign of another
_BEAT_SECONDS = 20  # between two signs of life
_PATIENCE_SECONDS = 90  # a process that gives none for so long is gone


class TakenOver(UserError):
  """Another process writes to the same place."""


class Holder:
  """The file at `path`, which names the process that writes to `url`."""

  def __init__(self, fs: 'fsspec.AbstractFileSystem', path: str, url: str) -> None:
    self._fs, self._path, self._url = fs, path, url
    self._me, self._beats = f'{os.getpid()} on {socket.gethostname()}\n{uuid.uuid4()}\n', 0

  def take(self) -> None:
    """Becomes the one that writes there, once another has given no sign of life for long enough.

    Raises:
      UserError: another process is at work.
    """
    seen = self._read()
    who = seen and seen.partition('\n')[0]
    if seen and not _is_dead(who):
      print(f'{self._url}: is process {who} still there? Waiting for a sign', flush=True)
      until = time.monotonic() + _PATIENCE_SECONDS
      while self._read() == seen and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
      if self._read() not in (seen, None):
        raise UserError(f'{self._url} is in use by process {who}: stop it, or use another workdir')
    self._beat()

  @contextlib.contextmanager
  def kept(self) -> Iterator[None]:
    """Gives signs of life until the block ends; sends SIGTERM to this process where another takes over."""
    try:
      with beside(self._beat_on):
        yield
    finally:
      with contextlib.suppress(Exception):  # a courtesy to the next
        self.check()
        self._fs.rm_file(self._path)

  def check(self) -> None:
    """Raises TakenOver where another is the one that writes."""
    if not (self._read() or self._me).startswith(self._me):  # that of nobody becomes ours
      raise TakenOver(f'{self._url}: another process has taken it over')

  def _read(self) -> str | None:
    try:
      return self._fs.cat_file(self._path).decode()
    except FileNotFoundError:
      return None

  def _beat(self):
    self._beats += 1
    self._fs.pipe_file(self._path, f'{self._me}{self._beats}\n'.encode())

  def _beat_on(self, ended):
    while not ended.wait(_BEAT_SECONDS):
      try:
        self.check()
        self._beat()
      except TakenOver as error:
        say(f'error: {error}')
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # else the run is stopping already
          os.kill(os.getpid(), signal.SIGTERM)
        return
      except Exception:  # pushes fail too, and say so
        continue


@contextlib.contextmanager
def beside(work: Callable[[threading.Event], object]) -> Iterator[None]:
  """Runs work(event) beside the block, until the event says that it has ended."""
  ended = threading.Event()
  thread = threading.Thread(target=work, args=(ended,), daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()


def say(line: str) -> None:
  """Says a line on stderr."""
  with contextlib.suppress(OSError, ValueError):  # a full disk or a closed pipe ends no thread
    print(line, file=sys.stderr, flush=True)


def _is_dead(who) -> bool:
  """Whether a process 'PID on HOST' was one of this host and is no more."""
  pid, _, host = who.partition(' on ')
  here = host == socket.gethostname() and os.path.exists('/proc/self')
  return here and pid.isdigit() and not os.path.exists(f'/proc/{pid}')
