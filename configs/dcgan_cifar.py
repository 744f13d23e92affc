"""DCGAN on CIFAR-10, 32x32, unconditional.

Paper: Radford, Metz, Chintala 2015, arXiv:1511.06434; it reports no CIFAR-10 FID. The recipe follows
github.com/w86763777/pytorch-gan-collections (README, row DCGAN), which reports FID 42.72, IS 6.01 +- 0.05: 50,000
fakes against the 50,000 training images, a PyTorch port of the TTUR Inception, running batch statistics, last step.

    python train.py --config configs/dcgan_cifar.py --workdir runs/dcgan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('dcgan_cifar')
  config.steps = 100_000
  config.batch_size = 128
  config.log_every_steps = 100
  config.sample_every_steps = 1000
  config.checkpoint_every_steps = 1000

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  config.networks = dict(name='dcgan', width=128, dtype='auto', param_dtype='float32')
  # G trains on 256 fakes, D on 128 real images and 128 fakes.
  config.method = dict(name='gan', z_dim=100, loss='non_saturating', n_critic=1, fakes_per_real=2)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.9, decay='linear')
  return config
