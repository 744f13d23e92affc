"""SNGAN with residual networks on STL-10, 48x48, its 100,000 unlabelled images.

Paper: Miyato et al. 2018, arXiv:1802.05957, table 2: FID 40.1 +- 0.50, IS 9.10 +- 0.04, 5,000 fakes against 10,000 real
images. The recipe follows torch-mimicry, which reports FID 39.56, IS 8.04, 50,000 fakes against 50,000 images.

    python train.py --config configs/sngan_stl10.py --workdir runs/sngan_stl10
"""

from ganjax import config as configs


def get_config():
  config = configs.base('sngan_stl10')
  config.steps = 100_000
  config.batch_size = 64

  config.data.dataset = 'stl10'
  config.data.split = 'unlabelled'
  config.data.resolution = 48

  config.networks = dict(
    name='resnet',
    width=64,
    width_D=64,
    spectral=True,
    pool='sum',
    dtype='auto',
    param_dtype='float32',
  )
  # D trains five times a step.
  config.method = dict(name='gan', z_dim=128, loss='hinge', n_critic=5, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  return config
