"""3D-GAN on your own solids, 64 voxels a side, by the paper's constants.

Paper: Wu, Zhang, Xue, Freeman, Tenenbaum 2016, arXiv:1610.07584, section 3.1: width 64, batches of 100, learning rates
of 0.0025 for G and 1e-5 for D. D is not updated on batches where it tells more than 80 % right. The paper trains a pair
of networks for each class of ModelNet, and judges D's features by a classifier. `networks/gan3d.py` says where z and
the last layer differ.

`data.data_dir` is a folder or a zip file of .npz or .binvox files, such as the chairs of ModelNet10.

    python train.py --config configs/gan3d_folder.py --workdir runs/chairs --config.data.data_dir=./chairs
"""

from ganjax import config as configs


def get_config():
  config = configs.base('gan3d_folder')
  config.steps = 50_000
  config.batch_size = 100

  config.data.dataset = 'solids'
  config.data.resolution = 64
  config.data.channels = 1

  config.networks = dict(name='gan3d', width=64, width_D=64, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=200, loss='non_saturating', most_right_D=0.8)
  config.optim.G = configs.adam(lr=2.5e-3, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=1e-5, b1=0.5, b2=0.999)
  return config
