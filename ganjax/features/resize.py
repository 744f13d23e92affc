"""The resizing filters of published metrics; FID moves by whole units between them (Parmar et al., arXiv:2104.11222).

tf1_bilinear    TensorFlow 1: no half-pixel centres, no antialiasing. The original FID (TTUR), torch-fidelity, StyleGAN
torch_bilinear  half-pixel centres, no antialiasing. pytorch-fid
pil_bilinear    half-pixel centres, antialiased. PyTorch-StudioGAN's "friendly"
pil_bicubic     the same with Keys' cubic, clipped to 0..255. clean-fid's "clean"
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganjax import UserError

KINDS = 'tf1_bilinear', 'torch_bilinear', 'pil_bilinear', 'pil_bicubic'


def resize(images: jax.Array | np.ndarray, size: int, kind: str) -> jax.Array:
  """Images [B, H, W, C], uint8 or float in 0..255 -> float32 [B, size, size, C] in 0..255. Pure and jittable.

  On CPU `tf1_bilinear` equals torch-fidelity's to the bit; of PyTorch's and Pillow's (mode 'F') the others keep within
  5e-4 and 1e-4 grey levels.

  Raises:
    UserError: a kind that is not in KINDS.
  """
  if kind not in KINDS:
    raise UserError(f'resize {kind!r} is not known; there are {", ".join(KINDS)}')
  x = jnp.asarray(images, jnp.float32)
  if kind in ('tf1_bilinear', 'torch_bilinear'):
    half = 0.5 if kind == 'torch_bilinear' else 0.0
    return _lerp(_lerp(x, size, 2, half), size, 1, half)
  rows, columns = (jnp.asarray(_matrix(n, size, kind), jnp.float32) for n in x.shape[1:3])
  product = lambda *args: jnp.einsum(*args, precision=lax.Precision.HIGHEST)
  x = product('vw,bhwc->bhvc', columns, x)
  x = product('uh,bhvc->buvc', rows, x)
  return jnp.clip(x, 0, 255) if kind == 'pil_bicubic' else x


def _lerp(x, size, axis, half):
  """Linear interpolation at (i + half) * (n / size) - half, in the originals' order of float32 operations."""
  n = x.shape[axis]
  at = (np.arange(size, dtype=np.float32) + np.float32(half)) * np.float32(n / size)
  at = np.maximum(at - np.float32(half), 0)
  low = at.astype(np.int32)
  t = np.expand_dims(at - low.astype(np.float32), [a for a in range(x.ndim) if a != axis])
  a, b = (jnp.take(x, i, axis) for i in (low, np.minimum(low + 1, n - 1)))
  # The clip changes no value: it keeps compilers from one fused multiply-add, which rounds differently.
  return a + jnp.clip((b - a) * t, -255, 255)


def _matrix(n, size, kind):
  """Weights [size, n] of n pixels for each of `size`; the kernel widens with the scale if antialiased."""
  scale = n / size
  centres = (np.arange(size)[:, None] + 0.5) * scale
  pixels = np.arange(n) + 0.5
  d = np.abs(pixels - centres) / max(scale, 1)
  if kind == 'pil_bilinear':
    w = np.maximum(1 - d, 0)
  else:  # Keys (1981), a = -1/2
    near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    w = np.where(d < 1, near, np.where(d < 2, far, 0))
  return w / w.sum(1, keepdims=True)
