"""BigGAN, narrow, on MNIST's digits at 32x32, 10 classes, for two CPU cores.

Paper: Brock et al. 2018, arXiv:1809.11096. No figure is published for these data. Against the paper: a twelfth of its
width, no attention, one update of D for one of G, and batches of 64.

    python train.py --config configs/mnist.py --workdir runs/mnist
"""

from ganjax import config as configs


def get_config():
  config = configs.base('mnist')
  config.steps = 10_000
  config.batch_size = 64
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'mnist'
  config.data.resolution = 32
  config.data.channels = 1

  config.networks = dict(
    name='biggan',
    num_classes=10,
    width=8,
    width_D=8,
    shared_dim=64,
    attention=0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=64, loss='hinge', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.999)
  config.ema.update(half_life_images=10_000, rampup=0.05)
  return config
