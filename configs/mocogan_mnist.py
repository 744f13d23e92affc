"""MoCoGAN on moving MNIST, two digits that fly and bounce, 16 frames of 64x64.

Paper: Tulyakov, Liu, Yang, Kautz 2018, arXiv:1707.04993. The data follow arXiv:1502.04681. No results are published for
the two together. Differences from the published code: no categories, and a step has 4 clips with 3 frames of each,
instead of 3 clips and 10 frames.

    python train.py --config configs/mocogan_mnist.py --workdir runs/mocogan_mnist
"""

from ganjax import config as configs


def get_config():
  config = configs.base('mocogan_mnist')
  config.steps = 100_000
  config.batch_size = 4

  config.data.dataset = 'moving'
  config.data.resolution = 64
  config.data.channels = 1
  config.data.sprites = 'mnist'
  config.data.number = 2
  config.data.size = 28
  config.data.frames = 16
  config.data.rate = 10

  config.networks = dict(name='mocogan', width=64, width_D=64, dtype='auto', param_dtype='float32')
  config.method = dict(name='mocogan', z_dim=50, motion_dim=10, frames_per_clip=3)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999, weight_decay=1e-5)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999, weight_decay=1e-5)
  return config
