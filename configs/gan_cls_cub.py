"""GAN-INT-CLS on birds, CUB-200-2011, 64x64, from ten sentences a picture.

Paper: Reed et al. 2016, arXiv:1605.05396. It reports no FID. Differences from the published code: all-MiniLM-L6-v2
encodes the captions, instead of a network that the authors trained on these data. Mismatched pictures are any others of
the batch, not only of other classes. There are no random crops.

`data.data_dir` is the same as for `dfgan_cub`.

    python train.py --config configs/gan_cls_cub.py --workdir runs/gan_cls_cub --config.data.data_dir=CUB
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('gan_cls_cub')
  config.steps = 83_016  # 600 epochs
  config.batch_size = 64

  config.data.dataset = 'captions'
  config.data.resolution = 64
  config.data.flip = True
  config.data.captions_path = config_dict.placeholder(str)
  config.data.encoder = 'minilm'
  config.data.encoder_path = config_dict.placeholder(str)
  config.data.text_size = config_dict.placeholder(int)

  config.networks = dict(
    name='gan_cls', width=128, width_D=64, text=128, dtype='auto', param_dtype='float32'
  )
  config.method = dict(name='gan_cls', z_dim=100, between=1.0)
  # Halved every 100 epochs.
  lr = dict(start=2e-4, factor=0.5, at=(13_836, 27_672, 41_508, 55_344, 69_180))
  config.optim.G = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
