"""Pictures and strips of rows side by side: XLA's own convolution, and where they are taken."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers import beside
from ganjax.layers import conv_forms as forms
from ganjax.layers.conv import Geometry


def draw(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


@pytest.mark.parametrize('pictures, strips', [(2, 1), (1, 2), (4, 3)])
@pytest.mark.parametrize('pads', [((1, 1), (1, 1)), ((0, 0), (0, 0)), ((2, 1), (0, 3))], ids=str)
@pytest.mark.parametrize(
  'kernel, stride', [((3, 3), (1, 1)), ((4, 4), (2, 2)), ((3, 2), (1, 3)), ((1, 1), (2, 2))]
)
def test_side_by_side_is_the_convolution_of_each(kernel, stride, pads, pictures, strips):
  with jax.enable_x64(True):
    x, w = draw((4, 11, 10, 3), (*kernel, 3, 2))
    wanted = jax.lax.conv_general_dilated(x, w, stride, pads, dimension_numbers=beside.ORDERS)
    found = beside.side_by_side(x, w, stride, pads, pictures, strips)
  np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('shape, kernel, stride, cores, devices, wanted', [
  ((1, 128, 128, 64), (3, 3, 64, 32), 1, 2, 1, (1, 2)),
  ((64, 16, 16, 32), (4, 4, 32, 64), 2, 2, 1, (16, 1)),
  ((64, 16, 16, 32), (4, 4, 32, 64), 2, 2, 8, (8, 2)),  # eight of a device's pictures
  ((8, 64, 64, 16), (4, 4, 16, 32), 2, 2, 1, (8, 2)),
  ((1, 128, 128, 64), (3, 3, 64, 64), 1, 2, 1, (1, 1)),  # rows are long enough
  ((1, 128, 128, 64), (3, 3, 64, 64), 1, 8, 1, (1, 4)),  # not for eight cores
  ((1, 64, 64, 64), (3, 3, 64, 128), 1, 2, 1, (1, 1)),  # features enough
  ((1, 32, 32, 192), (3, 3, 192, 64), 1, 2, 1, (1, 4)),  # work enough, pixels not
  ((16, 16, 16, 32), (3, 3, 32, 128), 1, 2, 1, (1, 1)),
  ((16, 16, 16, 32), (3, 3, 32, 128), 1, 4, 1, (16, 1)),  # not for four cores
  ((1, 16, 16, 64), (3, 3, 64, 128), 1, 2, 1, (1, 4)),  # of few pictures, features enough, work not
  ((64, 32, 32, 3), (3, 3, 3, 64), 1, 2, 1, (1, 1)),  # few products for each number
  ((64, 16, 16, 32), (2, 2, 32, 256), 1, 2, 1, (1, 1)),  # and for each product of the result
  ((4, 64, 64, 16), (3, 3, 16, 16), 1, 2, 1, (1, 1)),
  ((1, 4, 4, 64), (3, 3, 64, 64), 1, 2, 1, (1, 1)),  # too small for strips
  ((64, 16, 16, 32), (4, 4, 32, 64), 2, 1, 1, (1, 1)),
])  # fmt: skip
def test_how_many_lie_side_by_side(shape, kernel, stride, cores, devices, wanted):
  pads = (((kernel[0] - 1) // 2,) * 2,) * 2
  count = functools.partial(beside.count, kernel=kernel, stride=(stride,) * 2, pads=pads)
  assert count(shape, jnp.float32, cores=cores, devices=devices) == wanted
  assert count(shape, jnp.float64, cores=cores, devices=devices) == (1, 1)


@pytest.mark.parametrize('shape, kernel, stride', [
  ((16, 32, 32, 16), (4, 4, 16, 32), 2),
  ((1, 64, 64, 64), (3, 3, 64, 32), 1),
])  # fmt: skip
def test_cpu_lays_pictures_side_by_side(monkeypatch, shape, kernel, stride):
  """In the strided map, and in the transposed one of stride 1; numbers are those of XLA's own."""
  monkeypatch.setattr(beside.cpu, 'cores', lambda: 2)
  monkeypatch.setattr(beside.backend, 'devices', lambda: 1)
  g = Geometry(shape[1:3], kernel[:2], (stride,) * 2, (1, 1))
  x, w, y = (
    0.1 * a.astype(jnp.float32) for a in draw(shape, kernel, (shape[0], *g.out, kernel[-1]))
  )
  seen, real = [], beside.side_by_side
  monkeypatch.setattr(beside, 'side_by_side', lambda *args: seen.append(args[-2:]) or real(*args))
  for name, args in ('strided', (x, w)), ('transposed', (y, w)):
    found = jax.jit(functools.partial(getattr(forms, f'{name}_cpu'), g))(*args)
    wanted = getattr(forms, f'{name}_lax')(g, *args)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
  assert len(seen) == (2 if stride == 1 else 1)


@pytest.mark.parametrize('channels, features, stride, padding, chosen', [
  (192, 64, 1, 1, True),
  (128, 64, 1, 1, True),
  (128, 96, 1, 1, False),
  (96, 32, 1, 1, False),
  (192, 4, 1, 1, False),
  (192, 64, 2, 1, False),
  (192, 64, 1, 0, False),
])  # fmt: skip
def test_the_wider_factor_is_the_kernel_of_the_weights(channels, features, stride, padding, chosen):
  g = Geometry((8, 8), (3, 3), (stride,) * 2, (padding,) * 2)
  assert beside.by_channels(g, channels, features) == chosen
  x, y = (a.astype(jnp.float32) for a in draw((2, 8, 8, channels), (2, *g.out, features)))
  text = str(jax.make_jaxpr(functools.partial(forms.weights_cpu, g))(x, y))
  assert ('rev[' in text) == chosen  # it comes out mirrored
