"""The network of `fd_notes`: python benchmarks/notes_classifier.py [--out FILE]

Trains the classifier of ganjax/features/notes.py on procedural notes: 48 pitches from C3 to B6, three instruments,
half a second long, rendered at 16 kHz and at 8 kHz, half of them with white noise. Then prints how many notes of the
test split it names, and writes its float16 parameters, by default in place of the file that ganjax ships.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

import ganjax
from ganjax import config, data, run_record
from ganjax.features import notes
from ganjax.weights import generator_file

STEPS, BATCH, RATE = 1500, 64, 2e-3  # RATE: of Adam, falling to 0 by a cosine
EACH = 32  # training notes of a pitch, an instrument and a rate
SECONDS = 0.5
NOISE = -4, -1  # powers of ten between which the deviation of noise is drawn


def read(split, each, rates=(16_000, 8000)):
  """(float32 [N, T] of the network's rate, int32 [N, 2]: pitch and instrument); `each` a class and rate."""
  sounds, labels = [], []
  for rate in rates:
    count = each * notes.PITCHES * notes.INSTRUMENTS
    source = data.build(
      dataset='notes', split=split, length=int(SECONDS * rate), rate=rate, count=count,
      lowest=notes.LOWEST, pitches=notes.PITCHES, cache=False,
    )  # fmt: skip
    found = source.read(np.arange(count))
    sounds.append(notes.resample(found['sound'][..., 0] / np.float32(2**15), rate))
    labels.append(np.stack([found['label'], found['instrument']], 1))
  return np.concatenate(sounds), np.concatenate(labels)


def train(sounds, labels, steps=STEPS, seed=0):
  """Trains on float32 [N, T] and int32 [N, 2]; returns the parameters. The same seed gives the same ones."""
  network = notes.Classifier()
  optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))
  cross_entropy = optax.softmax_cross_entropy_with_integer_labels

  @jax.jit
  def init(key):
    return network.init(key, jnp.zeros((1, sounds.shape[1])))['params']

  @jax.jit
  def step(params, opt, x, labels, key):
    which, level, noise = jax.random.split(key, 3)
    size = 10 ** jax.random.uniform(level, (len(x), 1), minval=NOISE[0], maxval=NOISE[1])
    size *= jax.random.bernoulli(which, shape=(len(x), 1))
    x += size * jax.random.normal(noise, x.shape)

    def loss(params):
      found = network.apply({'params': params}, x)
      pitch = cross_entropy(found['pitch'], labels[:, 0])
      return (pitch + cross_entropy(found['instrument'], labels[:, 1])).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    changes, opt = optimizer.update(gradient, opt, params)
    return optax.apply_updates(params, changes), opt, value

  key, rng = jax.random.key(seed), np.random.default_rng(seed)
  params = init(key)
  opt = optimizer.init(params)
  for i in range(steps):
    rows = rng.integers(len(sounds), size=BATCH)
    number = jax.random.fold_in(key, i)
    params, opt, value = step(params, opt, sounds[rows], labels[rows], number)
    if (i + 1) % 500 == 0:
      print(f'step {i + 1}: loss {value:.4f}', flush=True)
  return jax.device_get(params)


def accuracy(params, sounds, labels) -> dict:
  """{'pitch', 'instrument'}: the share of sounds whose own is named."""
  apply = jax.jit(lambda x: notes.Classifier().apply({'params': params}, x))
  found = [apply(sounds[i : i + 200]) for i in range(0, len(sounds), 200)]
  right = lambda name, own: np.concatenate([np.argmax(x[name], 1) for x in found]) == own
  return {
    name: float(right(name, own).mean()) for name, own in zip(('pitch', 'instrument'), labels.T)
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--out', type=Path, default=notes.FILE)
  parser.add_argument('--steps', type=int, default=STEPS)
  args = parser.parse_args()
  began = time.monotonic()
  params = train(*read('train', EACH), steps=args.steps)
  tensors = {
    name: x.astype(np.float16) for name, x in traverse_util.flatten_dict(params, sep='/').items()
  }
  params = traverse_util.unflatten_dict(
    {name: x.astype(np.float32) for name, x in tensors.items()}, sep='/'
  )
  sounds, labels = read('test', 10)
  noisy = sounds + 0.01 * np.random.default_rng(0).normal(size=sounds.shape).astype(np.float32)
  about = {
    'what': 'names pitch and instrument of notes by formula; its features are those of fd_notes',
    'command': 'python benchmarks/notes_classifier.py',
    'steps': args.steps,
    'test_accuracy': accuracy(params, sounds, labels),
    'test_accuracy_with_noise_of_0.01': accuracy(params, noisy, labels),
    'test_notes': len(sounds),
    'commit': run_record.commit(),
    'versions': {'ganjax': ganjax.__version__, 'jax': jax.__version__},
    'device': jax.devices()[0].platform,
  }
  generator_file.write(args.out, tensors, about)
  print(json.dumps(about, indent=2))
  print(f'{args.out}: {args.out.stat().st_size:,} bytes, {time.monotonic() - began:.0f} s')


if __name__ == '__main__':
  config.run(main)
