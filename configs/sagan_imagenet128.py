"""SAGAN on ImageNet, 128x128, 1,000 classes.

Paper: Zhang et al. 2018, arXiv:1805.08318: FID 18.65, IS 52.52, 50,000 fakes against the training set. Both networks
are residual, with spectral norm and self-attention at 32x32 maps. G has conditional batch norm, D projection. Learning
rates are 1e-4 for G and 4e-4 for D, one update each. One million steps took the authors weeks on 4 GPUs. On one device
`--config.microbatches=8` splits the batch into 8 parts. Batch norm is then over 32 images.

    python train.py --config configs/sagan_imagenet128.py --workdir runs/sagan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('sagan_imagenet128')
  config.steps = 1_000_000
  config.batch_size = 256

  config.data.dataset = 'imagenet2012'
  config.data.resolution = 128
  config.data.flip = True

  config.networks = dict(
    name='resnet',
    num_classes=1000,
    width=64,
    width_D=64,
    wide=True,
    spectral=True,
    spectral_G=True,
    attention=32,
    pool='sum',
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=128, loss='hinge', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=1e-4, b1=0.0, b2=0.9)
  config.optim.D = configs.adam(lr=4e-4, b1=0.0, b2=0.9)
  return config
