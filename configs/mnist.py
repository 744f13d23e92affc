"""DCGAN, narrow, on MNIST's digits at 32x32, for two CPU cores.

Paper: Radford, Metz, Chintala 2015, arXiv:1511.06434. No figure is published for these data. Against the paper:
networks of a quarter of the width at 32 pixels, batches of 64, an average of G's weights, Adam's second beta of 0.99.

    python train.py --config configs/mnist.py --workdir runs/mnist
"""

from ganjax import config as configs


def get_config():
  config = configs.base('mnist')
  config.steps = 20_000
  config.batch_size = 64
  config.sample_every_steps = 1000
  config.checkpoint_every_steps = 1000

  config.data.dataset = 'mnist'
  config.data.resolution = 32
  config.data.channels = 1

  config.networks = dict(name='dcgan', width=32, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=64, loss='non_saturating', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.99)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.99)
  config.ema.update(half_life_images=10_000, rampup=0.05)
  return config
