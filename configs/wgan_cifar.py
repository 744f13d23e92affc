"""WGAN with weight clipping on CIFAR-10, 32x32, unconditional.

Paper: Arjovsky, Chintala, Bottou 2017, arXiv:1701.07875; it reports no CIFAR-10 FID. The recipe follows
github.com/w86763777/pytorch-gan-collections (README, row WGAN), which reports FID 40.03, IS 6.62 +- 0.09: 50,000 fakes
against the 50,000 training images, a PyTorch port of the TTUR Inception, running batch statistics, last step. It clips
at 0.1 and uses Adam. The paper has RMSProp: configs.rmsprop(lr=5e-5, clip=0.01) for D, without clip for G, and
n_critic=5.

    python train.py --config configs/wgan_cifar.py --workdir runs/wgan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('wgan_cifar')
  config.steps = 100_000
  config.batch_size = 128

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  config.networks = dict(name='cnn', width=64, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=100, loss='wasserstein', n_critic=1, fakes_per_real=2)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear', clip=0.1)
  return config
