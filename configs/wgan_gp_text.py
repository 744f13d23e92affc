"""WGAN-GP on lines of text, character by character: the captions of the emoji that ganjax ships, or any text file.

Paper: Gulrajani et al. 2017, arXiv:1704.00028, its section on discrete data (table 4: lines of 32 characters of the
Billion Word Benchmark), and, from memory, the authors' gan_language.py: width 512, 10 updates of D a step, Adam with a
learning rate of 1e-4. The paper shows samples, and the Jensen-Shannon divergence of n-grams as curves. Narrower here,
with 3 updates of D and a learning rate of 3e-4, for two CPU cores. Needs no download.

Your own text file is `--config.data.data_dir=./FILE`.

Trained here to the end: its lines look like captions. Their short words are often real ones, their long words are not.
Some lines have characters that the data lack. A tenth of the captions is held out and gives the floor.

    python train.py --config configs/wgan_gp_text.py --workdir runs/text
"""

from ganjax import config as configs


def get_config():
  config = configs.base('wgan_gp_text')
  config.steps = 12_000
  config.batch_size = 32
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'lines'
  config.data.split = 'rest'
  config.data.update(length=32, lower=True)

  config.networks = dict(name='characters', width=64, dtype='auto', param_dtype='float32')
  config.method = dict(name='gan', z_dim=128, loss='wasserstein', n_critic=3)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=3e-4, b1=0.5, b2=0.9)
  config.optim.D = configs.adam(lr=3e-4, b1=0.5, b2=0.9)
  return config
