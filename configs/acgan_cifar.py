"""AC-GAN, the auxiliary classifier GAN, with residual networks on CIFAR-10, 32x32, 10 classes.

Paper: Odena et al. 2016, arXiv:1610.09585, section 4.5: IS 8.25 +- 0.07 on CIFAR-10. The recipe follows the supervised
run of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, table 3: IS 8.42 +- 0.10) and its authors' code: gradient
penalty and conditional batch norm. The class loss has weight 1 on reals in D, and 0.1 on fakes in G. In the AC-GAN
paper D classifies fakes too. No FID is published for this recipe.

    python train.py --config configs/acgan_cifar.py --workdir runs/acgan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('acgan_cifar')
  config.steps = 100_000
  config.batch_size = 64

  config.data.dataset = 'cifar10'
  config.data.resolution = 32

  config.networks = dict(
    name='resnet',
    num_classes=10,
    head='classifier',
    width=128,
    width_D=128,
    spectral=False,
    pool='mean',
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='gan',
    z_dim=128,
    loss='wasserstein',
    n_critic=5,
    fakes_per_real=2,
    penalties=dict(gradient_penalty=10.0),
    class_loss=dict(name='auxiliary_classifier', D=1.0, D_fake=0.0, G=0.1),
  )
  config.optim.G = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  config.optim.D = configs.adam(lr=2e-4, b1=0.0, b2=0.9, decay='linear')
  return config
