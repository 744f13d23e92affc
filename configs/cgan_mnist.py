"""The first conditional GAN: multilayer perceptrons on MNIST, 28x28 grey, given the digit.

Paper: Mirza and Osindero 2014, arXiv:1411.1784, section 4.1. It reports a Parzen window log-likelihood of 132 +- 1.8
nats (table 1), which says little about sample quality (arXiv:1511.01844). No FID is published. Layer sizes and D's
dropout are the paper's. First z and the label have separate layers, and so have the image and the label. The optimizer
is the one of gan_mnist; the paper has momentum and a decaying learning rate.

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
