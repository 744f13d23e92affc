"""Looking into a run: traces of steps, where a NaN arose, what compilation and memory come to."""

import contextlib
import io
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from ganjax import UserError
from ganjax.devices import processes

_HERE = Path(__file__).parent.parent
_compiling = []  # (start, end) of stretches of tracing and compilation, in seconds, apart from each other


@jax.monitoring.register_event_time_span_listener
def _note(event, start, end, **unused):
  """What is traced or compiled while something else is lies within its stretch, and is not counted twice."""
  if event.startswith('/jax/core/compile/'):
    _compiling[:] = [s for s in _compiling if s[0] < start] + [(start, end)]


def costs() -> dict:
  """{'compile_seconds', 'peak_memory_bytes' or 'peak_host_memory_bytes'} of this process so far.

  Tracing, lowering and compiling, or reading from the compilation cache. See `processes.peak_memory`.
  """
  return {'compile_seconds': sum(e - s for s, e in _compiling), **processes.peak_memory()}


class Profile:
  """Traces steps into workdir/profile for XProf, in process 0. A resume within them traces the rest.

  Args:
    steps: a range, or None: no traces.
    workdir: the run's folder.
  """

  def __init__(self, steps: range | None, workdir: str | Path) -> None:
    self._steps = steps or () if processes.is_main() else ()
    self._folder, self._on = Path(workdir) / 'profile', False

  def start(self, step: int, state: Any) -> None:
    """To be called with the state before each dispatch."""
    if step in self._steps and not self._on:
      jax.block_until_ready(state)
      jax.profiler.start_trace(self._folder)
      self._on = True

  def stop(self, step: int, state: Any) -> None:
    """To be called with the state after each dispatch, before anything else is done with it."""
    if self._on and step not in self._steps:
      jax.block_until_ready(state)
      self.close()

  def close(self) -> None:
    """Ends the trace, if one is on, with what has been traced so far."""
    if self._on:
      jax.profiler.stop_trace()
      self._on = False
      processes.say(
        f'traced into {self._folder}: pip install xprof && xprof --logdir {self._folder}'
      )


def find_nans(update: jax.stages.Wrapped) -> Callable[..., Any]:
  """The jitted `update` of `make_update`, which at a NaN runs again operation by operation to find the first.

  Each call waits for its end and donates nothing, so that there is a state to run again: memory for a second one.

  Raises:
    UserError: naming the step, the operation and the lines of ours that it comes from.
  """

  def checked(state, *args, **static):
    with jax.debug_nans(True), contextlib.redirect_stdout(io.StringIO()):  # JAX says what it does
      try:
        return update(state, *args, **static)
      except FloatingPointError:
        where = 'in the compiled step alone, not operation by operation'
      try:
        # Once more by us: JAX's own second run forgets where gradients come from, and keeps loops whole.
        with jax.disable_jit():
          update.__wrapped__(state, *args, **static)
      except FloatingPointError as error:
        where = _where(error)
    raise UserError(f'NaN at step {int(state.step.max()) + 1}, {where}')

  return checked


def _where(error) -> str:
  """'first from <operation> at <innermost line>, called at ...': the last line of each of our files on the way."""
  # Operations of a gradient have no traceback but that of the operation which it is of.
  backward = isinstance(error.__cause__, Exception)
  frames = traceback.extract_tb((error.__cause__ if backward else error).__traceback__)
  places = {Path(f.filename): f.lineno for f in frames}
  ours = {p.relative_to(_HERE.parent): n for p, n in places.items() if p.is_relative_to(_HERE)}
  skipped = ('diagnose.py', 'loop.py', 'seeds.py', 'method.py')
  lines = [f'{p}:{n}' for p, n in reversed(ours.items()) if p.name not in skipped]
  inner, *outer = lines or ['no line of ours']
  operation = str(error).split(' encountered in ')[-1]
  what = f'{operation} in the gradient of' if backward else f'{operation} at'
  return f'first from {what} {inner}' + (f', called at {", ".join(outer)}' if outer else '')
