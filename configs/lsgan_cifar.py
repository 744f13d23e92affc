"""LSGAN on CIFAR-10, 32x32, unconditional.

Paper: Mao et al. 2016, arXiv:1611.04076 (targets 1 and 0, equation 9); it reports no CIFAR-10 FID. The schedule follows
PyTorch-StudioGAN (src/configs/CIFAR10/LSGAN.yaml), whose benchmark reports FID 40.22, IS 6.55: 50,000 fakes against
the 50,000 training images, standing batch statistics, the best checkpoint. StudioGAN's run diverges later: its FID
against 10,000 test images is 66.7 at step 22,000 and 331 at the end. Its networks differ (three resamplings from 4x4,
orthogonal weights). These are the networks of `networks/dcgan.py`, with as many channels in G, 512 to 64.

    python train.py --config configs/lsgan_cifar.py --workdir runs/lsgan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('lsgan_cifar')
  config.steps = 200_000
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  config.networks = dict(name='dcgan', width=64, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=128, loss='least_squares', n_critic=2, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  return config
