"""The first GAN: multilayer perceptrons on MNIST, 28x28 grey, unconditional.

Paper: Goodfellow et al. 2014, arXiv:1406.2661, section 5. It reports a Parzen window log-likelihood of 225 +- 2 nats
(table 1), which says little about sample quality (arXiv:1511.01844). No FID is published. Batch size, layer sizes,
initial weights and dropout are from the authors' mnist.yaml. The optimizer is Adam as in DCGAN, instead of momentum and
a decaying learning rate. All 60,000 training pictures are used; the authors hold out 10,000. The loss is the one of
section 3 of the paper, where G maximises log D.

    python train.py --config configs/gan_mnist.py --workdir runs/mnist
    ganjax evaluate runs/mnist --metrics parzen --real mnist:test --num 10000
"""

from ganjax import config as configs


def get_config():
  config = configs.base('gan_mnist')
  config.steps = 50_000
  config.batch_size = 100

  config.data.dataset = 'mnist'
  config.data.resolution = 28
  config.data.channels = 1

  config.networks = dict(name='mlp', dropout=True, width=1200, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=100, loss='non_saturating', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  return config
