"""SNGAN with the small CNN on CIFAR-10, 32x32, unconditional.

Paper: Miyato et al. 2018, arXiv:1802.05957, table 2: FID 29.3, IS 7.42 +- 0.08 for the standard CNN, 5,000 fakes
against 10,000 real images. The recipe follows pytorch-gan-collections, which reports FID 17.81 and IS 7.84 (50,000
fakes against the 50,000 training images): hinge loss, one update of D a step, decaying learning rates.

    python train.py --config configs/sngan_cnn_cifar.py --workdir runs/sngan_cnn
"""

from ganjax import config as configs


def get_config():
  config = configs.base('sngan_cnn_cifar')
  config.steps = 100_000
  config.batch_size = 128

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='cnn',
    width=64,
    spectral=True,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=100, loss='hinge', n_critic=1, fakes_per_real=2)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  return config
