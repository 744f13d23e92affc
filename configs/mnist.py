"""SNGAN's convolutional networks, narrow, on MNIST's digits at 32x32, for two CPU cores.

Paper: Miyato et al. 2018, arXiv:1802.05957, appendix B. No figure is published for these data. Against the paper: half
the width, the hinge loss, one update of D for one of G, and an average of G's weights.

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

  config.networks = dict(name='cnn', width=32, spectral=True, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=64, loss='hinge', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.ema.update(half_life_images=10_000, rampup=0.05)
  return config
