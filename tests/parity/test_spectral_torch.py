"""Spectral normalization against torch.nn.utils.spectral_norm: outputs, gradients and u over three training calls."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from ganjax.layers.conv import Conv, ConvTranspose
from ganjax.layers.embed import ClassEmbed
from ganjax.layers.spectral import SpectralNorm

torch = pytest.importorskip('torch')

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
ROWS = RNG.normal(size=(4, 3)).astype(np.float32)
LABELS = np.array([1, 4, 1, 0])
# Ours, torch's, input, torch's weight -> our layout.
CASES = {
  'conv': (
    lambda: Conv(5, 3, padding=1),
    lambda: torch.nn.Conv2d(3, 5, 3, padding=1),
    IMAGES,
    (2, 3, 1, 0),
  ),
  'transposed': (
    lambda: ConvTranspose(5, 4, 2, 1),
    lambda: torch.nn.ConvTranspose2d(3, 5, 4, 2, 1),
    IMAGES,
    (2, 3, 1, 0),
  ),
  'dense': (lambda: nn.Dense(5), lambda: torch.nn.Linear(3, 5), ROWS, (1, 0)),
  'embed': (lambda: ClassEmbed(6, 5), lambda: torch.nn.Embedding(6, 5), LABELS, (0, 1)),
}


@pytest.mark.parametrize('name', CASES)
def test_training_calls(name):
  make, make_torch, x, axes = CASES[name]
  torch.manual_seed(0)
  theirs = torch.nn.utils.spectral_norm(make_torch())
  theirs.train()
  images = x.ndim == 4
  key = 'embedding' if name == 'embed' else 'kernel'
  ours = SpectralNorm(make())
  params = {key: np.transpose(theirs.weight_orig.detach().numpy(), axes)}
  if name != 'embed':
    params['bias'] = theirs.bias.detach().numpy()
  stats = {'u': theirs.weight_u.numpy().copy()}

  def loss(params, stats):
    v = {'params': {'layer': params}, 'spectral_norm': stats}
    y, new = ours.apply(v, x, mutable=['spectral_norm'])
    return (y**3).sum(), (y, new['spectral_norm'])

  for _ in range(3):
    grads, (y, stats) = jax.grad(loss, has_aux=True)(params, stats)
    found = theirs(torch.tensor(x.transpose(0, 3, 1, 2) if images else x))
    theirs.zero_grad()
    (found**3).sum().backward()
    found = found.detach().numpy()
    np.testing.assert_allclose(y, found.transpose(0, 2, 3, 1) if images else found, atol=1e-5)
    np.testing.assert_allclose(stats['u'], theirs.weight_u.numpy(), atol=1e-5)
    wanted = np.transpose(theirs.weight_orig.grad.numpy(), axes)
    np.testing.assert_allclose(grads[key], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0.01
