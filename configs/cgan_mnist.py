"""The first conditional GAN: multilayer perceptrons on MNIST, 28x28 grey, given the digit.

Paper: Mirza and Osindero 2014, arXiv:1411.1784, section 4.1. Its figure is a Parzen window log-likelihood of 132 +- 1.8
nats (table 1), which says little of how samples look (arXiv:1511.01844); no FID is published. Networks of the paper's
units, in which z and the label, and the image and the label, first have layers of their own, and of its dropout in D;
the optimizer is that of gan_mnist, where the paper has momentum and a falling rate.

    python train.py --config configs/cgan_mnist.py --workdir runs/cgan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('cgan_mnist')
  config.steps = 50_000
  config.batch_size = 100

  config.data.dataset = 'mnist'
  config.data.resolution = 28
  config.data.channels = 1

  config.networks = dict(
    name='mlp',
    num_classes=10,
    dropout=True,
    width=1200,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=100, loss='non_saturating', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  return config
