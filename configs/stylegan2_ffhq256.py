"""StyleGAN2 with adaptive augmentation (ADA) on FFHQ, 256x256.

Paper: Karras et al. 2020, arXiv:2006.06676, figure 7c, all 70,000 pictures and their mirror images: FID 3.81, 50,000
fakes against all of them. NVlabs/stylegan2-ada-pytorch (issue 283) measures this on pictures reduced by a box filter;
with Lanczos it is about 1 more. The recipe follows the setting `paper256` of the authors' code: half the channels of
config F of arXiv:1912.04958, 25 million images. G has 24.77 million parameters, D 24.00 million.

FFHQ is not in TFDS: `data.dataset` is the folder of its pictures. ganjax resizes them to 256x256.

    python train.py --config configs/stylegan2_ffhq256.py --workdir runs/ffhq256 --config.data.dataset=./ffhq
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan2_ffhq256')
  config.batch_size = 64
  config.steps = 390_625  # 25 million images

  config.data.dataset = './ffhq'
  config.data.resolution = 256
  config.data.flip = True

  config.networks = dict(
    name='stylegan2',
    width=512,
    channel_base=16384,
    w_dim=512,
    mapping_layers=8,
    architecture='skip',
    architecture_D='resnet',
    mbstd_group=8,
    clamp=256.0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='stylegan2',
    z_dim=512,
    r1_gamma=1.0,
    r1_every=16,
    path_weight=2.0,
    path_every=4,
    mixing=0.9,
    ada=dict(pipe='bgc', target=0.6, interval=4, images=500_000),
  )
  config.optim.G = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=20_000, rampup=0.0, start_steps=0)
  return config
