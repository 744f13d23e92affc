import hashlib
import re
import subprocess
import sys

import command
import numpy as np
import pytest

from ganjax import data
from ganjax.data import source


def test_every_epoch_visits_each_example_once():
  order = data.indices(3, 0, 5 * 101, 101).reshape(5, 101)
  assert order.dtype == np.int64
  assert (np.sort(order, axis=1) == np.arange(101)).all()
  assert len({epoch.tobytes() for epoch in order}) == 5


@pytest.mark.parametrize('start, count', [(0, 7), (95, 12), (101, 1), (50, 300), (404, 0)])
def test_a_range_is_a_slice_of_the_whole_order(start, count):
  whole = data.indices(3, 0, 505, 101)
  np.testing.assert_array_equal(data.indices(3, start, count, 101), whole[start : start + count])


def test_seeds_differ_and_streams_are_uniform():
  assert (data.indices(0, 0, 1000, 1000) != data.indices(1, 0, 1000, 1000)).mean() > 0.99
  # The example at the first position over 4,000 epochs of 4 examples: 1,000 each, within 5 sigma.
  first = [int(data.indices(0, 4 * epoch, 1, 4)[0]) for epoch in range(4000)]
  assert np.abs(np.bincount(first, minlength=4) - 1000).max() < 137


def test_the_order_is_pinned_and_equal_in_another_process():
  text = 'from ganjax import data; print(data.indices(7, 990, 20, 1000).tolist())'
  out = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True, check=True)
  here = data.indices(7, 990, 20, 1000)
  assert out.stdout.strip() == str(here.tolist())
  # A change of this value breaks the resume of every run made before it.
  assert hashlib.sha256(here.astype('<i8').tobytes()).hexdigest()[:16] == 'b36847c1b55f7dfe'


def test_callers_cannot_change_the_order():
  before = data.indices(0, 0, 10, 10).copy()
  part = data.indices(0, 0, 10, 10)
  part[:] = 0
  np.testing.assert_array_equal(data.indices(0, 0, 10, 10), before)


def test_any_number_of_seeds_sorts_an_epoch_once(monkeypatch):
  """Batches of 8 of 20 examples in 40 seeds, side by side: some hold the end of an epoch and the start of the next."""
  sorts, permutation = [], source._permutation
  count = lambda *what: sorts.append(what) or permutation(*what)
  monkeypatch.setattr(source, '_permutation', count)
  monkeypatch.setattr(source, '_newest', {})
  for start in range(0, 60, 8):
    for seed in range(40):
      data.indices(seed, start, 8, 20)
  assert len(sorts) == len(set(sorts)) == 40 * 4  # positions 0 to 63
  assert len(source._newest) == 40  # one order a seed stays in memory


def test_no_two_purposes_share_a_random_stream():
  """Every constant that `data.source` knows as a purpose has a number of its own."""
  text = '\n'.join(path.read_text() for path in (command.ROOT / 'ganjax/data').rglob('*.py'))
  found = re.findall(r'^_[A-Z_, ]+ = ([\d, ]+?) +# .*(?:purpose|random stream)', text, re.M)
  numbers = [int(one) for some in found for one in some.split(',')]
  assert len(numbers) > 10 and len({*numbers}) == len(numbers)
