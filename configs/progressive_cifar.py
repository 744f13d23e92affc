"""Progressive growing on CIFAR-10, from 4x4 to 32x32, unconditional.

Paper: Karras et al. 2017, arXiv:1710.10196: inception score 8.80 in the best run. The recipe follows the CIFAR-10
setting of the authors' Theano code, which gave that value: G and D have 1.30 million parameters each and are updated
together; gradients are held near 750; 20 million images, not mirrored. Difference from that code: pictures of lower
levels are resized with Lanczos, not averaged.

    python train.py --config configs/progressive_cifar.py --workdir runs/progressive_cifar
"""

from ganjax import config as configs


def get_config():
  config = configs.base('progressive_cifar')
  config.batch_size = 16
  config.steps = 1_250_000  # 20 million images

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='progressive',
    width=128,
    channel_base=8192,
    mbstd_group=16,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='progressive',
    z_dim=128,
    steady_images=400_000,
    fade_images=400_000,
    loss='wasserstein',
    gp_weight=10.0,
    gp_target=750.0,
    drift=0.001,
    together=True,
  )
  config.optim.G = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.optim.D = configs.adam(lr=0.001, b1=0.0, b2=0.99)
  config.ema = dict(half_life_images=11_085, rampup=0.0, start_steps=0)  # 0.999 a step
  return config
