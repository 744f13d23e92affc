"""FastGAN on the emoji that ganjax ships, 64x64, at a quarter of the width.

Paper: Liu, Zhu, Song, Elgammal 2021, arXiv:2101.04775. No results are published for these data. The published code is
for 256 pixels and more. Differences from it: a quarter of the width, and reconstructions are compared by pixels,
because the weights of VGG-16 are half a gigabyte (`--config.method.distance=lpips` uses them).

    python train.py --config configs/fastgan_emoji.py --workdir runs/fastgan_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('fastgan_emoji')
  config.steps = 50_000
  config.batch_size = 8
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'emoji'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(name='fastgan', width=16, width_D=16, dtype='auto', param_dtype='float32')
  config.method = dict(
    name='fastgan',
    z_dim=256,
    diffaugment='color,translation',
    distance='l1',
    reconstruction=8.0,
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  # 0.999 a step of 8 images.
  config.ema.update(half_life_images=5543)
  return config
