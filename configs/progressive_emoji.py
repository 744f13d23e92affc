"""Progressive growing on the emoji that ganjax ships, from 4x4 to 64x64, narrow. Needs no download and no GPU.

Paper: Karras et al. 2017, arXiv:1710.10196. The networks have at most a quarter of the width, and a level takes a few
percent of the paper's images. No results are published for these data: judge the run by its samples.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/progressive_emoji.py --workdir runs/progressive_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('progressive_emoji')
  config.steps = 25_500
  config.batch_size = 16
  config.log_every_steps = 100
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'emoji'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(
    name='progressive',
    width=128,
    channel_base=1024,
    mbstd_group=4,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='progressive',
    z_dim=128,
    steady_images=40_000,
    fade_images=40_000,
    loss='wasserstein',
    gp_weight=10.0,
    gp_target=1.0,
    drift=0.001,
  )
  config.optim.G = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=10_000, rampup=0.0, start_steps=0)
  return config
