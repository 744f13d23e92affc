"""Inception against torch-fidelity and pytorch-fid, with seeded weights.

golden_inception.npz: uint8 images x [4, 3, 40, 48], and what torch_fidelity 0.4.0's FeatureExtractorInceptionV3 (tf_*,
in float32) and pytorch_fid 0.3.0's InceptionV3 (pf_2048, in float64) give for them with the weights of
`seeded.tensors`; tf_spatial is channels 0 to 6 of the output of Mixed_6d.branch1x1. What the two do to the images first
is part of it.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import seeded

from ganjax import UserError
from ganjax.evaluation.measure import Extractors
from ganjax.evaluation.presets import PRESETS
from ganjax.features import inception
from ganjax.features.resize import resize

TENSORS, GOLDEN = seeded.read(Path(__file__).parent / 'golden_inception.npz')
IMAGES = GOLDEN['x'].transpose(0, 2, 3, 1)


def test_the_weights_are_those_of_the_golden_file():
  assert len(TENSORS) == 472 and seeded.digest(TENSORS) == '1d1941fab4c3a445'


def test_float32_equals_torch_fidelity():
  x = (resize(IMAGES[:2], 299, 'tf1_bilinear') - 128) / 128
  found = jax.jit(inception.Network().apply)(inception.convert(TENSORS), x)
  golden = {
    'features': 'tf_2048',
    'logits': 'tf_logits',
    'logits_unbiased': 'tf_logits_unbiased',
    'spatial': 'tf_spatial',
    'pool_64': 'tf_64',
    'pool_192': 'tf_192',
    'pool_768': 'tf_768',
  }
  for name, key in golden.items():
    np.testing.assert_allclose(found[name], GOLDEN[key][:2], atol=1e-4, err_msg=name)
    assert found[name].dtype == np.float32 and np.ptp(GOLDEN[key]) > 1


@pytest.mark.slow
def test_the_presets_of_evaluation_see_what_their_codes_see(tmp_path):
  """By name, from a weight file: resize, scale and network together, as `ganjax evaluate` has them."""
  np.savez(tmp_path / 'weights.npz', **TENSORS)
  extractors = Extractors({'inception': tmp_path / 'weights.npz'})
  for preset, key in ('ttur', 'tf_2048'), ('pytorch_fid', 'pf_2048'):
    extractor = extractors.get('inception', PRESETS[preset])
    found = jax.jit(extractor.apply)(extractor.variables, IMAGES[2:])['features']
    np.testing.assert_allclose(found, GOLDEN[key][2:], atol=1e-4, err_msg=preset)
    assert extractor.info['weights_verified'] is False


def test_float64_equals_pytorch_fid():
  x = np.asarray(IMAGES[:1] / 255)
  for axis in 1, 2:  # PyTorch's bilinear resize, in float64
    n = x.shape[axis]
    at = np.clip((np.arange(299) + 0.5) * (n / 299) - 0.5, 0, n - 1)
    low = at.astype(int)
    t = np.expand_dims(at - low, [a for a in range(4) if a != axis])
    x = np.take(x, low, axis) * (1 - t) + np.take(x, np.minimum(low + 1, n - 1), axis) * t
  with jax.enable_x64(True):
    variables = inception.convert({name: a.astype(np.float64) for name, a in TENSORS.items()})
    network = inception.Network(dtype=jnp.float64)
    found = jax.jit(lambda v, x: network.apply(v, x)['features'])(variables, 2 * x - 1)
    assert np.abs(np.asarray(found) - GOLDEN['pf_2048'][:1]).max() < 1e-10


def test_another_networks_tensors_are_refused():
  with pytest.raises(UserError, match='Conv2d_1a_3x3.bn.weight'):
    inception.convert({n: a for n, a in TENSORS.items() if n != 'Conv2d_1a_3x3.bn.weight'})
  with pytest.raises(UserError, match='fc.weight'):
    inception.convert({**TENSORS, 'fc.weight': TENSORS['fc.weight'][:1000]})  # torchvision's
