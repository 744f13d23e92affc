"""SpecGAN of half a second at 8 kHz on notes by formula, conditional on their pitch, for two CPU cores.

Paper: Donahue, McAuley, Puckette 2019, arXiv:1802.04208, section 3.3, which reports an inception score of 6.03 on
spoken digits; no figure is known for these notes. Spectra of 64 times by 64 frequencies where the paper has 128 by 128,
narrower, and with classes as in wavegan_notes. Phases take 64 rounds of Griffin and Lim: after the paper's 16 a third
of the data's own notes is no longer heard at its pitch. It needs no download.

It was not trained to the end here yet: what its sounds become was not seen.

    python train.py --config configs/specgan_notes.py --workdir runs/spectra
"""

from ganjax import config as configs


def get_config():
  config = configs.base('specgan_notes')
  config.steps = 20_000
  config.batch_size = 16
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'notes'
  config.data.update(length=4096, rate=8000, lowest=72, pitches=12, count=4608)
  config.eval.split = 'test'

  config.networks = dict(
    name='specgan',
    width=8,
    width_D=8,
    rounds=64,
    num_classes=12,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=100, loss='wasserstein', n_critic=3)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=3e-4, b1=0.5, b2=0.9)
  config.optim.D = configs.adam(lr=3e-4, b1=0.5, b2=0.9)
  return config
