"""FID, KID, Inception score, precision and recall against golden_metrics.npz: torch-fidelity 0.4.0's values.

Made by `PYTHONPATH=tests python tests/parity/test_metrics.py` with the extra `parity`; only results are stored, the
inputs are drawn from a seed.
"""

from pathlib import Path

import metric_cases
import numpy as np


def test_equal_to_the_golden_file():
  with np.load(Path(__file__).with_name('golden_metrics.npz')) as golden:
    metric_cases.assert_equal(metric_cases.ours(**metric_cases.inputs()), golden)
