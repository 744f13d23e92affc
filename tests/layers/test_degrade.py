"""Parts of degradations against closed forms, SciPy, torch's formulas and Pillow's JPEG."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.special
from PIL import Image

from ganjax.layers import degrade, jpeg

RNG = np.random.default_rng(0)


def grid(size):
  at = np.arange(size) - size // 2
  return np.meshgrid(at, at, indexing='ij')


@pytest.mark.parametrize('plateau, beta', [(False, 1.0), (False, 0.6), (True, 1.7)])
def test_kernels_are_functions_of_an_ellipse(plateau, beta):
  """By the covariance matrix of the turned ellipse; a smaller one lies in the middle of zeros."""
  found = degrade.ellipse(21, 13, (2.5, 0.7), 0.4, beta, plateau)
  turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
  inverse = np.linalg.inv(turn @ np.diag([2.5**2, 0.7**2]) @ turn.T)
  y, x = grid(13)
  place = np.stack([x, y], -1)
  q = np.einsum('hwi,ij,hwj->hw', place, inverse, place)
  wanted = 1 / (1 + q**beta) if plateau else np.exp(-(q**beta) / 2)
  np.testing.assert_allclose(found[4:-4, 4:-4], wanted / wanted.sum(), rtol=1e-4, atol=1e-7)
  assert np.asarray(found).sum() == pytest.approx(1) and not np.any(found[:4])


def test_sinc():
  x = np.linspace(-60, 60, 300)
  np.testing.assert_allclose(degrade.j1(jnp.asarray(x)), scipy.special.j1(x), atol=2e-6)
  y, x = grid(15)
  r = np.hypot(x, y)
  r[7, 7] = 1
  wanted = 1.3 * scipy.special.j1(1.3 * r) / (2 * np.pi * r)
  wanted[7, 7] = 1.3**2 / (4 * np.pi)
  found = degrade.sinc(21, 15, 1.3)
  np.testing.assert_allclose(found[3:-3, 3:-3], wanted / wanted.sum(), atol=1e-6)


@pytest.mark.parametrize('sides', [(24, 20), (15, 9)])
def test_convolution_mirrors_at_the_borders_of_the_picture(sides):
  """Whatever lies beside it in the array, and where the kernel is larger than it."""
  x = RNG.uniform(size=(24, 20, 3)).astype(np.float32)
  kernel = np.asarray(degrade.ellipse(21, 21, (3.0, 1.0), 0.5))
  found = jax.jit(degrade.convolve)(x, kernel, sides)
  h, w = sides
  wanted = [scipy.ndimage.convolve(x[:h, :w, i], kernel, mode='mirror') for i in range(3)]
  np.testing.assert_allclose(found[:h, :w], np.stack(wanted, -1), atol=1e-5)


@pytest.mark.parametrize('new', [(7, 25), (16, 12)])
@pytest.mark.parametrize('mode', degrade.MODES)
def test_resize_is_that_of_torch(mode, new):
  """Of a picture of 16x12 pixels in a larger array, to a size that is traced."""
  torch = pytest.importorskip('torch')
  x = RNG.uniform(size=(20, 15, 2)).astype(np.float32)
  number = degrade.MODES.index(mode)
  call = jax.jit(lambda x, new: degrade.resize(x, (16, 12), (24, 28), new, number))
  found = call(x, tuple(map(jnp.int32, new)))
  inner = torch.tensor(x[:16, :12].transpose(2, 0, 1)[None])
  wanted = torch.nn.functional.interpolate(inner, size=new, mode=mode)[0].permute(1, 2, 0)
  np.testing.assert_allclose(found[: new[0], : new[1]], wanted.numpy(), atol=1e-5)
  assert not np.any(found[new[0] :]) and not np.any(found[:, new[1] :])


@pytest.mark.parametrize('quality', [30, 60, 95])
@pytest.mark.parametrize('grey', [True, False])
def test_jpeg_is_nearly_a_file_of_pillow(quality, grey):
  """Of smooth colours and sharp edges; libjpeg rounds more often."""
  y, x = np.mgrid[:64, :48] / 64
  waves = [np.sin(RNG.uniform(2, 12, 2) @ [y.ravel(), x.ravel()]).reshape(64, 48) for _ in range(3)]
  picture = np.stack([0.5 + 0.2 * wave + 0.2 * (x + y > 0.8) for wave in waves], -1)
  picture = np.round(255 * picture).astype(np.uint8)
  picture = picture[..., 2:] if grey else picture
  stream = io.BytesIO()
  of_pillow = Image.fromarray(picture[..., 0] if grey else picture)
  of_pillow.save(stream, 'JPEG', quality=quality)
  wanted = np.asarray(Image.open(stream), float).reshape(picture.shape)
  found = 255 * np.asarray(jpeg.compress(picture.astype(np.float32) / 255, float(quality)))
  # The file's flaws are there, but for its rounding to levels.
  off, flaws = (np.abs(x - wanted).mean() for x in (found, picture.astype(float)))
  assert off < 0.85 * flaws and off < (0.5 if grey else 1.6)
