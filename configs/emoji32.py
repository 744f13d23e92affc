"""BigGAN, narrow, on the emoji that ganjax ships, 32x32, 10 classes: for two CPU cores, in about an hour.

Paper: Brock et al. 2018, arXiv:1809.11096. No results are published for these data. Differences from the paper: G has
an eighth of the width and D a fifth, no attention, one update of D for each of G, batches of 32, and D sees all images
through DiffAugment (arXiv:2006.10738).

    python train.py --config configs/emoji32.py --workdir runs/emoji32
"""

from ganjax import config as configs


def get_config():
  config = configs.base('emoji32')
  config.steps = 10_000
  config.batch_size = 32
  config.log_every_steps = 50
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'emoji'
  config.data.resolution = 32

  config.networks = dict(
    name='biggan',
    num_classes=10,
    width=12,
    width_D=20,
    shared_dim=64,
    attention=0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='gan',
    z_dim=100,
    loss='hinge',
    n_critic=1,
    fakes_per_real=1,
    diffaugment='color,translation',
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.999)
  config.ema.update(half_life_images=20_000, rampup=0.05)
  return config
