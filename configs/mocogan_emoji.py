"""MoCoGAN on emoji that fly and bounce, 16 frames of 64x64. Needs no download and no GPU.

Paper: Tulyakov, Liu, Yang, Kautz 2018, arXiv:1707.04993. No results are published for these data. The clips are
computed on the fly from the emoji that ganjax ships. Differences from the published code: a quarter of the width, no
categories, and the frames that are judged come from the clips that are judged.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/mocogan_emoji.py --workdir runs/mocogan_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('mocogan_emoji')
  config.steps = 20_000
  config.batch_size = 8
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'moving'
  config.data.resolution = 64
  config.data.frames = 16
  config.data.rate = 10

  config.networks = dict(name='mocogan', width=16, width_D=16, dtype='auto', param_dtype='float32')
  config.method = dict(name='mocogan', z_dim=50, motion_dim=10, frames_per_clip=3)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999, weight_decay=1e-5)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999, weight_decay=1e-5)
  return config
