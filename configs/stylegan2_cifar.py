"""StyleGAN2 on CIFAR-10, 32x32, unconditional.

Paper: Karras et al. 2019, arXiv:1912.04958. The recipe follows the setting `cifarbaseline` of StyleGAN2-ADA
(arXiv:2006.06676, figure 11b; NVlabs/stylegan2-ada, train.py), without augmentation: 100 million images. Table 1 of
arXiv:2209.03003 quotes FID 8.32 for it (50,000 fakes against the training images). With ADA the same recipe reaches
5.33 (NVlabs/stylegan2-ada, issue 99). G has 21.52 million parameters, D 21.51 million.

    python train.py --config configs/stylegan2_cifar.py --workdir runs/stylegan2_cifar
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan2_cifar')
  config.batch_size = 64
  config.steps = 1_562_500  # 100 million images

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='stylegan2',
    width=512,
    channel_base=32768,
    w_dim=512,
    mapping_layers=8,
    architecture='skip',
    architecture_D='resnet',
    mbstd_group=32,
    clamp=256.0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='stylegan2',
    z_dim=512,
    r1_gamma=0.01,
    r1_every=16,
    path_weight=2.0,
    path_every=4,
    mixing=0.9,
  )
  config.optim.G = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=500_000, rampup=0.05, start_steps=0)
  return config
