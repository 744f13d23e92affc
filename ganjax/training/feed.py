"""Brings batches to the devices ahead of the step that needs them."""

import math
import queue
import threading
from collections.abc import Callable, Sequence

import jax
import numpy as np

from ganjax.data import Source
from ganjax.devices import sharding
from ganjax.method import Span


class Feed:
  """Reads and places the batches of steps start, start + 1, ... in a background thread, while the devices work.

  Which examples a step gets is a function of (seed, step) alone: not of the number of processes, nor of restarts. With
  several seeds a batch is [seeds, B, ...], the batches of the feeds of each. Those of several steps are stacked.
  """

  def __init__(
    self,
    source: Source,
    span: Span,
    n_critic: int,
    seed: int | Sequence[int],
    mesh: jax.sharding.Mesh,
    start: int,
    depth: int = 2,
    steps_at: Callable[[int], int] = lambda step: 1,
  ) -> None:
    """A feed of one stage.

    Args:
      source: of `ganjax.data`.
      span: the stage's place in training; batches come for its steps from `start` on.
      n_critic: batches a step.
      seed: of the examples' order, or several.
      mesh: devices to place batches on.
      start: first step.
      depth: dispatches held ready; the thread holds one more.
      steps_at: step -> how many steps the dispatch that begins with it takes.
    """
    self._ready = queue.Queue(depth)
    self._closed = threading.Event()
    self._thread = threading.Thread(
      target=self._work, args=(source, span, n_critic, seed, mesh, start, steps_at), daemon=True
    )
    self._thread.start()

  def _work(self, source, span, n_critic, seed, mesh, start, steps_at):
    several = not isinstance(seed, int)

    def read(step, steps):
      """This process's rows of a dispatch, [steps, n_critic, b, ...], or [steps, n_critic, seeds, b, ...]."""
      shape, first = (steps, n_critic, span.batch_size), n_critic * span.nimg(step)
      orders = []
      for one in seed if several else [seed]:
        order = source.rows(one, first, math.prod(shape))
        orders.append(order.reshape(*shape, *order.shape[1:])[:, :, rows])
      order = np.stack(orders, 2) if several else orders[0]
      axes = order.shape[: 3 + several]
      found = source.read_rows(order.reshape(-1, *order.shape[len(axes) :]))
      return jax.tree.map(lambda x: x.reshape(*axes, *x.shape[1:]), found)

    def batches(step, steps):
      found = read(step, steps)

      def batch(r):
        own = jax.tree.map(lambda x: x[:, r] if steps > 1 else x[0, r], found)
        return sharding.place_batch(own, mesh, axis=several + (steps > 1))

      return tuple(map(batch, range(n_critic)))

    try:
      rows, step = sharding.local_rows(span.batch_size, mesh), start
      while step < span.stop and not self._closed.is_set():
        steps = steps_at(step)
        self._put(batches(step, steps))
        step += steps
    except BaseException as error:  # the loop must see it rather than wait for ever
      self._put(error)

  def _put(self, item):
    while not self._closed.is_set():
      try:
        self._ready.put(item, timeout=0.1)
      except queue.Full:
        continue
      return

  def next(self) -> tuple:
    """The next dispatch's n_critic batches. Raises what the reading thread raised."""
    item = self._ready.get()
    if isinstance(item, BaseException):
      raise item
    return item

  def close(self) -> None:
    self._closed.set()
    self._thread.join()
