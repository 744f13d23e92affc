"""WaveGAN on your own sounds, windows of a second at 16 kHz, from a folder or zip archive of WAV, FLAC, OGG or MP3.

Paper: Donahue, McAuley, Puckette 2019, arXiv:1802.04208, section 3.2, and the authors' code: 5 updates of D a step, a
gradient penalty of 10, phase shuffle of 2 samples, Adam with learning rate 1e-4. Table 1: an inception score of 4.67 +-
0.01 on spoken digits (SC09), 4.12 without phase shuffle. The paper advises `networks.post_taps=512` against a buzzing
tone.

Sound files need soundfile: `pip install '.[sound]'`.

    python train.py --config configs/wavegan_folder.py --workdir runs/mine --config.data.data_dir=./my_sounds
"""

from ganjax import config as configs


def get_config():
  config = configs.base('wavegan_folder')
  config.steps = 200_000
  config.batch_size = 64

  config.data.dataset = 'sounds'
  config.data.update(length=16_384, rate=16_000, normalize=True, pad=False)

  config.networks = dict(
    name='wavegan',
    width=64,
    width_D=64,
    shuffle=2,
    post_taps=0,
    num_classes=0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=100, loss='wasserstein', n_critic=5)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=1e-4, b1=0.5, b2=0.9)
  config.optim.D = configs.adam(lr=1e-4, b1=0.5, b2=0.9)
  return config
