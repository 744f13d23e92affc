"""vid2vid on emoji that fly and bounce, from their edges to their colours, 32x32. Needs no download and no GPU.

Paper: Wang, Liu, Zhu et al. 2018, arXiv:1808.06601. No results are published for these data. The clips are computed on
the fly from the emoji that ganjax ships, so the true flow is known. The flow losses use it, where the paper has
FlowNet2, and it is the condition of the clip discriminators. Differences from the paper: an eighth of the width, two
residual blocks, one scale of the discriminators, instance norm, one resolution, clips of one length, no foreground and
no VGG19. A tenth of the emoji is held out, and the grids show these.

It was not trained to the end yet, so the quality of its samples is unknown.

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
