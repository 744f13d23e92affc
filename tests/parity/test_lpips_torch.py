"""LPIPS against the package `lpips` with its own fitted weights (extra `parity`)."""

import jax
import numpy as np
import pytest

from ganjax.metrics import lpips
from ganjax.weights import files as weights

torch = pytest.importorskip('torch')
reference = pytest.importorskip('lpips')


@pytest.mark.parametrize('net, size', [('alex', 64), ('alex', 97), ('vgg16', 48)])
def test_equals_the_package(net, size):
  """A random trunk and the fitted weights as `weights.load` finds them in the package; sizes that do not divide too."""
  torch.manual_seed(0)
  name = net.removesuffix('16')
  model = reference.LPIPS(net=name, pnet_rand=True, verbose=False)
  state = model.net.state_dict().items()  # 'slice1.0.weight': the number is that of `features`
  trunk = {f'features.{k.partition(".")[2]}': v.numpy() for k, v in state}
  lin = weights.load(lpips.NETS[net].lin)
  assert lin.info['verified']
  variables = lpips.convert(trunk, lin.tensors, net)
  a, b = np.random.default_rng(0).uniform(-1, 1, (2, 3, size, size, 3)).astype(np.float32)
  with torch.no_grad():
    torched = [torch.from_numpy(x).permute(0, 3, 1, 2).double() for x in (a, b)]
    want = model.double()(*torched).flatten().numpy()
  found = jax.jit(lpips.distance, static_argnames='net')(variables, a, b, net=net)
  np.testing.assert_allclose(found, want, rtol=2e-5)
