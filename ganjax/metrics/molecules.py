"""Counts of generated molecules, as canonical SMILES or None (De Cao and Kipf 2018, arXiv:1805.11973)."""

from collections.abc import Collection, Iterable


def validity(found: Collection[str | None]) -> float:
  """The share that is valid."""
  return sum(one is not None for one in found) / len(found)


def uniqueness(found: Iterable[str | None]) -> float:
  """Different molecules over valid ones; NaN where none is."""
  valid = [one for one in found if one is not None]
  return len({*valid}) / len(valid) if valid else float('nan')


def novelty(found: Iterable[str | None], data: Iterable[str]) -> float:
  """The share of the valid that is not in the data; NaN where none is valid."""
  valid, known = [one for one in found if one is not None], {*data}
  return sum(one not in known for one in valid) / len(valid) if valid else float('nan')
