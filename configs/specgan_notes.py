"""SpecGAN on procedural notes of half a second at 8 kHz, conditional on their pitch. Needs no download and no GPU.

Paper: Donahue, McAuley, Puckette 2019, arXiv:1802.04208, section 3.3, which reports an inception score of 6.03 on
spoken digits. No results are published for these notes. Differences from the paper: spectrograms of 64 times by 64
frequencies instead of 128 by 128, narrower networks, and classes as in wavegan_notes. Phases take 64 iterations of
Griffin-Lim: after the paper's 16, a third of the data's own notes are no longer at their pitch.

Harmonics are clearer than wavegan_notes makes them, and `fd_notes` is about half. Loud notes are clipped, and levels
waver.

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
