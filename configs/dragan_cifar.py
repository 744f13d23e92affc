"""DRAGAN with a small CNN on CIFAR-10, 32x32, unconditional.

Paper: Kodali et al. 2017, arXiv:1705.07215: IS 6.90 with DCGAN's networks; no FID. The recipe follows chainer-gan-lib,
which reports IS 7.1 and FID 31.5 (10,000 fakes against the training set, Chainer's Inception): cross-entropy loss,
penalty around real images, no normalization in D. There z is uniform, and the penalty's noise has each pixel's standard
deviation over the batch. Here z is normal and the noise has one deviation, see `ganjax/losses/penalties.py`.

    python train.py --config configs/dragan_cifar.py --workdir runs/dragan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('dragan_cifar')
  config.steps = 100_000
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='cnn',
    width=64,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='gan',
    z_dim=128,
    loss='non_saturating',
    n_critic=2,
    fakes_per_real=1,
    penalties=dict(dragan=10.0),
  )
  config.optim.G = configs.adam(lr=1e-4, b1=0.0, b2=0.9)
  config.optim.D = configs.adam(lr=1e-4, b1=0.0, b2=0.9)
  return config
