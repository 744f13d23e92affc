"""MuseGAN on chorales by formula, two bars for four voices, for two CPU cores; or on Bach's.

Paper: Dong, Hsiao, Yang, Yang 2018, arXiv:1709.06298, and its authors' later code; networks/musegan.py says what of
them is here. The paper compares counts of notes of its models and of its data, which are songs of pop music;
no figure is known for these chorales. Narrower here, of sixteenth notes, with fewer updates of D. It needs no download.

Bach's chorales are `--config.data.bach=True` and need music21: `pip install '.[music]'`.

It was not trained to the end here yet: what its music becomes was not heard.

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
