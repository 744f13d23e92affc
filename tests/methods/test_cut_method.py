"""CUT: what it refuses, and what its samples start from. Its updates: tests/parity."""

import numpy as np
import pytest
from translation_run import Run

from ganjax import UserError
from ganjax.methods import cut


def test_samples_start_from_sources():
  method = Run('cut').method
  assert (method.makes, method.examples) == ('target', ('source',))
  x = np.zeros((2, 4, 4, 3))
  assert method.rows(np.arange(2), {'source': x})['source'] is x


@pytest.mark.parametrize('arguments, message', [
  (dict(loss='hinge'), "loss='hinge' is not known"),
  (dict(nce_weight=-1.0), 'nce_weight=-1.0 must be'),
  (dict(patches=1), 'patches=1 must be at least 2'),
  (dict(temperature=0.0), 'temperature=0.0 above 0'),
])  # fmt: skip
def test_what_is_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    cut.build(dict.fromkeys('GDF'), **arguments)
