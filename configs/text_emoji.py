"""DF-GAN, narrow, on the emoji that ganjax ships and their names, 64x64: pictures from text. Needs no download.

Paper: Tao et al. 2022, arXiv:2008.05865. No results are published for these data. Differences from the published code:
a quarter of the width, and captions are encoded by their letters (`ganjax/text/ngrams.py`). This needs no weights and
knows no meanings. `--config.data.encoder=minilm` encodes meaning: `pip install '.[text]'` and its weights. A tenth of
the emoji is held out in all styles, and the grids show these.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/text_emoji.py --workdir runs/text_emoji
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('text_emoji')
  config.steps = 40_000
  config.batch_size = 16
  config.log_every_steps = 50
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'emoji_captions'
  config.data.split = 'rest'
  config.data.resolution = 64
  config.data.encoder = 'ngrams'
  config.data.encoder_path = config_dict.placeholder(str)
  config.data.text_size = config_dict.placeholder(int)

  config.networks = dict(name='dfgan', width=8, width_D=8, dtype='auto', param_dtype='float32')
  config.method = dict(name='dfgan', z_dim=100, gp_weight=2.0, gp_power=6.0)
  config.optim.G = configs.adam(lr=1e-4, b1=0.0, b2=0.9)
  config.optim.D = configs.adam(lr=4e-4, b1=0.0, b2=0.9)
  config.ema.update(half_life_images=20_000, rampup=0.05)
  config.eval.split = 'test'
  return config
