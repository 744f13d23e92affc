"""Signals that end a training: SIGTERM, SIGINT (Ctrl-C), and SIGHUP of a terminal that closes.

Python runs a handler between two bytecodes of the main thread, and a compilation keeps that thread in C++ for minutes.
So a thread acts on signals, which the system's own handler writes to a pipe (`signal.set_wakeup_fd`).
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType

PATIENCE_SECONDS = 0.2
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def listen(
  act: Callable[[int], object],
  note: Callable[[int, FrameType | None], object] = lambda number, frame: None,
  numbers: Sequence[int] = NUMBERS,
) -> None:
  """Has a thread call `act(number)` at each of these signals, at once; `note` is the handler that Python calls later.

  The newest call counts. Only the main thread may make it. A SIGHUP that is ignored, as nohup has it, stays so.
  """
  ends, pipe = os.pipe()
  os.set_blocking(pipe, False)

  def read():
    while True:
      for number in os.read(ends, 64):
        if number in numbers:
          act(number)

  threading.Thread(target=read, daemon=True).start()
  signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
  os.register_at_fork(after_in_child=_reset)  # else what a child gets would be its parent's
  for number in numbers:
    if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
      signal.signal(number, note)


def _reset():
  with contextlib.suppress(ValueError):  # outside the main thread
    signal.set_wakeup_fd(-1)
    for number in filter(lambda number: callable(signal.getsignal(number)), NUMBERS):
      signal.signal(number, signal.SIG_DFL)


def say(line: str) -> None:
  """Prints a line, and does not wait for a reader who does not read: a thread that acts on signals must not.

  A pipe that has room for the line may not be one that `select` calls writable, so another thread tries.
  """

  def write():
    with contextlib.suppress(OSError):  # nobody reads any more
      os.write(1, f'{line}\n'.encode())

  writer = threading.Thread(target=write, daemon=True)
  writer.start()
  writer.join(PATIENCE_SECONDS)
