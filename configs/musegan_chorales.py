"""MuseGAN on procedural chorales, or on Bach's: two bars for four voices. Needs no download and no GPU.

Paper: Dong, Hsiao, Yang, Yang 2018, arXiv:1709.06298, and its authors' later code; `networks/musegan.py` says what is
from which. The paper compares statistics of notes with its data, songs of pop music. No results are published for these
chorales. Differences from the paper: narrower networks, a resolution of sixteenth notes, and fewer updates of D.

Samples keep to the key and to the order of the voices. They have more short notes than the data.

Bach's chorales are `--config.data.bach=True` and need music21: `pip install '.[music]'`.

    python train.py --config configs/musegan_chorales.py --workdir runs/chorales
"""

from ganjax import config as configs


def get_config():
  config = configs.base('musegan_chorales')
  config.steps = 10_000
  config.batch_size = 32
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'chorales'
  config.data.update(bars=2, steps=4, count=4096, bach=False)
  config.eval.split = 'test'

  config.networks = dict(name='musegan', width=4, width_D=4, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=128, loss='wasserstein', n_critic=3)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=1e-3, b1=0.5, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=1e-3, b1=0.5, b2=0.9, decay='linear')
  config.ema.update(half_life_images=2000)
  return config
