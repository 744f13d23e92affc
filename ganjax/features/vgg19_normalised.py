"""VGG19 with weights scaled so that each channel's mean activation is 1 (Gatys et al. 2015, arXiv:1508.06576, 2).

AdaIN (arXiv:1703.06868) has it as its encoder, with mirrored borders. The file is the user's: `vgg_normalised.pth`, as
PyTorch codes of AdaIN have it, a sequence of modules that begins with a 1x1 convolution of the colours. Its authors
publish no sha256, so that records say it is not verified.
"""

import functools

import numpy as np

from ganjax.features import layers, vgg19
from ganjax.features.vgg19 import SIZE, STRIDES, TAPS  # noqa: F401
from ganjax.weights import files as weights

FILE = weights.File(name='vgg_normalised.pth', sha256='')
RESIZE = 'pil_bilinear'
SCALE = (0.0, 1 / 255)
LAYERS = (2, 5, 9, 12, 16, 19, 22, 25, 29)

Network = functools.partial(vgg19.Network, outside='reflect')


def convert(tensors: dict[str, np.ndarray]) -> dict:
  """The variables from the tensors of `FILE`; the first two convolutions, with nothing between them, become one."""
  mix, shift = (
    weights.take(tensors, '0.weight', (3, 3, 1, 1)),
    weights.take(tensors, '0.bias', (3,)),
  )
  first, bias = (
    weights.take(tensors, f'2.{n}', s) for n, s in (('weight', (64, 3, 3, 3)), ('bias', (64,)))
  )
  wide = first.astype(np.float64)
  # A mirrored border of the mixed colours is the mixture of the mirrored border.
  joined = {
    '2.weight': np.einsum('fmhw,mc->fchw', wide, mix[:, :, 0, 0]).astype(first.dtype),
    '2.bias': (bias + np.einsum('fmhw,m->f', wide, shift)).astype(bias.dtype),
  }
  return layers.convert(Network(), SIZE, {**tensors, **joined}, vgg19.names(LAYERS), eps=0)
