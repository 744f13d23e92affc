"""vid2vid from the edges of emoji that fly and bounce to their colours, 32x32: trains anywhere, with no download.

Paper: Wang, Liu, Zhu et al. 2018, arXiv:1808.06601. No figure is published for these data, which are made as they are
read of the emoji that ganjax ships. So the true flow is known: it is in the losses of flow, where the paper has that of
FlowNet2, and the condition of the discriminators of clips. Against the paper: an eighth of the width, two residual
blocks, one scale of the discriminators, instance norm, one resolution, clips of one length, no foreground and no VGG19.
A tenth of the emoji is held out: the grids show those.

It was not trained to the end here yet: what its clips become was not seen.

    python train.py --config configs/vid2vid_emoji.py --workdir runs/vid2vid_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('vid2vid_emoji')
  config.steps = 10_000
  config.batch_size = 4
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'edges'
  config.data.of = 'moving'
  config.data.resolution = 32
  config.data.size = 20
  config.data.speed = (1.0, 3.0)
  config.data.frames = 7
  config.data.rate = 10

  config.networks = dict(
    name='vid2vid',
    width=16,
    width_D=16,
    downs=2,
    blocks=2,
    layers_D=2,
    scales_D=1,
    rates=2,
    norm='instance',
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='vid2vid', loss='least_squares')
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
