"""VGG19 (Simonyan and Zisserman, arXiv:1409.1556), trained on ImageNet, up to relu4_1; weights of torchvision.

Style transfer and perceptual losses take its maps. The rest of the network is left out.
"""

from collections.abc import Callable, Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.features import layers
from ganjax.features.mobilenet_v2 import SCALE  # noqa: F401
from ganjax.layers.resample import max_pool
from ganjax.weights import files as weights

FILE = weights.File(
  name='vgg19-dcbb9e9d.pth',
  sha256='dcbb9e9d',
  url='https://download.pytorch.org/models/vgg19-dcbb9e9d.pth',
)
SIZE = 224
RESIZE = 'pil_bilinear'

# Column E of table 1: convolutions and channels between two poolings.
BLOCKS = ((2, 64), (2, 128), (4, 256), (1, 512))
LAYERS = (0, 2, 5, 7, 10, 12, 14, 16, 19)  # of torchvision's `features`
TAPS = {'relu1_1': 64, 'relu2_1': 128, 'relu3_1': 256, 'relu4_1': 512}  # and their channels
STRIDES = (1, 2, 4, 8)  # of the maps


class Network(nn.Module):
  """Scaled images [B, 224, 224, 3] -> 'features' [B, 512], the means of relu4_1.

  With `taps` these maps, a list, in their place, of images whose sides are multiples of 8.
  """

  dtype: jax.typing.DTypeLike = jnp.float32
  taps: tuple[str, ...] = ()
  outside: str = 'constant'  # what surrounds a map, see jnp.pad

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array] | list[jax.Array]:
    """`train` changes nothing."""
    x, maps = x.astype(self.dtype), []
    for block, (count, features) in enumerate(BLOCKS, 1):
      x = max_pool(x) if block > 1 else x
      for i in range(1, count + 1):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), self.outside)
        x = layers.Conv(features, (3, 3), name=f'conv{block}_{i}')(x)
        if f'relu{block}_{i}' in self.taps:
          maps.append(x)
    return maps if self.taps else {'features': layers.mean(x)}


def names(numbers: Iterable[int], prefix: str = '') -> Callable[[str], tuple[str, None]]:
  """(path of a layer) -> (the prefix of its convolution in a file, None), of the convolutions' numbers there."""
  paths = [f'conv{block}_{i + 1}' for block, (n, _) in enumerate(BLOCKS, 1) for i in range(n)]
  known = {path: (f'{prefix}{number}', None) for path, number in zip(paths, numbers)}
  return known.__getitem__


def convert(tensors: dict[str, np.ndarray]) -> dict:
  """The variables from the tensors of `FILE`."""
  return layers.convert(Network(), SIZE, tensors, names(LAYERS, 'features.'), eps=0)
