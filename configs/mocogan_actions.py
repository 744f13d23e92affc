"""MoCoGAN with an action label on your own clips, in a folder for each action, 16 frames of 64x64.

Paper: Tulyakov, Liu, Yang, Kautz 2018, arXiv:1707.04993. The authors' code has clips of four actions of the Weizmann
data. It takes each second frame, so a clip needs at least 31. No results are known for these clips. Differences from
that code: a step has 10 clips and one frame of each, instead of 3 clips and 10 frames. G always has the category loss
(`--use_infogan` there).

A clip is a file such as actions/walk/anna.mp4, or a folder of frames such as actions/walk/anna/0001.png. For a number
of actions other than 4 set `--config.networks.num_classes=N`. Films need ffmpeg: `pip install '.[video]'`.

It was not trained, so the quality of its samples is unknown.

    python train.py --config configs/mocogan_actions.py --workdir runs/actions --config.data.data_dir=./actions
"""

from ganjax import config as configs


def get_config():
  config = configs.base('mocogan_actions')
  config.steps = 100_000
  config.batch_size = 10

  config.data.dataset = 'clips'
  config.data.resolution = 64
  config.data.frames = 16
  config.data.stride = 2
  config.data.rate = 10

  config.networks = dict(
    name='mocogan', width=64, width_D=64, num_classes=4, dtype='auto', param_dtype='float32'
  )
  config.method = dict(name='mocogan', z_dim=50, motion_dim=10, frames_per_clip=1)
  config.optim.G = configs.adam(lr=2e-4, b1=0.5, b2=0.999, weight_decay=1e-5)
  config.optim.D = configs.adam(lr=2e-4, b1=0.5, b2=0.999, weight_decay=1e-5)
  return config
