"""3D-GAN on boxes, tori, chairs, tables and planes by formula, 32 voxels a side, for two CPU cores.

Paper: Wu, Zhang, Xue, Freeman, Tenenbaum 2016, arXiv:1610.07584, section 3.1: 64 voxels a side, width 64, batches of
100, rates of 0.0025 for G and 1e-5 for D, which is left as it is where it tells more than 80 % right. No figure is
known for these solids. Narrower here, in smaller batches, with rates closer together, one pair of networks for all five
classes, and z of mean 0 (networks/gan3d.py says why). It needs no download; solids of one's own are
`--config.data.data_dir=FOLDER`, of .npz or .binvox files.

    python train.py --config configs/gan3d_solids.py --workdir runs/solids
"""

from ganjax import config as configs


def get_config():
  config = configs.base('gan3d_solids')
  config.steps = 10_000
  config.batch_size = 32
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'solids'
  config.data.resolution = 32
  config.data.channels = 1
  config.data.update(count=2000)
  config.eval.split = 'test'

  config.networks = dict(
    name='gan3d', width=8, width_D=8, num_classes=5, dtype='auto', param_dtype='float32'
  )
  config.method = dict(name='gan', z_dim=200, loss='non_saturating', most_right_D=0.8)
  config.optim.G = configs.adam(lr=5e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.ema.update(half_life_images=2000)
  return config
