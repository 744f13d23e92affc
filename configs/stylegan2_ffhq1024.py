"""StyleGAN2, config F, on FFHQ, 1024x1024.

Paper: Karras et al. 2019, arXiv:1912.04958, table 1, config F: FID 2.84 +- 0.03, 50,000 fakes against 50,000
pictures, perceptual path length 145.0 (NVlabs/stylegan2, README). The recipe follows the setting `stylegan2` of the
authors' later code (NVlabs/stylegan2-ada, train.py), without augmentation: 25 million images, mirrored. Only that code
clamps activations; the paper does not. G has 30.37 million parameters, D 29.01 million.

FFHQ is not in TFDS: `data.dataset` is the folder of its pictures.

    python train.py --config configs/stylegan2_ffhq1024.py --workdir runs/ffhq1024 --config.data.dataset=./ffhq
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan2_ffhq1024')
  config.batch_size = 32
  config.steps = 781_250  # 25 million images

  config.data.dataset = './ffhq'
  config.data.resolution = 1024
  config.data.flip = True

  config.networks = dict(
    name='stylegan2',
    width=512,
    channel_base=32768,
    w_dim=512,
    mapping_layers=8,
    architecture='skip',
    architecture_D='resnet',
    mbstd_group=4,
    clamp=256.0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='stylegan2',
    z_dim=512,
    r1_gamma=10.0,
    r1_every=16,
    path_weight=2.0,
    path_every=4,
    mixing=0.9,
  )
  config.optim.G = configs.adam(lr=0.002, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.002, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=10_000, rampup=0.0, start_steps=0)
  return config
