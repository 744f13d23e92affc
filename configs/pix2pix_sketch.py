"""pix2pix from line drawings to emoji, 64x64: it paints what you draw. Needs no download and no GPU.

Paper: Isola, Zhu, Zhou, Efros 2017, arXiv:1611.07004, whose edges2shoes is such a task. The U-Net has four halvings,
half the width, instance norm and an average of G's weights. No results are published for these data. The lines are
computed from the drawings: dark where colours change. A tenth of the emoji is held out in all styles, and the grids
show these. For your own pictures see docs/guides/translation.md. 30,000 steps took 70 minutes on two busy CPU cores.

    python train.py --config configs/pix2pix_sketch.py --workdir runs/pix2pix_sketch
"""

from ganjax import config as configs


def get_config():
  config = configs.base('pix2pix_sketch')
  config.steps = 30_000
  config.batch_size = 8
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'sketches'
  config.data.of = 'emoji'
  config.data.split = 'rest'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(
    name='pix2pix',
    width=32,
    width_D=32,
    downs=4,
    layers_D=2,
    norm='instance',
    dropout_levels=(0,),
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='pix2pix', loss='non_saturating', l1_weight=100.0)
  # The rate falls to 0 over the second half.
  lr = dict(start=2e-4, end=0.0, begin=15_000, steps=15_000, shape='linear')
  config.optim.G = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.ema.update(half_life_images=5000, rampup=0.05)
  config.eval.split = 'test'
  return config
