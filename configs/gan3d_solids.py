"""3D-GAN on procedural boxes, tori, chairs, tables and planes, 32 voxels a side. Needs no download and no GPU.

Paper: Wu, Zhang, Xue, Freeman, Tenenbaum 2016, arXiv:1610.07584, section 3.1; `gan3d_folder` has its constants. No
results are published for these data. Differences from the paper: narrower networks, smaller batches, one pair of
networks for all five classes, and no batch norm in D. The loss is R3GAN's (arXiv:2501.05441): relativistic, with R1 and
R2. With the paper's loss, samples were noise after 1,000 steps.

Your own solids are `--config.data.data_dir=./FOLDER`, of .npz or .binvox files.

    python train.py --config configs/gan3d_solids.py --workdir runs/solids
"""

from ganjax import config as configs


def get_config():
  config = configs.base('gan3d_solids')
  config.steps = 6000
  config.batch_size = 32
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'solids'
  config.data.resolution = 32
  config.data.channels = 1
  config.data.update(count=2000)
  config.eval.split = 'test'

  config.networks = dict(
    name='gan3d',
    width=8,
    width_D=8,
    batch_norm_D=False,
    num_classes=5,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=200, loss='relativistic')
  config.method.penalties = dict(r1=50.0, r2=50.0)
  config.optim.G = configs.adam(lr=5e-4, b1=0.0, b2=0.99, decay='linear')
  config.optim.D = configs.adam(lr=5e-4, b1=0.0, b2=0.99, decay='linear')
  config.ema.update(half_life_images=5000)
  return config
