"""CycleGAN on horse2zebra, 256x256: both ways, without pairs.

Paper: Zhu, Park, Isola, Efros 2017, arXiv:1703.10593, section 7: 100 epochs at 2e-4, then 100 over which the learning
rate falls to 0, of 1,334 steps each. The paper has no FID. MMGeneration's README reports FID 62.1 for the authors'
weights, horse to zebra, and 64.5 for its own: 120 fakes against 140 real pictures of the test split. With so few,
differences of three points are noise. The identity loss has half the weight of the cycle loss (10), as in the authors'
code.

    python train.py --config configs/cyclegan_horse2zebra.py --workdir runs/horse2zebra

The data come from the TFDS catalogue. For your own folders add --config.data.source=./FOLDER and
--config.data.target=./FOLDER. Such a path begins with `./`, `/` or `~`.
"""

from ganjax import config as configs


def get_config():
  config = configs.base('cyclegan_horse2zebra')
  config.steps = 266_800
  config.batch_size = 1
  config.log_every_steps = 100
  config.sample_every_steps = 2000
  config.checkpoint_every_steps = 2000

  config.data.dataset = 'unpaired'
  config.data.source = 'cycle_gan/horse2zebra:{split}A'
  config.data.target = 'cycle_gan/horse2zebra:{split}B'
  config.data.resolution = 256
  config.data.jitter = 30
  config.data.flip = True

  config.networks = dict(
    name='cyclegan',
    width=64,
    width_D=64,
    blocks=9,
    layers_D=3,
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
  lr = dict(start=2e-4, end=0.0, begin=133_400, steps=133_400, shape='linear')
  config.optim.G = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
