"""StyleGAN3-T on the emoji that ganjax ships, 64x64, narrow. Needs no download and no GPU.

Paper: Karras et al. 2021, arXiv:2106.12423, configuration T. Differences from the paper: 8 narrow layers instead of 14,
and all of DiffAugment (arXiv:2006.10738), because the pictures are few. G computes at twice the sampling rate of every
map: a step takes several times as long as in stylegan2_emoji. No results are published for these data: judge the run by
its samples, for example with `ganjax sample --option translate_x=0,0.02,0.04`.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/stylegan3_emoji.py --workdir runs/stylegan3_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan3_emoji')
  config.steps = 20_000
  config.batch_size = 16
  config.log_every_steps = 20
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'emoji'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(
    name='stylegan3',
    width=32,
    channel_base=1024,
    width_D=128,
    channel_base_D=1024,
    w_dim=128,
    mapping_layers=2,
    layers=8,
    rotates=False,
    mbstd_group=4,
    clamp=256.0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='stylegan2',
    z_dim=128,
    r1_gamma=0.1,
    r1_every=16,
    path_weight=0.0,
    mixing=0.0,
    moved_by=('D',),
    diffaugment='color,translation,cutout',
  )
  config.optim.G = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.002, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=5000, rampup=0.05, start_steps=0)
  return config
