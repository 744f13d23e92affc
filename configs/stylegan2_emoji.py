"""StyleGAN2 on the emoji that ganjax ships, 64x64, narrow. Needs no download and no GPU.

Paper: Karras et al. 2019, arXiv:1912.04958, config F. The settings follow StyleGAN2-ADA (arXiv:2006.06676) for
64x64, with 1/16 of the width. The pictures are few, so all of DiffAugment (arXiv:2006.10738) is added. No results are
published for these data: judge the run by its samples.

    python train.py --config configs/stylegan2_emoji.py --workdir runs/stylegan2_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan2_emoji')
  config.steps = 20_000
  config.batch_size = 32
  config.log_every_steps = 20
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'emoji'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(
    name='stylegan2',
    width=128,
    channel_base=1024,
    w_dim=128,
    mapping_layers=2,
    architecture='skip',
    architecture_D='resnet',
    mbstd_group=4,
    clamp=256.0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='stylegan2',
    z_dim=128,
    r1_gamma=0.0256,
    r1_every=16,
    path_weight=2.0,
    path_every=4,
    mixing=0.9,
    diffaugment='color,translation,cutout',
  )
  config.optim.G = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=10_000, rampup=0.05, start_steps=0)
  return config
