"""A shrunk run of configs/dcgan_cifar.py in float64, for test_devices.py; as a script, one process of several."""

import runpy
import sys
from pathlib import Path

import jax
import numpy as np

from ganjax import data, experiment, run_state
from ganjax.devices import processes, sharding
from ganjax.training.feed import Feed
from ganjax.update import active

CONFIG = Path(__file__).resolve().parents[1] / 'configs/dcgan_cifar.py'
STEPS = 20


def build(dtype):
  """The recipe of dcgan_cifar (flips, two fakes a real image, decaying rate) with an average, and few channels."""
  config = runpy.run_path(str(CONFIG))['get_config']()
  config.update(steps=STEPS, batch_size=8)
  config.networks.update(width=4, dtype=dtype, param_dtype=dtype)
  # Biases before a batch norm have no gradient but round-off, which Adam multiplies by up to lr / eps a step.
  config.optim.G.eps = config.optim.D.eps = 1e-6
  config.ema.update(half_life_images=30, rampup=0.5)
  return experiment.build(config)


class Pictures:
  """A source of 50 pictures in memory, which notes the rows that are read: epochs end inside batches of 8."""

  num_examples = 50

  def __init__(self):
    rng = np.random.default_rng(0)
    self._images = rng.integers(0, 256, (self.num_examples, 32, 32, 3), np.uint8)
    self.reads = []

  def rows(self, seed, start, count):
    return data.indices(seed, start, count, self.num_examples)

  def read_rows(self, rows):
    return self.read(rows)

  def read(self, indices):
    self.reads.append(np.asarray(indices))
    return {'image': self._images[indices], 'label': np.zeros(len(indices), np.int32)}


def train(run, source, mesh, steps, update=None):
  """(state, [metrics of each step]) of the first `steps` steps, as host arrays but for the key."""
  span, seen = run.spans[0], []
  feed = Feed(source, span, run.method.n_critic, run.config.data.seed, mesh, 0)
  try:
    with jax.set_mesh(mesh):
      state, _, _ = run_state.start(run, mesh)
      update = update or run.update(span)
      for step in range(steps):
        state, metrics = update(state, feed.next(), {}, phases=active(span.stage, step))
        seen.append(metrics)
  finally:
    feed.close()
  return jax.device_get((state.replace(key=jax.random.key_data(state.key)), seen))


def main(out):
  processes.start()
  source = Pictures()
  result = train(build('float64'), source, sharding.make_mesh(), STEPS)
  reads = np.concatenate(source.reads[:STEPS])
  np.savez(out, reads, jax.process_count(), jax.device_count(), *jax.tree.leaves(result))


if __name__ == '__main__':
  main(*sys.argv[1:])
