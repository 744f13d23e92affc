"""LPIPS v0.1, a perceptual distance of images (Zhang et al. 2018, arXiv:1801.03924, section 3, equation 1).

The features of an ImageNet classifier after each block, of unit length at every pixel; their squared difference,
weighted by channel with weights fitted to human judgements, averaged over pixels and summed over blocks.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganjax import UserError
from ganjax.weights import files as weights

# The mean and standard deviation of ImageNet, for pixels in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class Layer(NamedTuple):
  """A convolution and its ReLU."""

  index: int  # in torchvision's `features`
  features: int
  kernel: int = 3
  stride: int = 1
  pool: int = 0  # window of the max pooling before it, of stride 2; 0: none
  tap: bool = True  # whether its output is compared


class Net(NamedTuple):
  layers: tuple[Layer, ...]
  trunk: weights.File
  lin: weights.File


def _net(layers: tuple, trunk: str, lin: str, sha256: str) -> Net:
  published = weights.File(
    name=trunk,
    sha256=trunk.removesuffix('.pth').rpartition('-')[2],
    url=f'https://download.pytorch.org/models/{trunk}',
  )
  fitted = weights.File(
    name=f'lpips-{lin}',  # a bare alex.pth could be anything
    sha256=sha256,
    package=f'lpips/weights/v0.1/{lin}',
    pip='--no-deps lpips',
  )
  return Net(layers, published, fitted)


NETS = {
  'alex': _net(
    (
      Layer(0, 64, 11, 4),
      Layer(3, 192, 5, pool=3),
      Layer(6, 384, pool=3),
      Layer(8, 256),
      Layer(10, 256),
    ),
    'alexnet-owt-7be5be79.pth',
    'alex.pth',
    'df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0',
  ),
  'vgg16': _net(
    (
      Layer(0, 64, tap=False),
      Layer(2, 64),
      Layer(5, 128, pool=2, tap=False),
      Layer(7, 128),
      Layer(10, 256, pool=2, tap=False),
      Layer(12, 256, tap=False),
      Layer(14, 256),
      Layer(17, 512, pool=2, tap=False),
      Layer(19, 512, tap=False),
      Layer(21, 512),
      Layer(24, 512, pool=2, tap=False),
      Layer(26, 512, tap=False),
      Layer(28, 512),
    ),
    'vgg16-397923af.pth',
    'vgg.pth',
    'a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868',
  ),
}


def load(
  net: str = 'alex', trunk: str | Path | None = None, lin: str | Path | None = None
) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]]:
  """The weights of a net.

  Args:
    net: 'alex' (for distances) or 'vgg16' (for path lengths).
    trunk: torchvision's classifier, .pth or .npz; None looks in the usual places (see `weights.load`).
    lin: the fitted weights, .pth or .npz; None looks in the installed package `lpips` too.

  Returns:
    (variables for `distance`, what they are, for records).

  Raises:
    UserError: an unknown net; no weights, or those of another network.
  """
  if net not in NETS:
    raise UserError(f'LPIPS net {net!r} is not known; there are {", ".join(NETS)}')
  body, head = weights.load(NETS[net].trunk, trunk), weights.load(NETS[net].lin, lin)
  info = {
    'network': f'lpips_{net}',
    'version': '0.1',
    **{f'trunk_{key}': value for key, value in body.info.items()},
    **{f'lin_{key}': value for key, value in head.info.items()},
  }
  return convert(body.tensors, head.tensors, net), info


def convert(trunk: dict, lin: dict, net: str) -> dict[str, list[np.ndarray]]:
  """Tensors of the two files -> {'kernels': [kh, kw, C, F], 'biases': [F], 'lin': [F]}, lists of them."""
  variables, channels = {'kernels': [], 'biases': [], 'lin': []}, 3
  for layer in NETS[net].layers:
    name, shape = f'features.{layer.index}', (layer.features, channels, layer.kernel, layer.kernel)
    variables['kernels'].append(weights.take(trunk, f'{name}.weight', shape).transpose(2, 3, 1, 0))
    variables['biases'].append(weights.take(trunk, f'{name}.bias', shape[:1]))
    channels = layer.features
  taps = [layer.features for layer in NETS[net].layers if layer.tap]
  for number, channels in enumerate(taps):
    w = weights.take(lin, f'lin{number}.model.1.weight', (1, channels, 1, 1))
    variables['lin'].append(w.reshape(channels))
  return variables


def shapes(net: str) -> dict[str, list[jax.ShapeDtypeStruct]]:
  """Shapes of what `convert` makes, without a file."""
  shape = lambda *sides: jax.ShapeDtypeStruct(sides, jnp.float32)
  layers, channels = NETS[net].layers, [3, *(layer.features for layer in NETS[net].layers)]
  kernels = [shape(a.kernel, a.kernel, c, a.features) for a, c in zip(layers, channels)]
  taps = [shape(layer.features) for layer in layers if layer.tap]
  return {'kernels': kernels, 'biases': [shape(n) for n in channels[1:]], 'lin': taps}


def distance(variables: dict, a: jax.Array, b: jax.Array, net: str = 'alex') -> jax.Array:
  """LPIPS of pairs of images, [B]; 0 for equal ones.

  Args:
    variables: from `load`.
    a, b: float [B, H, W, 3] in [-1, 1].
    net: that of the variables.

  Raises:
    UserError: images of other shapes, or smaller than the net takes (31 pixels for alex, 16 for vgg16).
  """
  if a.ndim != 4 or a.shape != b.shape or a.shape[3] != 3:
    raise UserError(f'LPIPS compares images [B, H, W, 3] of one shape, not {a.shape} and {b.shape}')
  pairs = zip(_taps(variables, a, net), _taps(variables, b, net), variables['lin'])
  weigh = lambda x, w: jnp.dot(x, jnp.asarray(w), precision=lax.Precision.HIGHEST)
  return sum(jnp.mean(weigh(jnp.square(x - y), w), (1, 2)) for x, y, w in pairs)


def _taps(variables, images, net):
  """The features that are compared, of unit length along channels: list of [B, h, w, C]."""
  x, taps = (images - jnp.array(SHIFT)) / jnp.array(SCALE), []
  for layer, kernel, bias in zip(NETS[net].layers, variables['kernels'], variables['biases']):
    if layer.pool:
      window = (1, layer.pool, layer.pool, 1)
      x = lax.reduce_window(x, -jnp.inf, lax.max, window, (1, 2, 2, 1), 'VALID')
    pad = 2 if layer.kernel > 3 else 1
    x = lax.conv_general_dilated(
      x,
      jnp.asarray(kernel),
      (layer.stride, layer.stride),
      [(pad, pad)] * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision=lax.Precision.HIGHEST,
    )
    if not x.size:
      raise UserError(f'images of {images.shape[1:3]} are too small for LPIPS with {net}')
    x = jax.nn.relu(x + bias)
    if layer.tap:
      taps.append(x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10))
  return taps
