"""DCGAN on CelebA, 64x64, unconditional.

Paper: Radford, Metz, Chintala 2015, arXiv:1511.06434, with the networks of figure 1; it reports no metric on faces. The
schedule follows mmgeneration (configs/dcgan/dcgan_celeba-cropped_64_b128x1_300k.py). It reports no FID but MS-SSIM
0.2899 (10,000 fakes) and SWD 8.93, 10.53, 50.32 (16,384 fakes), on a different crop. Here the crop is the centre
square, and D's convolutions are 5x5 as everywhere in `networks/dcgan.py`.

    python train.py --config configs/dcgan_celeba.py --workdir runs/celeba
"""

from ganjax import config as configs


def get_config():
  config = configs.base('dcgan_celeba')
  config.steps = 300_000
  config.batch_size = 128
  config.sample_every_steps = 2000
  config.checkpoint_every_steps = 2000

  config.data.dataset = 'celeb_a'
  config.data.resolution = 64
  config.data.flip = True

  config.networks = dict(name='dcgan', width=128, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=100, loss='non_saturating', n_critic=1, fakes_per_real=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999)
  return config
