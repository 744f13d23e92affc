"""Which cases of a test run by default."""

import pytest


def but(values, *kept) -> list:
  """Cases of `pytest.mark.parametrize`: the `kept` ones of `values` run by default, the others are slow."""
  assert all(one in values for one in kept)
  return [x if x in kept else pytest.param(x, marks=pytest.mark.slow) for x in values]
