"""WGAN-GP with residual networks on CIFAR-10, 32x32, unconditional.

Paper: Gulrajani et al. 2017, arXiv:1704.00028, section 5.3: IS 7.86 +- 0.07; it reports no FID. The recipe follows
github.com/w86763777/pytorch-gan-collections (README, row WGAN-GP, ResNet), which reports FID 16.95, IS 7.95 +- 0.14:
50,000 fakes against the 50,000 training images, a PyTorch port of the TTUR Inception, running batch statistics, last
step.

    python train.py --config configs/wgan_gp_cifar.py --workdir runs/wgan_gp_resnet
"""

from ganjax import config as configs


def get_config():
  config = configs.base('wgan_gp_cifar')
  config.steps = 100_000
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  config.networks = dict(
    name='resnet',
    width=256,
    width_D=128,
    spectral=False,
    pool='mean',
    dtype='auto',
    param_dtype='float32',
  )
  # D has no batch norm: a penalty of each image's gradient needs a D that treats images apart.
  config.method = dict(name='gan', z_dim=128, loss='wasserstein', n_critic=5, fakes_per_real=1)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  return config
