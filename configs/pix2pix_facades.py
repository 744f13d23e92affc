"""pix2pix on CMP facades, from labels to photos, 256x256, from pairs.

Paper: Isola, Zhu, Zhou, Efros 2017, arXiv:1611.07004, section 6.2: 200 epochs of 400 pairs, batches of one. It shows
facades and reports no metric for them. MMGeneration's README reports FID 119.1 for the authors' weights and 125.0 for
its own, on the test pictures. These are few, so such values are rough.

A file has the photo in its left half and the labels in its right half, so the direction is BtoA. Batch norm uses the
statistics of the one picture, in training and, as in the paper, in sampling.

    python train.py --config configs/pix2pix_facades.py --workdir runs/facades --config.data.data_dir=FACADES

FACADES is a folder with the folders train, val and test, as the authors' download has them.

The samples and values on this page are from a smaller run: 128 pixels, half the width, seven halvings, instance norm,
batches of four, and 120 epochs over which the learning rate falls to 0. It took two hours on two busy CPU cores.
Windows, ledges and balconies appear where the labels have them. Walls show a grid artefact of the upsampling. Pictures:
CMP Facade Database (Tylecek and Sara 2013).

    ganjax train pix2pix_facades --workdir runs/facades --config.data.data_dir=FACADES --config.data.resolution=128 \\
      --config.data.jitter=16 --config.networks.downs=7 --config.networks.width=32 --config.networks.width_D=32 \\
      --config.networks.norm=instance --config.networks.dropout_levels='(0,1)' --config.batch_size=4 \\
      --config.steps=12000 --config.optim.G.decay=linear --config.optim.D.decay=linear
"""

from ml_collections import config_dict

from ganjax import config as configs


def get_config():
  config = configs.base('pix2pix_facades')
  config.steps = 80_000
  config.batch_size = 1
  config.log_every_steps = 100
  config.sample_every_steps = 2000
  config.checkpoint_every_steps = 2000

  config.data.dataset = 'pairs'
  config.data.direction = 'BtoA'
  # Two folders of pictures with the same names, instead of data_dir.
  config.data.source = config_dict.placeholder(str)
  config.data.target = config_dict.placeholder(str)
  config.data.resolution = 256
  config.data.jitter = 30
  config.data.flip = True

  config.networks = dict(
    name='pix2pix',
    width=64,
    width_D=64,
    downs=8,
    layers_D=3,
    norm='batch',
    dropout_levels=(0, 1, 2),
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='pix2pix', loss='non_saturating', l1_weight=100.0, own_statistics=True)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.eval.split = 'test'
  return config
