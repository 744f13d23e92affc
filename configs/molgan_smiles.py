"""MolGAN on small molecules: procedural ones, or your own file of SMILES.

Paper: De Cao, Kipf 2018, arXiv:1805.11973, and its authors' code: latents of 8, batches of 128, 4 updates of D a step,
Adam with learning rate 1e-3, a gradient penalty of 10. Its figures are of QM9. The reward is whether a molecule is
valid. It joins G's loss after 2,000 steps, when V has learnt it. No results are known for the procedural molecules.
They have up to 9 atoms of C, N, O and F, as QM9 has.

It needs RDKit: `pip install '.[molecules]'`. For a file of SMILES set `--config.data.data_dir=FILE`.

    python train.py --config configs/molgan_smiles.py --workdir runs/molecules
"""

from ganjax import config as configs


def get_config():
  config = configs.base('molgan_smiles')
  config.steps = 5000
  config.batch_size = 128
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 250

  config.data.dataset = 'molecules'
  config.data.update(atoms=9, elements=4, count=5000)

  kinds = dict(dtype='auto', param_dtype='float32')
  config.networks = dict(name='molgan', width=128, width_D=128, value=True, **kinds)
  config.method = dict(name='molgan', z_dim=8, loss='wasserstein', n_critic=4, reward='valid')
  # The paper's lambda.
  config.method.adversarial = dict(start=1.0, end=0.5, begin=2000, steps=1, shape='linear')
  config.method.penalties = dict(gradient_penalty=10.0)
  config.optim.G = configs.adam(lr=1e-3, b1=0.9, b2=0.999)
  config.optim.D = configs.adam(lr=1e-3, b1=0.9, b2=0.999)
  config.optim.V = configs.adam(lr=1e-3, b1=0.9, b2=0.999)
  config.ema.update(half_life_images=10_000)
  return config
