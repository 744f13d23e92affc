"""How a signal ends a training: between two steps, with a checkpoint."""

import os
import signal

from ganjax.devices import processes
from ganjax.training import signals


class Interrupt:
  """Notes SIGTERM, SIGINT and SIGHUP for the loop to act on between two steps, and says so at once.

  In one process a second signal ends it, but for SIGHUP, of which a terminal that closes sends several. Several
  processes stop together: SIGTERM is JAX's, which tells it to the others, and is sent in place of the other signals.
  """

  def __init__(self) -> None:
    self._number, self._agreed, self._calls = 0, False, 0
    self._acknowledged, self._joined = False, processes.is_joined()
    numbers = [n for n in signals.NUMBERS if n != signal.SIGTERM or not self._joined]
    signals.listen(self._act, self._note, numbers)

  def _note(self, number, frame):
    """In the main thread: what this process sent itself counts before the next step."""
    self._number = self._number or number
    if not self._joined:
      signal.signal(signal.SIGTERM, signal.SIG_DFL)  # says that the run is stopping

  def _act(self, number):
    if self._acknowledged and not self._joined and number != signal.SIGHUP:
      os._exit(128 + number)
    self._number = self._number or number
    if self._joined:
      os.kill(os.getpid(), signal.SIGTERM)
    if not self._acknowledged:
      self._acknowledged = True
      more = 'as do all processes' if self._joined else 'again to stop at once'
      signals.say(f'{signal.Signals(number).name}: saving at the next step; {more}')

  def at(self) -> bool:
    """True when a signal came, to this process or another; all processes must ask equally often."""
    if not self._joined:
      return self._number > 0
    if not self._agreed:
      self._calls += 1
      self._agreed = processes.is_stop(self._calls)
      if self._agreed:
        self._number = max(processes.gather(self._number))
    return self._agreed

  @property
  def name(self) -> str:
    return signal.Signals(self._number or signal.SIGTERM).name

  @property
  def status(self) -> int:
    """128 + the signal's number, as a shell has it: 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP."""
    return 128 + (self._number or signal.SIGTERM)
