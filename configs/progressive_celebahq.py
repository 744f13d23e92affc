"""Progressive growing on CelebA-HQ, from 4x4 to 1024x1024.

Paper: Karras et al. 2017, arXiv:1710.10196: FID 7.30. The recipe follows the paper's setting in the authors' code
(tkarras/progressive_growing_of_gans): 19 million images, mirrored. G has 23.08 million parameters, D 23.09 million.
Differences from that code: the half-life of G's average is in images, so it does not depend on the batch size. Pictures
of lower levels are resized with Lanczos, not averaged. The gradient penalty is on pictures at the size of their level.

CelebA-HQ is made from CelebA by hand. `data.dataset` is the folder of its pictures.

    python train.py --config configs/progressive_celebahq.py --workdir runs/celebahq --config.data.dataset=./celebahq
"""

from ganjax import config as configs


def get_config():
  config = configs.base('progressive_celebahq')
  config.batch_size = 3  # of the last level
  config.steps = 3_264_288  # 19 million images: 550,000 steps up to 128x128, 2,333,334 at 1024x1024

  config.data.dataset = './celebahq'
  config.data.resolution = 1024
  config.data.flip = True

  config.networks = dict(
    name='progressive',
    width=512,
    channel_base=16384,
    mbstd_group=16,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='progressive',
    z_dim=512,
    steady_images=800_000,
    fade_images=800_000,
    batch_sizes=(16, 16, 16, 16, 16, 16, 14, 6, 3),
    loss='wasserstein',
    gp_weight=10.0,
    gp_target=1.0,
    drift=0.001,
  )
  config.optim.G = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=11_085, rampup=0.0, start_steps=0)
  return config
