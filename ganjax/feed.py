"""Brings batches to the devices ahead of the step that needs them."""

import queue
import threading

import jax
import numpy as np

from ganjax import parallel
from ganjax.data import indices


class Feed:
  """Reads and places the batches of steps start, start + 1, ... in a background thread.

  Which examples a step gets is a function of (seed, step) alone: not of the number of processes, nor of restarts. With
  several seeds a batch is [seeds, B, ...], the batches of the feeds of each.
  """

  def __init__(self, source, span, n_critic: int, seed, mesh, start: int, depth: int = 2):
    """A feed of one stage.

    Args:
      source: of `ganjax.data`.
      span: the stage's place in training; batches come for its steps from `start` on.
      n_critic: batches a step.
      seed: of the examples' order, or several.
      mesh: devices to place batches on.
      start: first step.
      depth: steps held ready.
    """
    self._ready = queue.Queue(depth)
    self._closed = threading.Event()
    self._thread = threading.Thread(
      target=self._work, args=(source, span, n_critic, seed, mesh, start), daemon=True
    )
    self._thread.start()

  def _work(self, source, span, n_critic, seed, mesh, start):
    rows = parallel.local_rows(span.batch_size, mesh)

    def read(seed, first):
      return source.read(indices(seed, first, span.batch_size, source.num_examples)[rows])

    def batch(step, repeat):
      first = n_critic * span.nimg(step) + repeat * span.batch_size
      if isinstance(seed, int):
        return parallel.place_batch(read(seed, first), mesh)
      stacked = jax.tree.map(lambda *x: np.stack(x), *(read(s, first) for s in seed))
      return parallel.place_batch(stacked, mesh, axis=1)

    try:
      for step in range(start, span.stop):
        self._put(tuple(batch(step, r) for r in range(n_critic)))
        if self._closed.is_set():
          return
    except (
      BaseException
    ) as error:  # whatever it was, the loop must see it rather than wait for ever
      self._put(error)

  def _put(self, item):
    while not self._closed.is_set():
      try:
        self._ready.put(item, timeout=0.1)
      except queue.Full:
        continue
      return

  def next(self) -> tuple:
    """The next step's n_critic batches. Raises what the reading thread raised."""
    item = self._ready.get()
    if isinstance(item, BaseException):
      raise item
    return item

  def close(self):
    self._closed.set()
    self._thread.join()
