"""CAN on the emoji that ganjax ships, 64x64, in three drawing styles: drawings that fit none of them.

Paper: Elgammal, Liu, Elhoseiny, Mazzone 2017, arXiv:1706.07068. It reports the opinions of people, no metric.
Differences from the paper: 64 pixels instead of 256, narrower networks, and three styles of emoji instead of 25 of
paintings.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/can_emoji.py --workdir runs/can_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('can_emoji')
  config.steps = 20_000
  config.batch_size = 32
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'emoji'
  config.data.resolution = 64
  config.data.flip = True
  config.data.labels = 'style'

  config.networks = dict(
    name='can',
    num_classes=3,
    width=32,
    width_D=16,
    hidden=(128,),
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='can', z_dim=100, ambiguity=1.0, ambiguity_loss='cross_entropy')
  config.optim.G = configs.adam(lr=1e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=1e-4, b1=0.5, b2=0.999)
  return config
