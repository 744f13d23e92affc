"""A small DVD-GAN on emoji that fly and bounce, 16 frames of 32x32. Needs no download and no GPU.

Paper: Clark, Donahue, Simonyan 2019, arXiv:1907.06571, which trains on Kinetics-600 with large batches. No results are
published for these data. Differences from the paper: narrower networks without classes and self-attention, recurrence
over time only at maps of 4 and 8 pixels, and one update of the discriminators a step.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/dvdgan_emoji.py --workdir runs/dvdgan_emoji
"""

from ganjax import config as configs


def get_config():
  config = configs.base('dvdgan_emoji')
  config.steps = 20_000
  config.batch_size = 8
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'moving'
  config.data.resolution = 32
  config.data.frames = 16
  config.data.rate = 10

  config.networks = dict(
    name='dvdgan', width=8, width_D=8, recurrent=(4, 8), dtype='auto', param_dtype='float32'
  )
  config.method = dict(name='dvdgan', z_dim=120, frames_per_clip=4, n_critic=1)
  config.optim.G = configs.adam(lr=1e-4, b1=0.0, b2=0.999)
  config.optim.D = configs.adam(lr=5e-4, b1=0.0, b2=0.999)
  config.ema.update(half_life_images=5000, rampup=0.05)
  return config
