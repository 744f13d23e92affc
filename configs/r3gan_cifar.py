"""R3GAN on CIFAR-10, 32x32, 10 classes.

Paper: Huang, Gokaslan, Kuleshov and Tompkin 2024, arXiv:2501.05441, table 6, row Config E: FID 1.96, 50,000 fakes
against the 50,000 training images, NVIDIA's Inception (preset `stylegan`). The recipe follows table 9 and the authors'
code (brownvc/R3GAN, preset CIFAR10): 250 million images. Learning rate, beta 2, gamma, augmentation and average change
over the first 20 million.

Differences from that code: it computes in 16 bits except at 4x4 pixels; here one networks.dtype holds for all stages.
It draws new real images for G's loss; here G's step sees the real images of D's step. It adds cutout to `bgc` and draws
colour transforms half as often. Its R1 and R2 see the same augmented images as its loss; here they are augmented anew.

    python train.py --config configs/r3gan_cifar.py --workdir runs/r3gan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('r3gan_cifar')
  config.batch_size = 512
  config.steps = 488_281  # 250 million images

  def ramp(start, end):
    return dict(start=start, end=end, steps=39_062, shape='cosine')  # 20 million images

  config.data.dataset = 'cifar10'
  config.data.resolution = 32
  config.data.flip = True

  config.networks = dict(
    name='r3gan',
    width=768,
    blocks=2,
    cardinality=96,
    expansion=2,
    num_classes=10,
    embed_dim=64,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=64, loss='relativistic', n_critic=1, fakes_per_real=1)
  config.method.penalties = dict(r1=ramp(0.05, 0.005), r2=ramp(0.05, 0.005))
  config.method.ada = dict(pipe='bgc', p=ramp(0.0, 0.55))
  config.optim.G = configs.adam(lr=ramp(2e-4, 5e-5), b1=0.0, b2=ramp(0.9, 0.99))
  config.optim.D = configs.adam(lr=ramp(2e-4, 5e-5), b1=0.0, b2=ramp(0.9, 0.99))
  config.ema = dict(half_life_images=ramp(0, 5_000_000), rampup=0.0, start_steps=0)
  return config
