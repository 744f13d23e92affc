"""SNGAN with a projection discriminator on CIFAR-10, 32x32, 10 classes.

Paper: Miyato and Koyama 2018, arXiv:1802.05637. For CIFAR-10 its authors' code and torch-mimicry state FID 17.5 and IS
8.62 (5,000 fakes against 10,000 real images). The recipe follows the authors' code (pfnet-research/sngan_projection,
sn_cifar10_conditional.yml). torch-mimicry measures FID 10.84 after 100,000 steps, 50,000 fakes against the training
set.

    python train.py --config configs/projection_cifar.py --workdir runs/projection
"""

from ganjax import config as configs


def get_config():
  config = configs.base('projection_cifar')
  config.steps = 50_000
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='resnet',
    num_classes=10,
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
