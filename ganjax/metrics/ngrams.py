"""Runs of n characters in generated lines and in the data's (arXiv:1704.00028, its section on discrete data)."""

import collections
from collections.abc import Iterable

import numpy as np


def shares(lines: Iterable[str], n: int) -> dict[str, float]:
  """{run of n characters: its share of all of them}."""
  counts = collections.Counter(one[i : i + n] for one in lines for i in range(len(one) - n + 1))
  total = max(counts.total(), 1)
  return {run: count / total for run, count in counts.items()}


def divergence(a: Iterable[str], b: Iterable[str], n: int) -> float:
  """The Jensen-Shannon divergence of the runs of two lists of lines, in nats: 0 of the same, log 2 of strangers."""
  p, q = shares(a, n), shares(b, n)
  runs = [*p.keys() | q.keys()]
  p, q = (np.array([x.get(run, 0) for run in runs]) for x in (p, q))
  middle = (p + q) / 2
  entropy = lambda x: np.sum(x[x > 0] * np.log(x[x > 0] / middle[x > 0]))
  return float((entropy(p) + entropy(q)) / 2)


def copied(lines: Iterable[str], data: Iterable[str]) -> float:
  """The share of lines that stand in the data as they are."""
  known = {*data}
  return float(np.mean([line in known for line in lines]))
