"""CUT on the emoji that ganjax ships, from one drawing style to another, 64x64. Needs no download and no GPU.

Paper: Park, Efros, Zhang, Zhu 2020, arXiv:2007.15651. The networks have six blocks and half the width. No results are
published for these data. Training does not know which drawings show the same emoji. The held-out tenth, which the grids
show, is kept in pairs.

    python train.py --config configs/cut_emoji.py --workdir runs/cut_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('cut_emoji')
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
    name='cut',
    width=32,
    width_D=32,
    blocks=6,
    layers_D=2,
    features=128,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='cut',
    loss='least_squares',
    nce_weight=1.0,
    identity=True,
    mirrored=False,
    patches=256,
    temperature=0.07,
  )
  lr = dict(start=2e-4, end=0.0, begin=10_000, steps=10_000, shape='linear')
  config.optim.G = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
