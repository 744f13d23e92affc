"""Metrics against torch-fidelity itself, in float64. As a script, writes the golden file of the default suite."""

from pathlib import Path

import metric_cases
import numpy as np
import pytest

torch = pytest.importorskip('torch')
metric_fid, metric_isc, metric_kid, metric_prc = (
  pytest.importorskip(f'torch_fidelity.metric_{name}') for name in ('fid', 'isc', 'kid', 'prc')
)

GOLDEN = Path(__file__).parent.parent / 'metrics' / 'golden_metrics.npz'


def references(real, fake, logits):
  """What torch-fidelity computes; its first input is the generated one."""

  def fid(real, fake):
    statistics = (metric_fid.fid_features_to_statistics(x) for x in (fake, real))
    return metric_fid.fid_statistics_to_metric(*statistics, verbose=False).values()

  real, fake, logits = (torch.from_numpy(x) for x in (real, fake, logits))
  kid = dict(kid_subsets=10, kid_subset_size=100, verbose=False)
  found = {
    'fid': fid(real, fake),
    'fid_few': fid(real[:50], fake[:40]),
    'kid': metric_kid.kid_features_to_metric(fake, real, **kid).values(),
    'is': metric_isc.isc_features_to_metric(logits).values(),
    'is_in_order': metric_isc.isc_features_to_metric(logits, splits=3, shuffle=False).values(),
    'pr': metric_prc.prc_features_to_metric(fake, real, prc_batch_size=128, verbose=False).values(),
  }
  found = {name: list(values) for name, values in found.items()}
  found['pr'].pop()  # the F score
  return found


def test_equal_to_torch_fidelity():
  inputs = metric_cases.inputs()
  metric_cases.assert_equal(metric_cases.ours(**inputs), references(**inputs))


def test_the_golden_file_is_what_torch_fidelity_computes():
  with np.load(GOLDEN) as golden:
    metric_cases.assert_equal(golden, references(**metric_cases.inputs()))


if __name__ == '__main__':
  np.savez(GOLDEN, **references(**metric_cases.inputs()))
