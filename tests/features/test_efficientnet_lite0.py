"""EfficientNet-Lite0 against PyTorch's, with seeded weights.

golden_efficientnet_lite0.npz: every 4th number that EfficientNet.from_name('efficientnet-lite0') of
efficientnet_lite_pytorch 0.1.0 gives in float64 with the weights of `seeded.tensors`, for the images
`seeded.scaled(224)`; `features` are the means over the pixels of what comes before the pooling.
"""

from pathlib import Path

import jax
import numpy as np
import seeded

from ganjax.features import efficientnet_lite0 as network

TENSORS, GOLDEN = seeded.read(Path(__file__).parent / 'golden_efficientnet_lite0.npz')


def test_features_and_logits_equal_the_original():
  assert seeded.digest(TENSORS) == '4d4b663c7bf505db'
  found = jax.jit(network.Network().apply)(network.convert(TENSORS), seeded.scaled(224))
  assert found['features'].shape == (2, 1280) and found['logits'].shape == (2, 1000)
  for name in 'features', 'logits':
    np.testing.assert_allclose(found[name][:, ::4], GOLDEN[name], atol=1e-4, err_msg=name)
