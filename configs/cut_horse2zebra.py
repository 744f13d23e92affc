"""CUT on horse2zebra, 256x256: one way, without pairs.

Paper: Park, Efros, Zhang, Zhu 2020, arXiv:2007.15651, table 1, row CUT: FID 45.5, horse to zebra, best epoch
(recalled, not checked against the paper). Users of the authors' code report 62 to 68 for the last epoch, 120 fakes
against 140 real pictures. Training takes 400 epochs of 1,334 steps; the learning rate falls to 0 over the second half.
FastCUT is nce_weight=10, identity=False, mirrored=True, and half the steps.

    python train.py --config configs/cut_horse2zebra.py --workdir runs/cut

The data come from the TFDS catalogue. For your own folders add --config.data.source=./FOLDER and
--config.data.target=./FOLDER. Such a path begins with `./`, `/` or `~`.
"""

from ganjax import config as configs


def get_config():
  config = configs.base('cut_horse2zebra')
  config.steps = 533_600
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
    name='cut',
    width=64,
    width_D=64,
    blocks=9,
    layers_D=3,
    features=256,
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
  lr = dict(start=2e-4, end=0.0, begin=266_800, steps=266_800, shape='linear')
  config.optim.G = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
