"""WaveGAN on procedural notes of half a second at 8 kHz, conditional on their pitch. Needs no download and no GPU.

Paper: Donahue, McAuley, Puckette 2019, arXiv:1802.04208, which reports an inception score of 4.67 on spoken digits. No
results are published for these notes. Differences from the paper: narrower networks, a quarter of the length, and
classes: the label goes to G beside z, and D has a projection.

Samples have the pitch asked for, and the envelopes of sines, plucked strings and drums. Their spectrograms show noise
between the harmonics that the data do not have: `fd_notes` is far above the value of held-out notes.

    python train.py --config configs/wavegan_notes.py --workdir runs/notes
"""

from ganjax import config as configs


def get_config():
  config = configs.base('wavegan_notes')
  config.steps = 20_000
  config.batch_size = 16
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'notes'
  config.data.update(length=4096, rate=8000, lowest=72, pitches=12, count=4608)
  config.eval.split = 'test'

  config.networks = dict(
    name='wavegan',
    width=8,
    width_D=8,
    shuffle=2,
    post_taps=0,
    num_classes=12,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=100, loss='wasserstein', n_critic=3)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=3e-4, b1=0.5, b2=0.9)
  config.optim.D = configs.adam(lr=3e-4, b1=0.5, b2=0.9)
  config.ema.update(half_life_images=2000)
  return config
