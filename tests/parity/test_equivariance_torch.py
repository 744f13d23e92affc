"""metrics/equivariance.py against torch's grids, sampling and convolutions: oriented filters, turns, shifts, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.metrics import equivariance

torch = pytest.importorskip('torch')

F = torch.nn.functional
RNG = np.random.default_rng(0)


def turned(image, filters, angle, fine=4):
  """[H, H, C] turned by torch's grid_sample, and its mask; by the published arithmetic of places."""
  x = torch.tensor(np.asarray(image, np.float32)).permute(2, 0, 1)[None]
  (_, c, side, _), f = x.shape, torch.tensor(np.asarray(filters))
  p = len(f) // 2
  z = x.new_zeros(1, c, side * fine, side * fine)
  z[..., ::fine, ::fine] = x * fine**2
  before, after = p + (len(f) + fine - 1) // 2, p + (len(f) - fine) // 2
  kernel = f.flip(0, 1).expand(c, 1, -1, -1)
  y = F.conv2d(F.pad(z, (before, after, before, after)), kernel, groups=c)
  cos, sin = np.cos(angle), np.sin(angle)
  theta = torch.tensor([[cos, -sin, 1 / fine / side], [sin, cos, 1 / fine / side]])
  theta = theta.float()[None] * (side / (side + p / fine * 2))
  grid = F.affine_grid(theta, x.shape, align_corners=False)
  how = dict(padding_mode='zeros', align_corners=False)
  mask, edge = torch.zeros_like(y), 2 * p + 1
  mask[..., edge:-edge, edge:-edge] = 1
  out = F.grid_sample(y, grid, mode='bilinear', **how)
  return out[0].permute(1, 2, 0), F.grid_sample(mask, grid, mode='nearest', **how)[0, 0]


def test_turns_and_their_masks():
  image, angle = RNG.normal(size=(24, 24, 2)).astype(np.float32), 0.7
  run = jax.jit(lambda x: (*equivariance._turn(x, angle), equivariance.oriented_filter(angle, 4)))
  ours, known, filters = run(image)
  wanted, mask = turned(image, filters / 16, angle)
  np.testing.assert_array_equal(known, mask.numpy() > 0)
  assert 100 < known.sum() < 500
  np.testing.assert_allclose(ours, wanted.numpy(), atol=2e-4)


@pytest.mark.parametrize('fine', [1, 4])
def test_the_oriented_filter(fine):
  angle = -0.4
  line = (torch.arange(128 * fine - 1, dtype=torch.float64) + 1) / fine - 64
  line = line.roll(1 - 64 * fine)
  y, x = torch.meshgrid(line, line, indexing='ij')
  turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
  u, v = (torch.stack([x, y], 2) @ turn.T).unbind(2)
  window = lambda d: torch.where(d.abs() < 3, torch.sinc(d / 3), torch.zeros_like(d))
  both = lambda f: torch.fft.ifft2(torch.fft.fft2(f(x) * f(y)) * torch.fft.fft2(f(u) * f(v))).real
  found = both(torch.sinc) * both(window)
  cut = 58 * fine
  found = found.roll([64 * fine - 1] * 2, [0, 1])[cut:-cut, cut:-cut]
  found = F.pad(found, (0, 1, 0, 1)).reshape(12, fine, 12, fine)
  found = (found / found.sum((0, 2), keepdim=True)).reshape(12 * fine, -1)[:-1, :-1]
  ours = jax.jit(lambda: equivariance.oriented_filter(angle, fine))()
  np.testing.assert_allclose(ours, found.numpy(), atol=1e-5)


def test_shifts_by_parts_of_a_pixel():
  image, (tx, ty) = RNG.normal(size=(20, 20, 1)).astype(np.float32), (2.3, -1.6)
  ours, known = equivariance._interpolate(jnp.asarray(image), jnp.float32(tx), jnp.float32(ty))
  wanted, sinc = torch.zeros(20, 20), torch.sinc
  x = torch.tensor(image[..., 0])
  taps = torch.arange(6) - 2
  lines = [sinc(taps - n % 1) * sinc((taps - n % 1) / 3) for n in (tx, ty)]
  across, down = (line / line.sum() for line in lines)
  for i in range(20):
    for j in range(20):
      for a, wa in zip(taps, down):
        for b, wb in zip(taps, across):
          p, q = i - int(np.floor(ty)) - int(a), j - int(np.floor(tx)) - int(b)
          if 0 <= p < 20 and 0 <= q < 20:
            wanted[i, j] += wa * wb * x[p, q]
  np.testing.assert_allclose(ours[..., 0], wanted, atol=1e-5)
  # From max(floor + 3, 0) to side + min(floor - 2, 0), as published.
  mask = np.zeros((20, 20), bool)
  mask[1:16, 5:20] = True
  np.testing.assert_array_equal(known, mask)
