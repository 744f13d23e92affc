"""DF-GAN on photographs, COCO 2014, 256x256, from five sentences a picture.

Paper: Tao et al. 2022, arXiv:2008.05865, table 1: FID 19.32; the authors' later code 15.41. They measure it on 30,000
samples for captions of val2014, with latents truncated at 2 and scaled by 0.88:
`ganjax evaluate ... --option truncation=2 --option scale=0.88`. Difference from the published code: all-MiniLM-L6-v2
encodes the captions, instead of an LSTM that the authors trained on these data.

`data.data_dir` has the folders train2014 and val2014. `data.captions_path` is the annotation file of each.

    python train.py --config configs/dfgan_coco.py --workdir runs/dfgan_coco --config.data.data_dir=COCO \\
      --config.data.captions_path=COCO/annotations/captions_{split}.json
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('dfgan_coco')
  config.steps = 778_000  # 301 epochs
  config.batch_size = 32

  config.data.dataset = 'captions'
  config.data.split = 'train2014'
  config.data.resolution = 256
  config.data.flip = True
  config.data.captions_path = config_dict.placeholder(str)
  config.data.encoder = 'minilm'
  config.data.encoder_path = config_dict.placeholder(str)
  config.data.text_size = config_dict.placeholder(int)

  config.networks = dict(name='dfgan', width=32, width_D=32, dtype='auto', param_dtype='float32')
  config.method = dict(name='dfgan', z_dim=100, gp_weight=2.0, gp_power=6.0)
  config.optim.G = configs.adam(lr=1e-4, b1=0.0, b2=0.9)
  config.optim.D = configs.adam(lr=4e-4, b1=0.0, b2=0.9)
  config.eval.split = 'val2014'
  return config
