"""MuseGAN on your own music: four bars of drums, piano, guitar, bass and strings, from a folder of MIDI files.

Paper: Dong, Hsiao, Yang, Yang 2018, arXiv:1709.06298. Networks and constants are from its authors' later code: 12 steps
a beat, 84 pitches, 5 updates of D a step, a gradient penalty of 10, batches of 64, Adam with learning rate 1e-3 that
falls to 0 from step 45,000 to 50,000. The paper trains on 50,266 phrases of songs in 4/4, transposed to C (from
memory). Here nothing is transposed, and a bar is four beats in every time signature.

MIDI files need mido: `pip install '.[music]'`.

    python train.py --config configs/musegan_folder.py --workdir runs/music --config.data.data_dir=./my_music
"""

from ganjax import config as configs


def get_config():
  config = configs.base('musegan_folder')
  config.steps = 50_000
  config.batch_size = 64

  config.data.dataset = 'rolls'
  config.data.update(bars=4, steps=12, pitches=84, voices=5)

  config.networks = dict(name='musegan', width=16, width_D=16, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=128, loss='wasserstein', n_critic=5)
  config.method.penalties = dict(gradient_penalty=10.0)
  rate = dict(start=1e-3, end=0.0, begin=45_000, steps=5_000, shape='linear')
  config.optim.G = configs.adam(lr=rate, b1=0.5, b2=0.9)
  config.optim.D = configs.adam(lr=dict(rate), b1=0.5, b2=0.9)
  return config
