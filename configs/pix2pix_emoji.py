"""pix2pix on the emoji that ganjax ships, from one drawing style to another, 64x64. Needs no download and no GPU.

Paper: Isola, Zhu, Zhou, Efros 2017, arXiv:1611.07004. The U-Net has six halvings, half the width and instance norm. No
results are published for these data. A tenth of the emoji is held out, and the grids show these.

    python train.py --config configs/pix2pix_emoji.py --workdir runs/pix2pix_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('pix2pix_emoji')
  config.steps = 10_000
  config.batch_size = 4
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'emoji_pairs'
  config.data.source = 'noto'
  config.data.target = 'fluent_flat'
  config.data.resolution = 64
  config.data.jitter = 6
  config.data.flip = True

  config.networks = dict(
    name='pix2pix',
    width=32,
    width_D=32,
    downs=6,
    layers_D=2,
    norm='instance',
    dropout_levels=(0,),
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='pix2pix', loss='non_saturating', l1_weight=100.0)
  # The rate falls to 0 over the second half.
  lr = dict(start=2e-4, end=0.0, begin=5000, steps=5000, shape='linear')
  config.optim.G = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
