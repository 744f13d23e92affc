"""The processor that this runs on."""

import os


def cores() -> int:
  """Those that this process may use: of a machine that jobs share, its own alone."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
