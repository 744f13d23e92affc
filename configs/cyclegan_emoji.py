"""CycleGAN on the emoji that ganjax ships, between two drawing styles, 64x64. Needs no download and no GPU.

Paper: Zhu, Park, Isola, Efros 2017, arXiv:1703.10593. The networks have six blocks and half the width. No results are
published for these data. Training does not know which drawings show the same emoji. The held-out tenth, which the grids
show, is kept in pairs.

    python train.py --config configs/cyclegan_emoji.py --workdir runs/cyclegan_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('cyclegan_emoji')
  config.steps = 20_000
  config.batch_size = 1
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'emoji_pairs'
  config.data.source = 'noto'
  config.data.target = 'fluent_flat'
  config.data.paired = False
  config.data.resolution = 64
  config.data.jitter = 6
  config.data.flip = True

  config.networks = dict(
    name='cyclegan',
    width=32,
    width_D=32,
    blocks=6,
    layers_D=2,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='cyclegan',
    loss='least_squares',
    cycle_weight=10.0,
    identity_weight=5.0,
    pool_size=50,
  )
  lr = dict(start=2e-4, end=0.0, begin=10_000, steps=10_000, shape='linear')
  config.optim.G = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
