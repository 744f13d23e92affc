"""WGAN-GP with the small CNN on CIFAR-10, 32x32, unconditional.

Paper: Gulrajani et al. 2017, arXiv:1704.00028; its CIFAR-10 results are for a residual network. The recipe follows
github.com/w86763777/pytorch-gan-collections (README, row WGAN-GP, CNN), which reports FID 19.83, IS 7.66 +- 0.10:
50,000 fakes against the 50,000 training images, a PyTorch port of the TTUR Inception, running batch statistics, last
step. A later version of that code adds noise from U(0, 1/128) to the real images; this recipe does not.

    python train.py --config configs/wgan_gp_cnn_cifar.py --workdir runs/wgan_gp
"""

from ganjax import config as configs


def get_config():
  config = configs.base('wgan_gp_cnn_cifar')
  config.steps = 100_000
  config.batch_size = 128

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  # D without batch norm: a penalty of each image's gradient needs a D that treats images apart.
  config.networks = dict(name='cnn', width=64, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=100, loss='wasserstein', n_critic=1, fakes_per_real=2)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  return config
