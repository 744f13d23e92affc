"""Weights and images from a seed, the same here and where the golden outputs were made: they need no download."""

import hashlib
import json

import numpy as np


def tensors(shapes: dict) -> dict:
  """A torch state_dict of float32 arrays, under which activations keep about their size."""
  rng = np.random.default_rng(0)
  return {name: draw(rng, name, shapes[name]).astype(np.float32) for name in sorted(shapes)}


def draw(rng, name, shape):
  if name.endswith('running_var'):
    return rng.uniform(0.5, 1.5, shape)
  if len(shape) == 4:
    return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
  if len(shape) == 2:
    return rng.normal(size=shape) / np.sqrt(shape[1])
  return 0.1 * rng.normal(size=shape) + (name.endswith('.weight'))


def digest(arrays: dict) -> str:
  """The first 16 digits of the sha256 over the arrays in the order of their names."""
  return hashlib.sha256(b''.join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()[
    :16
  ]


def scaled(size, batch=2):
  """Images as a network takes them, [batch, size, size, 3]."""
  return np.random.default_rng(1).normal(0, 0.6, (batch, size, size, 3)).astype(np.float32)


def read(path) -> tuple:
  """A golden file -> (tensors of the network, its arrays). `tensors` in it is JSON: names and shapes of torch's."""
  golden = dict(np.load(path))
  return tensors(json.loads(str(golden.pop('tensors')))), golden
