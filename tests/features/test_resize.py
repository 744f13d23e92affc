"""Resizing against torch-fidelity, PyTorch and Pillow.

golden_resize.npz: key 'kind height width size', input `pixels(height, width)`; torch_fidelity 0.4.0's
interpolate_bilinear_2d_like_tensorflow1x(x, (size, size), align_corners=False) and torch 2.14's
F.interpolate(x, (size, size), mode='bilinear', align_corners=False); of outputs over 70 pixels every 9th row and
column.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from ganjax import UserError
from ganjax.features.resize import resize

GOLDEN = np.load(Path(__file__).parent / 'golden_resize.npz')


def pixels(height, width):
  return np.random.default_rng(height * width).integers(0, 256, (1, height, width, 3), np.uint8)


def against_golden(kind):
  """The largest difference for each golden case of a kind."""
  for key in GOLDEN.files:
    name, height, width, size = key.split()
    if name == kind:
      y = jax.jit(resize, static_argnums=(1, 2))(pixels(int(height), int(width)), int(size), kind)
      step = 1 if int(size) < 70 else 9
      yield np.abs(np.asarray(y)[:, ::step, ::step] - GOLDEN[key]).max()


def test_tf1_bilinear_equals_torch_fidelity_to_the_bit():
  assert list(against_golden('tf1_bilinear')) == [0.0] * 7


def test_torch_bilinear_equals_pytorch():
  found = list(against_golden('torch_bilinear'))
  assert len(found) == 7
  assert max(found) < 5e-4


@pytest.mark.parametrize('kind, filter', [('pil_bilinear', 'BILINEAR'), ('pil_bicubic', 'BICUBIC')])
def test_pil_kinds_equal_pillow_on_float_channels(kind, filter):
  filter = Image.Resampling[filter]
  for height, width, size in (32, 32, 299), (33, 48, 299), (256, 256, 224), (1024, 700, 299):
    x = pixels(height, width)
    want = [
      np.asarray(Image.fromarray(c).resize((size, size), filter))
      for c in x[0].astype(np.float32).transpose(2, 0, 1)
    ]
    want = np.clip(np.stack(want, -1), 0, 255)
    y = np.asarray(resize(x, size, kind))
    assert y.dtype == np.float32 and y.min() >= 0 and y.max() <= 255
    np.testing.assert_allclose(y[0], want, atol=2e-4)


def test_floats_are_taken_as_they_are_and_an_equal_size_changes_nothing():
  x = pixels(32, 32)
  for kind in 'tf1_bilinear', 'torch_bilinear', 'pil_bilinear', 'pil_bicubic':
    np.testing.assert_allclose(resize(x.astype(np.float32) / 2, 32, kind), x / 2, atol=1e-4)


def test_an_unknown_kind_names_the_right_ones():
  with pytest.raises(UserError, match='lanczos.*tf1_bilinear'):
    resize(pixels(8, 8), 16, 'lanczos')
