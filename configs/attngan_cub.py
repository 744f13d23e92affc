"""AttnGAN on birds, CUB-200-2011, 64, 128 and 256 pixels, from ten sentences a picture.

Paper: Xu et al. 2018, arXiv:1711.10485, table 3: inception score 4.36 on CUB, and R-precision 67.82 % by the encoders
that G was trained with. Both are from memory. The schedule is the one of the authors' code: 600 epochs of batches of
20, with averages of 0.999 a step. Differences from that code: the encoders use EfficientNet-Lite0, not Inception-v3.
They are trained within the run, with batches of 20 instead of 48, without a new optimizer each epoch and without
clipping of the LSTM's gradients. A sentence of more than 18 words is cut; the code leaves out random words. Small
pictures are means of pixels.

`data.data_dir` has the folders train (8,855 pictures of 150 classes) and test (2,933 of the other 50). Each has a
folder for each class. A picture's sentences are next to it in NAME.txt, one per line.

    python train.py --config configs/attngan_cub.py --workdir runs/attngan_cub --config.data.data_dir=CUB
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('attngan_cub')
  config.steps = 300_000
  config.batch_size = 20

  config.data.dataset = 'captions'
  config.data.resolution = 256
  config.data.flip = True
  config.data.captions_path = config_dict.placeholder(str)
  config.data.encoder = 'ngrams'
  config.data.encoder_path = config_dict.placeholder(str)
  config.data.text_size = config_dict.placeholder(int)
  config.data.words = 18

  config.networks = dict(
    name='attngan',
    sides=(64, 128, 256),
    width=32,
    width_D=64,
    residuals=2,
    vocabulary=16384,
    embedding=300,
    features=256,
    dropout=0.5,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='attngan',
    z_dim=100,
    condition_dim=100,
    pretrain=34_000,
    damsm_weight=5.0,
    kl_weight=1.0,
    network='efficientnet_lite0',
    side=288,
    alike='label',
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  # Times 0.98 an epoch there, down to a tenth.
  lr = dict(start=2e-3, end=2e-4, steps=34_000, shape='linear')
  config.optim.damsm = configs.adam(lr=lr, b1=0.5, b2=0.999)
  config.ema.update(half_life_images=13_860)
  config.eval.split = 'test'
  return config
