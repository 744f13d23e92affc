"""BigGAN with the data-to-data cross-entropy loss of ReACGAN on CIFAR-10, 32x32, 10 classes.

Paper: Kang et al. 2021, arXiv:2111.01118; its CIFAR-10 result is not known here. The recipe follows StudioGAN
(ReACGAN.yaml), which reports FID 3.87, IS 9.85: 50,000 fakes against the training set, standing statistics, its best
checkpoint. G has 9.42 million parameters, D 2.52 million with its head.

In StudioGAN's D the residual shortcuts see relu(x), because its ReLU works in place. So do they here. In the paper and
in BigGAN-PyTorch they see x (`--config.networks.relu_skip=False`).

    python train.py --config configs/reacgan_cifar.py --workdir runs/reacgan
"""

from ganjax import config as configs


def get_config():
  config = configs.base('reacgan_cifar')
  config.steps = 100_000
  config.batch_size = 128

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
    head='proxy',
    embed_dim=512,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='gan',
    z_dim=80,
    loss='hinge',
    n_critic=5,
    fakes_per_real=1,
    class_loss=dict(name='d2d_ce', D=0.5, G=0.5, temperature=0.5, margin=0.98),
  )
  config.optim.G = configs.adam(lr=2.8284e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2.8284e-4, b1=0.5, b2=0.999)
  # 0.9999 a step of 128 images, from step 1,000: StudioGAN's average.
  config.ema.update(half_life_images=887_200, start_steps=1000)
  return config
