"""The Inception network of FID, IS and KID: TensorFlow's Inception v3 of 2015-12-05 (Szegedy et al., arXiv:1512.00567).

It is not the Inception v3 of torchvision or Keras. Its names are those of the PyTorch conversion, and against
torchvision's structure: averages leave out the padding, Mixed_7c pools by maximum, and there are 1008 outputs.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.features import layers
from ganjax.weights import files as weights

FILE = weights.File(
  name='pt_inception-2015-12-05-6726825d.pth',
  sha256='6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
  aliases=('weights-inception-2015-12-05-6726825d.pth',),
  url='https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
  'pt_inception-2015-12-05-6726825d.pth',
)
SIZE = 299
RESIZE = 'tf1_bilinear'
SCALE = (128.0, 1 / 128)


class Network(nn.Module):
  """Scaled images [B, 299, 299, 3] -> dict of float arrays.

    features         [B, 2048]  pool3
    logits           [B, 1008]  with the bias
    logits_unbiased  [B, 1008]  without it, as the Inception Score takes them
    spatial          [B, 2023]  sFID's (Nash et al., arXiv:2103.03841): the first 7 channels, 17 x 17, of the graph's
                                mixed_6/conv, which is Mixed_6d's 1x1 branch
    pool_64, pool_192, pool_768  the means of earlier layers

  What is not used is not computed once this is jitted.
  """

  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
    x = x.astype(self.dtype)
    outputs = {}

    def conv(x, name, features, *kernel, stride=1, padded=True, act=nn.relu):
      around = layers.pads(kernel) if padded and stride == 1 else ((0, 0), (0, 0))
      return layers.Conv(features, kernel, stride, around, act, name=name)(x)

    # A 1x1 convolution and its bias commute with means, which are cheaper over its fewer channels.
    average = lambda y: nn.relu(layers.average_pool(y))

    def chain(x, name, *steps, stride=1):
      """Convolutions one after the other, the last with the stride."""
      for i, step in enumerate(steps, 1):
        x = conv(x, f'{name}_{i}', *step, stride=stride if i == len(steps) else 1)
      return x

    def block_a(x, name, pool):
      return join(
        conv(x, f'{name}.branch1x1', 64, 1, 1),
        chain(x, f'{name}.branch5x5', (48, 1, 1), (64, 5, 5)),
        chain(x, f'{name}.branch3x3dbl', (64, 1, 1), (96, 3, 3), (96, 3, 3)),
        conv(x, f'{name}.branch_pool', pool, 1, 1, act=average),
      )

    def block_b(x, name):
      return join(
        conv(x, f'{name}.branch3x3', 384, 3, 3, stride=2),
        chain(x, f'{name}.branch3x3dbl', (64, 1, 1), (96, 3, 3), (96, 3, 3), stride=2),
        layers.max_pool(x, 2),
      )

    def block_c(x, name, c):
      first = conv(x, f'{name}.branch1x1', 192, 1, 1)
      if name == 'Mixed_6d':
        outputs['spatial'] = first[..., :7].reshape(len(x), -1)
      long = (c, 1, 1), (c, 7, 1), (c, 1, 7), (c, 7, 1), (192, 1, 7)
      return join(
        first,
        chain(x, f'{name}.branch7x7', (c, 1, 1), (c, 1, 7), (192, 7, 1)),
        chain(x, f'{name}.branch7x7dbl', *long),
        conv(x, f'{name}.branch_pool', 192, 1, 1, act=average),
      )

    def block_d(x, name):
      long = (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)
      return join(
        chain(x, f'{name}.branch3x3', (192, 1, 1), (320, 3, 3), stride=2),
        chain(x, f'{name}.branch7x7x3', *long, stride=2),
        layers.max_pool(x, 2),
      )

    def block_e(x, name, pool):
      fork = lambda x, name: (
        conv(x, f'{name}a', 384, 1, 3),
        conv(x, f'{name}b', 384, 3, 1),
      )
      return join(
        conv(x, f'{name}.branch1x1', 320, 1, 1),
        *fork(chain(x, f'{name}.branch3x3', (384, 1, 1)), f'{name}.branch3x3_2'),
        *fork(chain(x, f'{name}.branch3x3dbl', (448, 1, 1), (384, 3, 3)), f'{name}.branch3x3dbl_3'),
        conv(pool(x), f'{name}.branch_pool', 192, 1, 1),
      )

    x = conv(x, 'Conv2d_1a_3x3', 32, 3, 3, stride=2)
    x = conv(x, 'Conv2d_2a_3x3', 32, 3, 3, padded=False)
    x = layers.max_pool(conv(x, 'Conv2d_2b_3x3', 64, 3, 3), 2)
    outputs['pool_64'] = layers.mean(x)
    x = conv(x, 'Conv2d_3b_1x1', 80, 1, 1)
    x = layers.max_pool(conv(x, 'Conv2d_4a_3x3', 192, 3, 3, padded=False), 2)
    outputs['pool_192'] = layers.mean(x)
    for name, pool in ('Mixed_5b', 32), ('Mixed_5c', 64), ('Mixed_5d', 64):
      x = block_a(x, name, pool)
    x = block_b(x, 'Mixed_6a')
    for name, c in ('Mixed_6b', 128), ('Mixed_6c', 160), ('Mixed_6d', 160), ('Mixed_6e', 192):
      x = block_c(x, name, c)
    outputs['pool_768'] = layers.mean(x)
    x = block_d(x, 'Mixed_7a')
    x = block_e(x, 'Mixed_7b', layers.average_pool)
    x = block_e(x, 'Mixed_7c', lambda x: layers.max_pool(x, 1))
    features = layers.mean(x)
    unbiased, logits = layers.Linear(1008, name='fc')(features)
    return {'features': features, 'logits': logits, 'logits_unbiased': unbiased, **outputs}


def join(*branches: jax.Array) -> jax.Array:
  return jnp.concatenate(branches, 3)


def convert(tensors: dict[str, np.ndarray]) -> dict:
  """The variables from the tensors of `FILE`."""
  names = lambda path: ('fc', None) if path == 'fc' else (f'{path}.conv', f'{path}.bn')
  return layers.convert(Network(), SIZE, tensors, names, eps=1e-3)
