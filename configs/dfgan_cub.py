"""DF-GAN on birds, CUB-200-2011, 256x256, from ten sentences a picture.

Paper: Tao et al. 2022, arXiv:2008.05865, table 1: FID 14.81; the authors' later code 12.10. They measure it on 30,000
samples for captions of the test classes, with latents truncated at 2 and scaled by 0.88:
`ganjax evaluate ... --option truncation=2 --option scale=0.88`. Difference from the published code: all-MiniLM-L6-v2
encodes the captions, instead of an LSTM that the authors trained on these data. To use the LSTM's vectors, add
`--config.data.encoder=vectors --config.data.encoder_path=FILE.npz --config.data.text_size=256`.

`data.data_dir` has the folders train (8,855 pictures of 150 classes) and test (2,933 of the other 50). A picture's
sentences are next to it in NAME.txt, one per line.

    python train.py --config configs/dfgan_cub.py --workdir runs/dfgan_cub --config.data.data_dir=CUB
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('dfgan_cub')
  config.steps = 360_000  # 1,301 epochs
  config.batch_size = 32

  config.data.dataset = 'captions'
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
  config.eval.split = 'test'
  return config
