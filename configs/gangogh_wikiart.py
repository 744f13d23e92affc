"""GANGogh: paintings of 14 genres, 64x64, by WGAN-GP with a class loss and gates, from a folder of folders.

Source: Jones and Bonafilia 2017, github.com/rkjones4/GANGogh, with its constants. It reports no metric. Differences
from that code: D has no 2,000 updates before G's first. A batch is drawn from all pictures, instead of 6 of each genre.
Fakes have the genres of the batch; there genres are drawn evenly.

Each folder in `data.dataset` is a class. WikiArt has 14 genres; for another number set --config.networks.num_classes.
Without paintings, use the emoji that ganjax ships: --config.data.dataset=emoji --config.networks.num_classes=10.

It was not trained to the end yet, so the quality of its samples is unknown.

    python train.py --config configs/gangogh_wikiart.py --workdir runs/gangogh --config.data.dataset=./wikiart
"""

from ganjax import config as configs


def get_config():
  config = configs.base('gangogh_wikiart')
  config.steps = 200_000
  config.batch_size = 84

  config.data.dataset = 'folder'
  config.data.resolution = 64

  config.networks = dict(
    name='gangogh',
    num_classes=14,
    width=64,
    width_D=64,
    dtype='auto',
    param_dtype='float32',
  )
  config.method = dict(name='gan', z_dim=128, loss='wasserstein', n_critic=5, fakes_per_real=1)
  config.method.penalties = dict(gradient_penalty=10.0)
  config.method.class_loss = dict(name='auxiliary_classifier', D=1.0, D_fake=0.0, G=1.0)
  config.optim.G = configs.adam(lr=1e-4, b1=0.5, b2=0.9)
  config.optim.D = configs.adam(lr=1e-4, b1=0.5, b2=0.9)
  # G is sampled as it is trained, by its batch's statistics.
  config.eval.batch_norm = 'batch'
  return config
