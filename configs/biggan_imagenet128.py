"""BigGAN on ImageNet, 128x128, 1,000 classes, batch 2,048.

Paper: Brock et al. 2018, arXiv:1809.11096: FID 8.7 +- 0.6, IS 98.8 +- 3 without truncation, 50,000 fakes against the
training set. The learning rates and the two updates of D a step are the paper's; it spreads a batch over 128 to 512
TPU cores. StudioGAN reports FID 7.78 at this size, against the validation images. On one GPU
`--config.microbatches=32` splits the batch into 32 parts of 64. Batch norm is then over 64 images.

    python train.py --config configs/biggan_imagenet128.py --workdir runs/biggan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('biggan_imagenet128')
  config.steps = 250_000
  config.batch_size = 2048

  config.data.dataset = 'imagenet2012'
  config.data.resolution = 128
  config.data.flip = True

  config.networks = dict(
    name='biggan',
    num_classes=1000,
    width=96,
    width_D=96,
    shared_dim=128,
    attention=64,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=120, loss='hinge', n_critic=2, fakes_per_real=1)
  config.optim.G = configs.adam(lr=5e-5, b1=0.0, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.999)
  # 0.9999 a step of 2,048 images.
  config.ema.update(half_life_images=14_195_000)
  return config
