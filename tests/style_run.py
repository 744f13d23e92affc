"""Untrained runs in memory and on disk: StyleGAN2 of 8x8 pixels, with classes or without."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from ganjax import config as configs
from ganjax import experiment, run_record
from ganjax.devices import sharding
from ganjax.workdir.checkpoint import Checkpoints

LAYERS, WIDTH, CLASSES = 4, 6, 3


def config(name='stylegan2', classes=0):
  made = configs.base('tiny')
  made.data.dataset, made.data.data_dir = 'folder', '/not/there'
  made.data.resolution, made.batch_size, made.steps = 8, 4, 4
  if name == 'stylegan2':
    made.networks = dict(
      name=name, width=8, w_dim=WIDTH, mapping_layers=1, mapping_layers_D=1, num_classes=classes
    )
  else:
    made.networks = dict(name='mlp', width=10)
  made.method = dict(name=name, z_dim=5)
  made.optim.G = made.optim.D = configs.adam(lr=1e-3, b1=0.0, b2=0.9)
  return made


@functools.cache
def start():
  """(experiment, state) with classes: random weights. Noise is seen, the mean style is 0.5, few pixels saturate."""
  run = experiment.build(config(classes=CLASSES))

  def move(path, x):
    name = jax.tree_util.keystr(path)
    if 'noise_strength' in name:
      return x + 0.3
    if name.endswith("_torgb']['kernel']"):
      return x / 4
    return x + 0.5 if 'w_avg' in name else x

  state = jax.jit(run.init)(jax.random.key(0))
  params, stats = (jax.tree_util.tree_map_with_path(move, x) for x in (state.params, state.stats))
  ema = {n: {'params': params[n], 'stats': stats[n]} for n in state.ema}
  ema = jax.tree.map(jnp.copy, ema)
  return run, state.replace(params=params, stats=stats, ema=ema, step=jnp.int32(4))


def save(run, state, workdir) -> Path:
  """A workdir as training leaves it."""
  mesh = sharding.make_mesh(jax.devices()[:1])
  described = {'name': run.config.name, 'config': run_record.to_json(run.config)}
  workdir.mkdir()
  (workdir / 'config.json').write_text(json.dumps(described))
  with Checkpoints(workdir) as checkpoints:
    checkpoints.save(4, sharding.replicate(state, mesh), {'config': described['config']})
  return workdir
