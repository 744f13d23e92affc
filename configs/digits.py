"""BigGAN, narrow, on MNIST, 10 classes at 32x32 pixels: for two CPU cores, in less than an hour.

Paper: Brock et al. 2018, arXiv:1809.11096. No results are published for these data. Differences from the paper: G has a
twelfth of the width and D a sixth, one update of D for each of G, batches of 64, no attention.

    python train.py --config configs/digits.py --workdir runs/digits
"""

from ganjax import config as configs


def get_config():
  config = configs.base('digits')
  config.steps = 10_000
  config.batch_size = 64
  config.log_every_steps = 50
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'mnist'
  config.data.channels = 1
  config.data.resolution = 32

  config.networks = dict(
    name='biggan',
    num_classes=10,
    width=8,
    width_D=16,
    shared_dim=64,
    attention=0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=80, loss='hinge', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.999)
  config.ema.update(half_life_images=20_000, rampup=0.05)
  return config
