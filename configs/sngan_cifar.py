"""SNGAN with residual networks on CIFAR-10, 32x32, unconditional.

Paper: Miyato et al. 2018, arXiv:1802.05957, table 2: FID 21.7 +- 0.21, IS 8.22 +- 0.05, 5,000 fakes against 10,000 real
images. The recipe follows the authors' code (pfnet-research/sngan_projection, sn_cifar10_unconditional.yml).
torch-mimicry reports FID 16.77 for these networks after 100,000 steps, 50,000 fakes against the 50,000 training images.

    python train.py --config configs/sngan_cifar.py --workdir runs/sngan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('sngan_cifar')
  config.steps = 50_000
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='resnet',
    width=256,
    width_D=128,
    spectral=True,
    pool='sum',
    dtype='auto',
    param_dtype='float32',
  )
  # G trains on 128 fakes, D on 64 real images and 64 fakes, five times a step.
  config.method = dict(name='gan', z_dim=128, loss='hinge', n_critic=5, fakes_per_real=2)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  return config
