"""The processor that this runs on."""

import os


def cores() -> int:
  """The number of cores that this process may use, which on a shared machine may be fewer than there are."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
