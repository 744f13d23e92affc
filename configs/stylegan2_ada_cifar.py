"""StyleGAN2 with adaptive augmentation (ADA) on CIFAR-10, 32x32, 10 classes.

Paper: Karras et al. 2020, arXiv:2006.06676, figure 11b, the row with tuning: FID 2.42 (abstract; 50,000 fakes against
the training images). The recipe follows the setting `cifar` of the authors' code (NVlabs/stylegan2-ada, train.py): no
style mixing, no path length regularization, a D without residual blocks, 100 million images. G's optimizer is still
scaled as for path length regularization. D's class embedding has no layers behind it; in the authors' PyTorch code it
has 8 (`--config.networks.mapping_layers_D=8`). G has 20.22 million parameters, D 20.99 million.

    python train.py --config configs/stylegan2_ada_cifar.py --workdir runs/stylegan2_ada_cifar
"""

from ganjax import config as configs


def get_config():
  config = configs.base('stylegan2_ada_cifar')
  config.batch_size = 64
  config.steps = 1_562_500  # 100 million images

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='stylegan2',
    num_classes=10,
    width=512,
    channel_base=32768,
    w_dim=512,
    mapping_layers=2,
    mapping_layers_D=0,
    architecture='skip',
    architecture_D='orig',
    mbstd_group=32,
    clamp=256.0,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='stylegan2',
    z_dim=512,
    r1_gamma=0.01,
    r1_every=16,
    path_weight=0.0,
    mixing=0.0,
    ada=dict(pipe='bgc', target=0.6, interval=4, images=500_000),
  )
  config.optim.G = configs.adam(lr=0.0025, b1=0.0, b2=0.99, lazy_every=4)
  config.optim.D = configs.adam(lr=0.0025, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=500_000, rampup=0.05, start_steps=0)
  return config
