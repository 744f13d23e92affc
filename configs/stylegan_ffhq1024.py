"""StyleGAN on FFHQ, from 8x8 to 1024x1024.

Paper: Karras et al. 2018, arXiv:1812.04948, table 1, row F: FID 4.40, 50,000 fakes against the pictures of the data
set. The recipe follows the authors' code (NVlabs/stylegan, train.py, 8 GPUs): 25 million images, mirrored. G has 26.22
million parameters, D 23.09 million. Differences from that code: style mixing draws its layer for each image, not for
the batch. Pictures of lower levels are resized with Lanczos, not averaged.

FFHQ is not in TFDS: `data.dataset` is the folder of its pictures. Published samples have truncation 0.7 in 8 layers:
`ganjax sample --option truncation=0.7 --option cutoff=8`.

    python train.py --config configs/stylegan_ffhq1024.py --workdir runs/stylegan --config.data.dataset=./ffhq
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan_ffhq1024')
  config.batch_size = 32  # of the last level
  config.steps = 717_964  # 25 million images: 199,220 steps of them until 1024x1024 is whole

  config.data.dataset = './ffhq'
  config.data.resolution = 1024
  config.data.flip = True

  config.networks = dict(
    name='stylegan',
    width=512,
    channel_base=16384,
    w_dim=512,
    mapping_layers=8,
    mbstd_group=4,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='progressive',
    z_dim=512,
    steady_images=600_000,
    fade_images=600_000,
    first_level=1,
    batch_sizes=(256, 128, 64, 32, 32, 32, 32, 32),
    rates=(1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 3.0, 3.0),
    loss='non_saturating',
    r1_gamma=10.0,
    mixing=0.9,
  )
  config.optim.G = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=10_000, rampup=0.0, start_steps=0)
  return config
