"""StyleGAN3-T on FFHQ, 256x256: details move with the object, not with the pixel grid.

Paper: Karras et al. 2021, arXiv:2106.12423, configuration T. It reports FID 2.79 at 1024x1024 (table 2). At 256x256 the
ablation reports FID 4.62 and EQ-T 63.0 dB on FFHQ-U, with half of these channels. The recipe follows the authors' code
for 256x256: batch 32, gamma 2, 25 million images. G has 28.47 million parameters, D 28.86 million.

FFHQ is not in TFDS: `data.dataset` is the folder of its pictures. ganjax resizes them to 256x256.

    python train.py --config configs/stylegan3t_ffhq256.py --workdir runs/stylegan3t --config.data.dataset=./ffhq
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan3t_ffhq256')
  config.batch_size = 32
  config.steps = 781_250  # 25 million images

  config.data.dataset = './ffhq'
  config.data.resolution = 256
  config.data.flip = True

  config.networks = dict(
    name='stylegan3',
    width=512,
    channel_base=32768,
    width_D=512,
    channel_base_D=32768,
    w_dim=512,
    mapping_layers=2,
    layers=14,
    rotates=False,
    mbstd_group=4,
    clamp=256.0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='stylegan2',
    z_dim=512,
    r1_gamma=2.0,
    r1_every=16,
    path_weight=0.0,
    mixing=0.0,
    moved_by=('D',),
  )
  config.optim.G = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.002, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=10_000, rampup=0.05, start_steps=0)
  return config
