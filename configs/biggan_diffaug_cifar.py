"""BigGAN with DiffAugment on CIFAR-10, 32x32, 10 classes.

Paper: Zhao et al. 2020, arXiv:2006.10738: FID 8.70 with 10,000 fakes against the test set; 14.04 with 20 % of the
data (`--config.data.fraction=0.2`), 22.40 with 10 %. The recipe follows StudioGAN (BigGAN-DiffAug.yaml), which reports
FID 3.35, IS 10.03: 50,000 fakes against the training set, standing statistics, its best checkpoint. G has 9.42 million
parameters, D 2.42 million.

In StudioGAN's D the residual shortcuts see relu(x), because its ReLU works in place. So do they here. In the paper and
in BigGAN-PyTorch they see x (`--config.networks.relu_skip=False`).

    python train.py --config configs/biggan_diffaug_cifar.py --workdir runs/biggan_diffaug
"""

from ganjax import config as configs


def get_config():
  config = configs.base('biggan_diffaug_cifar')
  config.steps = 200_000
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  config.networks = dict(
    name='biggan',
    num_classes=10,
    width=96,
    width_D=96,
    shared_dim=128,
    attention=16,
    relu_skip=True,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='gan',
    z_dim=80,
    loss='hinge',
    n_critic=5,
    fakes_per_real=1,
    diffaugment='color,translation,cutout',
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  # 0.9999 a step of 64 images, from step 1,000: StudioGAN's average.
  config.ema.update(half_life_images=443_600, start_steps=1000)
  return config
