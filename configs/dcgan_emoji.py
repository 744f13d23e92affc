"""DCGAN on the emoji that ganjax ships, 64x64. Needs no download and no GPU.

Paper: Radford, Metz, Chintala 2015, arXiv:1511.06434, its 64x64 networks at a quarter of their width. No results are
published for these data: judge the run by its samples. Emoji-like pictures appear within 15 minutes on two CPU cores.

    python train.py --config configs/dcgan_emoji.py --workdir runs/emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('dcgan_emoji')
  config.steps = 5000
  config.batch_size = 64
  config.log_every_steps = 20
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'emoji'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(name='dcgan', width=32, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=100, loss='non_saturating', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  # The game goes round in circles at a constant learning rate: an average of G looks better than any one step.
  config.ema.update(half_life_images=10_000, rampup=0.05)
  return config
